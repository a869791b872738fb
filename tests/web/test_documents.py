"""The documents of a verification: sealed before they leave the process, opened by administrators alone."""

from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from PIL import Image

from amrutam.crypto import Keyring, SealError, place
from amrutam.domain.common import Role
from amrutam.domain.documents import DOCUMENT, MOST_DOCUMENTS, SEALED, MediaType, Purpose, key_of
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage import documents as storage
from amrutam.storage.documents import StoredObject
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import People, Person
from tests.pictures import bomb, picture

Make = Callable[..., Awaitable[Person]]
OWN = "/v1/doctors/me/documents"
PDF = b"%PDF-1.7\nDr Meera Iyer, KMC-48213\n%%EOF\n"


async def _give(
    api: httpx.AsyncClient, doctor: Person, content: bytes = PDF, kind: str = "application/pdf", key: str | None = None
) -> httpx.Response:
    return await api.post(OWN, content=content, headers={**doctor.writing(key), "Content-Type": kind})


async def _object(db: Database, settings: Settings, document_id: str) -> Path:
    """Where the object of a document lies."""
    async with db.connection() as connection:
        key = await connection.fetchval("SELECT key FROM documents WHERE id = $1", UUID(document_id))
    return Path(urlsplit(settings.documents_url or "").path) / key


async def test_a_document_is_given_listed_opened_by_an_administrator_and_taken_back(
    api: httpx.AsyncClient, make_doctor: Make, people: People, db: Database
) -> None:
    doctor, admin = await make_doctor(verified=False), await people.staff(Role.ADMIN)
    given = await _give(api, doctor)
    assert given.status_code == 201, given.text
    document = given.json()
    assert (document["content_type"], document["size"]) == ("application/pdf", len(PDF))
    assert (await api.get(OWN, headers=doctor.headers)).json() == {"items": [document]}

    opened = await api.get(f"/v1/admin/documents/{document['id']}", headers=admin.headers)

    assert (opened.status_code, opened.content) == (200, PDF)
    assert opened.headers["content-type"] == "application/pdf"
    assert opened.headers["content-disposition"] == f'attachment; filename="{document["id"]}.pdf"'
    assert (opened.headers["x-content-type-options"], opened.headers["cache-control"]) == ("nosniff", "no-store")
    assert (await api.delete(f"{OWN}/{document['id']}", headers=doctor.headers)).status_code == 204
    assert (await api.get(OWN, headers=doctor.headers)).json() == {"items": []}
    gone = await api.get(f"/v1/admin/documents/{document['id']}", headers=admin.headers)
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert (await api.delete(f"{OWN}/{document['id']}", headers=doctor.headers)).status_code == 404
    async with db.connection() as connection:
        rows = await connection.fetch(
            "SELECT actor_id, action FROM audit WHERE subject = $1 ORDER BY id", UUID(document["id"])
        )
    assert [tuple(row) for row in rows] == [
        (doctor.id, "document.add"),
        (admin.id, "document.read"),
        (doctor.id, "document.delete"),
    ]


async def test_what_lies_in_the_store_opens_with_its_doctors_key_in_its_own_place_alone(
    api: httpx.AsyncClient, make_doctor: Make, db: Database, settings: Settings, keyring: Keyring
) -> None:
    doctor, other = await make_doctor(), await make_doctor()
    document = (await _give(api, doctor)).json()["id"]
    sealed = (await _object(db, settings, document)).read_bytes()
    assert b"Meera" not in sealed
    assert b"PDF" not in sealed
    bound = place("documents", UUID(document), "content")
    async with db.connection() as connection:
        own, others = [await PersonKeys(keyring).of(connection, each.id) for each in (doctor, other)]
    assert own.open_bytes(sealed, bound) == PDF
    for key, where in ((others, bound), (own, place("documents", new_id(), "content"))):
        with pytest.raises(SealError):
            key.open_bytes(sealed, where)


