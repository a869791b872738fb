"""A doctor's photo: nothing of the camera stays in it, everyone sees it at once, and bad files are told from good."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import pytest

from amrutam.domain.documents import PHOTO
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage.pool import Database
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.pictures import bomb, opened, photographed, picture

Make = Callable[..., Awaitable[Person]]
ME, OWN = "/v1/doctors/me", "/v1/doctors/me/photo"


async def _give(api: httpx.AsyncClient, doctor: Person, content: bytes, kind: str = "image/jpeg") -> httpx.Response:
    return await api.put(OWN, content=content, headers={**doctor.headers, "Content-Type": kind})


async def test_a_photo_is_shown_upright_and_square_and_tells_nothing_of_its_camera(
    api: httpx.AsyncClient, make_doctor: Make
) -> None:
    doctor = await make_doctor()
    sent = photographed(orientation=6)
    assert b"CAMERAMAKER" in sent
    given = await _give(api, doctor, sent)
    assert given.status_code == 200, given.text
    assert given.json()["photo_url"].startswith(f"/v1/doctors/{doctor.id}/photo?v=")

    shown = await api.get(given.json()["photo_url"])

    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
    assert shown.headers["cache-control"] == "public, max-age=300"
    assert shown.headers["cross-origin-resource-policy"] == "cross-origin"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    image = opened(shown.content)
    assert image.size == (512, 512)
    assert dict(image.getexif()) == {}
    assert "exif" not in image.info
    for secret in (b"CAMERAMAKER", b"SECRETPLACE", b"Exif", b"EXIF"):
        assert secret not in shown.content
    top, bottom = image.getpixel((256, 30)), image.getpixel((256, 480))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 150 > bottom[0]  # the left side, red, is the upper one once it is turned


async def test_who_has_the_photo_need_not_get_it_again(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    url = (await _give(api, doctor, picture())).json()["photo_url"]
    first = await api.get(url)
    again = await api.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == first.headers["cache-control"]


async def test_another_photo_has_another_address_and_is_seen_by_everyone_at_once(
    api: httpx.AsyncClient, make_doctor: Make, db: Database
) -> None:
    doctor = await make_doctor()
    assert (await api.get(f"/v1/doctors/{doctor.id}")).json()["photo_url"] is None
    assert (await api.get(f"/v1/doctors/{doctor.id}/photo")).status_code == 404
    first = await _give(api, doctor, picture())
    second = await _give(api, doctor, picture("PNG", (300, 200)), "image/png")
    same = await _give(api, doctor, picture("PNG", (300, 200)), "image/png")

    url = second.json()["photo_url"]
    assert url != first.json()["photo_url"]
    assert (await api.get(f"/v1/doctors/{doctor.id}")).json()["photo_url"] == url
    assert opened((await api.get(url)).content).size == (200, 200)  # not made larger than it was
    assert same.json() == second.json()
    assert first.headers["etag"] != second.headers["etag"] == same.headers["etag"]
    async with db.connection() as connection:
        noted = await connection.fetch("SELECT action FROM audit WHERE subject = $1", doctor.id)
        live = await connection.fetchval(
            "SELECT count(*) FROM documents WHERE owner_id = $1 AND deleted_at IS NULL", doctor.id
        )
    assert ([row["action"] for row in noted], live) == (["doctor.photo_changed"] * 2, 1)


async def test_a_photo_is_removed_for_everyone(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    url = (await _give(api, doctor, picture())).json()["photo_url"]
    assert (await api.get(url)).status_code == 200
    removed = await api.delete(OWN, headers=doctor.headers)
    assert (removed.status_code, removed.json()["photo_url"]) == (200, None)
    assert (await api.get(url)).status_code == 404
    again = await api.delete(OWN, headers=doctor.headers)
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_the_photo_of_who_may_not_be_found_is_seen_by_its_doctor_alone(
    api: httpx.AsyncClient, make_doctor: Make
) -> None:
    doctor = await make_doctor(verified=False)
    given = await _give(api, doctor, picture())
    assert given.status_code == 200
    for path in (f"/v1/doctors/{doctor.id}/photo", f"/v1/doctors/{new_id()}/photo"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    own = await api.get(OWN, headers=doctor.headers)
    assert (own.status_code, own.headers["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", mode) for mode in ("L", "CMYK")]
    + [("PNG", mode) for mode in ("RGBA", "P", "L", "LA", "1", "I;16")]
    + [("WEBP", "RGBA")],
)
async def test_every_way_of_keeping_colours_is_understood(
    api: httpx.AsyncClient, make_doctor: Make, kind: str, mode: str
) -> None:
    doctor = await make_doctor()
    answer = await _give(api, doctor, picture(kind, (64, 48), mode), f"image/{kind.lower()}")
    assert answer.status_code == 200, answer.text
    image = opened((await api.get(answer.json()["photo_url"])).content)
    left, right = image.getpixel((8, 24)), image.getpixel((40, 24))
    assert left != right


@pytest.mark.parametrize(
    ("content", "said", "status", "code"),
    [
        (b"GIF89a" + b"\0" * 64, "image/png", 415, "unsupported_media_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/jpeg", 415, "unsupported_media_type"),
        (b"%PDF-1.7\n%%EOF", "image/jpeg", 415, "unsupported_media_type"),
        (picture(), "image/heic", 415, "unsupported_media_type"),
        (picture(), "multipart/form-data; boundary=x", 415, "unsupported_media_type"),
        (b"", "image/jpeg", 422, "validation_failed"),
        (picture()[:500], "image/jpeg", 422, "validation_failed"),
        (bomb(), "image/png", 422, "validation_failed"),
        (b"\xff\xd8\xff" + b"\0" * PHOTO.most_bytes, "image/jpeg", 413, "too_large"),
    ],
    ids=["gif", "svg", "pdf", "said to be heic", "a form", "nothing", "cut", "bomb", "too large"],
)
async def test_what_is_no_photo_is_refused_with_what_would_be_right(
    api: httpx.AsyncClient, make_doctor: Make, content: bytes, said: str, status: int, code: str
) -> None:
    doctor = await make_doctor()
    answer = await _give(api, doctor, content, said)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert any(word in answer.json()["detail"] for word in ("image/jpeg", "JPEG", "million"))
    assert (await api.get(ME, headers=doctor.headers)).json()["photo_url"] is None


async def test_what_the_file_is_counts_and_not_what_it_is_called(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    for said in ("image/png", "application/octet-stream"):
        assert (await _give(api, doctor, picture("JPEG"), said)).status_code == 200
    unsaid = await api.put(OWN, content=picture("WEBP"), headers=doctor.headers)
    assert unsaid.status_code == 200


async def test_other_bodies_may_not_grow_with_it(api: httpx.AsyncClient, make_doctor: Make, settings: Settings) -> None:
    doctor = await make_doctor()
    large = b"x" * (settings.max_body_bytes + 1)
    answer = await api.put(ME, content=large, headers={**doctor.headers, "If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_photo_that_does_not_arrive_in_time_is_given_up(system: System, make_doctor: Make) -> None:
    doctor = await make_doctor()
    async with api_beside(system, UPLOAD_TIMEOUT_SECONDS="0.3") as api:
        address = urlsplit(str(api.base_url))
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"PUT {OWN} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer {doctor.token}\r\n\r\n"
        writer.write(head.encode() + picture()[:100])
        await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_with_the_store_away_nothing_changes_and_the_client_may_try_again(
    system: System, make_doctor: Make
) -> None:
    doctor = await make_doctor()
    told = {
        "DOCUMENTS_URL": "s3://documents",
        "DOCUMENTS_S3_ENDPOINT": "http://127.0.0.1:1",
        "DOCUMENTS_S3_ACCESS_KEY": "key",
        "DOCUMENTS_S3_SECRET_KEY": "secret",
    }
    async with api_beside(system, **told) as api:
        answer = await _give(api, doctor, picture())
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers
        assert (await api.get(ME, headers=doctor.headers)).json()["photo_url"] is None