async def test_an_object_that_was_changed_in_the_store_is_not_opened(
    api: httpx.AsyncClient, make_doctor: Make, people: People, db: Database, settings: Settings
) -> None:
    doctor, admin = await make_doctor(), await people.staff(Role.ADMIN)
    first, second = [(await _give(api, doctor)).json()["id"] for _ in range(2)]
    (await _object(db, settings, first)).write_bytes((await _object(db, settings, second)).read_bytes())
    answer = await api.get(f"/v1/admin/documents/{first}", headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert (await api.get(f"/v1/admin/documents/{second}", headers=admin.headers)).status_code == 200


async def test_the_same_request_twice_is_one_document(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, key = await make_doctor(), str(new_id())
    first, again = await _give(api, doctor, key=key), await _give(api, doctor, key=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json() == again.json()
    assert len((await api.get(OWN, headers=doctor.headers)).json()["items"]) == 1
    other = await _give(api, doctor, PDF + b" ", key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_photo_is_no_document_of_a_verification(
    api: httpx.AsyncClient, make_doctor: Make, people: People
) -> None:
    doctor, admin = await make_doctor(), await people.staff(Role.ADMIN)
    shown = await api.put("/v1/doctors/me/photo", content=picture(), headers=doctor.headers)
    photo = shown.json()["photo_url"].partition("?v=")[2]
    assert (await api.get(OWN, headers=doctor.headers)).json() == {"items": []}
    assert (await api.delete(f"{OWN}/{photo}", headers=doctor.headers)).status_code == 404
    assert (await api.get(f"/v1/admin/documents/{photo}", headers=admin.headers)).status_code == 404


@pytest.mark.parametrize(
    ("content", "said", "status", "code"),
    [
        (b"PK\x03\x04" + b"\0" * 64, "application/pdf", 415, "unsupported_media_type"),
        (b"<html><script>alert(1)</script></html>", "application/pdf", 415, "unsupported_media_type"),
        (picture("WEBP"), "image/jpeg", 415, "unsupported_media_type"),
        (PDF, "application/msword", 415, "unsupported_media_type"),
        (PDF[:-10], "application/pdf", 422, "validation_failed"),
        (picture()[:500], "image/jpeg", 422, "validation_failed"),
        (bomb(), "image/png", 422, "validation_failed"),
        (b"", "application/pdf", 422, "validation_failed"),
        (b"%PDF-" + b"\0" * DOCUMENT.most_bytes, "application/pdf", 413, "too_large"),
    ],
    ids=["zip", "html", "webp", "said to be word", "cut pdf", "cut jpeg", "bomb", "nothing", "too large"],
)
async def test_what_is_no_document_is_refused_with_what_would_be_right(
    api: httpx.AsyncClient, make_doctor: Make, content: bytes, said: str, status: int, code: str
) -> None:
    doctor = await make_doctor()
    answer = await _give(api, doctor, content, said)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert any(word in answer.json()["detail"] for word in ("PDF", "application/pdf", "JPEG", "million"))
    assert (await api.get(OWN, headers=doctor.headers)).json() == {"items": []}


async def test_a_scan_is_kept_byte_for_byte(api: httpx.AsyncClient, make_doctor: Make, people: People) -> None:
    doctor, admin, noise = await make_doctor(), await people.staff(Role.ADMIN), BytesIO()
    Image.effect_noise((2000, 1600), 100).save(noise, "PNG")
    scan = noise.getvalue()
    assert len(scan) > 2 * 1024 * 1024  # more than one chunk, and more than any other body may be
    document = (await _give(api, doctor, scan, "image/png")).json()
    opened = await api.get(f"/v1/admin/documents/{document['id']}", headers=admin.headers)
    assert opened.content == scan


async def test_nobody_gives_documents_without_end(api: httpx.AsyncClient, make_doctor: Make, db: Database) -> None:
    doctor = await make_doctor()
    async with db.transaction() as connection:
        await connection.executemany(
            """INSERT INTO documents (id, owner_id, purpose, content_type, size, sha256, key, deleted_at)
               VALUES ($1, $2, 'verification', 'application/pdf', 1, '', $1::uuid::text, now())""",
            [(new_id(), doctor.id) for _ in range(MOST_DOCUMENTS - 1)],
        )
    assert (await _give(api, doctor)).status_code == 201
    refused = await _give(api, doctor)
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")


async def test_a_verification_finds_its_doctors_live_documents_alone(
    api: httpx.AsyncClient, make_doctor: Make, db: Database
) -> None:
    doctor, other = await make_doctor(), await make_doctor()
    first, deleted, second = [UUID((await _give(api, doctor)).json()["id"]) for _ in range(3)]
    strangers = UUID((await _give(api, other)).json()["id"])
    await api.delete(f"{OWN}/{deleted}", headers=doctor.headers)
    asked = [second, strangers, deleted, first, new_id()]
    async with db.connection() as connection:
        found = await storage.of_owner(connection, doctor.id, asked, Purpose.VERIFICATION)
        as_photos = await storage.of_owner(connection, doctor.id, asked, Purpose.PHOTO)
    assert ([each.id for each in found], as_photos) == ([first, second], [])


async def test_a_file_that_is_refused_does_not_use_up_its_key(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor, key = await make_doctor(), str(new_id())
    assert (await _give(api, doctor, b"PK\x03\x04", key=key)).status_code == 415
    assert (await _give(api, doctor, key=key)).status_code == 201


async def test_with_the_store_away_no_document_is_there_and_the_same_request_does_it_later(
    api: httpx.AsyncClient, system: System, make_doctor: Make
) -> None:
    doctor, key = await make_doctor(), str(new_id())
    away = {
        "DOCUMENTS_URL": "s3://documents",
        "DOCUMENTS_S3_ENDPOINT": "http://127.0.0.1:1",
        "DOCUMENTS_S3_ACCESS_KEY": "key",
        "DOCUMENTS_S3_SECRET_KEY": "secret",
    }
    async with api_beside(system, **away) as beside:
        refused = await _give(beside, doctor, key=key)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert (await api.get(OWN, headers=doctor.headers)).json() == {"items": []}
    assert (await _give(api, doctor, key=key)).status_code == 201


async def test_the_documents_of_an_erased_person_cannot_be_opened(
    api: httpx.AsyncClient, make_doctor: Make, people: People, owner: Database
) -> None:
    doctor, admin, document = await make_doctor(), await people.staff(Role.ADMIN), new_id()
    async with owner.transaction() as connection:  # no process has used the key yet, so none remembers it
        await connection.execute("DELETE FROM data_keys WHERE person_id = $1", doctor.id)
        stored = StoredObject(key_of(Purpose.VERIFICATION, document, SEALED), MediaType.PDF, 1, b"x")
        await storage.add(connection, document, doctor.id, stored)
    answer = await api.get(f"/v1/admin/documents/{document}", headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
