"""Doctors over HTTP: found and read by everyone, edited by themselves."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from amrutam.crypto import Keyring
from amrutam.ids import new_id
from amrutam.seed import seed, seed_demo
from amrutam.seed_people import DOCTORS
from amrutam.settings import Settings
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from tests.people import Person

Make = Callable[..., Awaitable[Person]]
SignIn = Callable[..., Awaitable[dict[str, str]]]
ME = "/v1/doctors/me"


def _profile(**fields: Any) -> dict[str, Any]:
    return {
        "full_name": "Dr Meera Iyer",
        "specialties": ["dermatology"],
        "languages": ["en", "hi"],
        "fees": {"video": {"amount": 40000, "currency": "INR"}},
        **fields,
    }


async def _edit(api: httpx.AsyncClient, doctor: Person, **fields: Any) -> httpx.Response:
    """Edit what was just read."""
    etag = (await api.get(ME, headers=doctor.headers)).headers["etag"]
    return await api.put(ME, json=_profile(**fields), headers={**doctor.headers, "If-Match": etag})


async def _ids(api: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get("/v1/doctors", params=query)
    assert answer.status_code == 200, answer.text
    return [doctor["id"] for doctor in answer.json()["items"]]


async def test_a_doctor_reads_as_the_contract_says(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor(fee=50000)
    answer = await api.get(f"/v1/doctors/{doctor.id}")
    fee = {"amount": 50000, "currency": "INR"}
    assert answer.json() == {
        "id": str(doctor.id),
        "full_name": "Dr Meera Iyer",
        "gender": None,
        "specialties": ["dermatology"],
        "languages": ["en"],
        "bio": "",
        "years_of_experience": None,
        "qualifications": "",
        "registration": None,
        "modes": ["video", "chat"],
        "fees": {"video": fee, "chat": fee},
        "photo_url": None,
        "time_zone": "Asia/Kolkata",
        "rating": {"average": None, "count": 0},
        "next_available_at": answer.json()["next_available_at"],  # the worker has read the calendar, or is about to
        "verified": True,
    }
    tag = {"If-None-Match": answer.headers["etag"]}
    again = await api.get(f"/v1/doctors/{doctor.id}", headers=tag)
    assert (again.status_code, again.content) == (304, b"")


async def test_a_doctor_who_is_not_verified_is_seen_by_nobody_else(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor(verified=False)
    for path in (f"/v1/doctors/{doctor.id}", f"/v1/doctors/{doctor.id}/slots", f"/v1/doctors/{new_id()}"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    own = await api.get(ME, headers=doctor.headers)
    assert (own.status_code, own.json()["id"], own.json()["verified"]) == (200, str(doctor.id), False)
    assert own.headers["cache-control"] == "no-store"


async def test_the_kept_specialties_have_names(api: httpx.AsyncClient) -> None:
    items = (await api.get("/v1/specialties")).json()["items"]
    assert {"code": "ent", "name": "Ear, nose and throat"} in items
    assert {"code": "general_medicine", "name": "General medicine"} in items


async def test_the_kept_languages_have_names(api: httpx.AsyncClient) -> None:
    items = (await api.get("/v1/languages")).json()["items"]
    assert {"code": "ta", "name": "Tamil"} in items
    assert {"code": "ins", "name": "Indian Sign Language"} in items


async def test_an_edit_is_seen_by_everyone_at_once_and_noted(
    api: httpx.AsyncClient, make_doctor: Make, db: Database
) -> None:
    doctor, name = await make_doctor(), f"Dr {new_id().hex}"
    async with db.connection() as connection:
        await connection.execute("UPDATE doctors SET full_name = $1 WHERE id = $2", name, doctor.id)
    await api.get(f"/v1/doctors/{doctor.id}")  # now it is cached
    assert await _ids(api, q=name, gender="female") == []

    answer = await _edit(api, doctor, full_name=name, bio="Skin and hair.", gender="female")

    profile = answer.json()
    assert answer.status_code == 200, answer.text
    known_anew = {"next_available_at"}
    assert _without(await api.get(f"/v1/doctors/{doctor.id}"), known_anew) == _without(answer, known_anew)
    assert (profile["bio"], profile["modes"], profile["verified"]) == ("Skin and hair.", ["video"], True)
    assert await _ids(api, q=name, gender="female") == [str(doctor.id)]
    async with db.connection() as connection:
        noted = await connection.fetchval("SELECT actor_id FROM audit WHERE subject = $1", doctor.id)
        told = await connection.fetchval("SELECT type FROM events WHERE subject = $1", doctor.id)
    assert (noted, told) == (doctor.id, "doctor.changed")


async def test_a_profile_may_be_sent_back_as_it_was_read_and_changes_nothing_that_is_not_its_doctors(
    api: httpx.AsyncClient, make_doctor: Make
) -> None:
    doctor = await make_doctor(verified=False)
    read = await api.get(ME, headers=doctor.headers)
    wish = read.json() | {"bio": "Skin.", "modes": ["chat"], "verified": True, "rating": {"average": 5, "count": 9}}
    answer = await api.put(ME, json=wish, headers={**doctor.headers, "If-Match": read.headers["etag"]})
    assert answer.status_code == 200, answer.text
    assert answer.json() == read.json() | {
        "bio": "Skin.",
        "modes": ["chat"],
        "fees": {"chat": read.json()["fees"]["chat"]},
    }


@pytest.mark.parametrize(
    "change", [{"full_name": "Dr M. Iyer"}, {"registration": {"number": "KMC-1", "council": "Karnataka"}}]
)
async def test_another_name_or_registration_asks_for_verification_again(
    api: httpx.AsyncClient, make_doctor: Make, change: dict[str, Any]
) -> None:
    doctor = await make_doctor()
    assert (await api.get(f"/v1/doctors/{doctor.id}")).status_code == 200
    assert (await _edit(api, doctor, **change)).json()["verified"] is False
    assert (await api.get(f"/v1/doctors/{doctor.id}")).status_code == 404
    assert (await _edit(api, doctor)).json()["verified"] is False  # going back does not bring it back


async def test_an_edit_of_what_was_not_read_is_refused(api: httpx.AsyncClient, make_doctor: Make) -> None:
    doctor = await make_doctor()
    etag = (await api.get(ME, headers=doctor.headers)).headers["etag"]
    missing = await api.put(ME, json=_profile(), headers=doctor.headers)
    first = await api.put(ME, json=_profile(), headers={**doctor.headers, "If-Match": etag})
    stale = await api.put(ME, json=_profile(bio="Lost"), headers={**doctor.headers, "If-Match": etag})
    assert [missing.status_code, first.status_code, stale.status_code] == [428, 200, 412]
    assert (missing.json()["code"], stale.json()["code"]) == ("if_match_missing", "stale")
    assert (await api.get(ME, headers=doctor.headers)).json()["bio"] == ""
    assert first.headers["etag"] == (await api.get(ME, headers=doctor.headers)).headers["etag"] != etag


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"specialties": ["dermatology", "alchemy"]}, "/specialties/1"),
        ({"specialties": ["ent", "ent"]}, "/specialties"),
        ({"languages": ["english"]}, "/languages/0"),
        ({"fees": {"telepathy": {"amount": 1, "currency": "INR"}}}, "/fees/telepathy"),
        ({"fees": {"video": {"amount": -1, "currency": "INR"}}}, "/fees/video/amount"),
        (
            {"fees": {"video": {"amount": 1, "currency": "INR"}, "chat": {"amount": 1, "currency": "USD"}}},
            "/fees",
        ),
        ({"years_of_experience": "ten"}, "/years_of_experience"),
        ({"registration": {"number": "KMC-1"}}, "/registration/council"),
        ({"full_name": " "}, "/full_name"),
        ({"modes": ["audio"]}, "/modes"),
    ],
)
async def test_what_a_profile_cannot_say_is_refused_by_field(
    api: httpx.AsyncClient, make_doctor: Make, change: dict[str, Any], pointer: str
) -> None:
    answer = await _edit(api, await make_doctor(), **change)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_an_unknown_specialty_is_answered_with_the_known_ones(api: httpx.AsyncClient, make_doctor: Make) -> None:
    answer = await _edit(api, await make_doctor(), specialties=["alchemy"])
    assert "'dermatology'" in answer.json()["errors"][0]["detail"]


async def test_only_doctors_have_a_profile_of_their_own(api: httpx.AsyncClient, make_patient: Make) -> None:
    patient = await make_patient()
    assert (await api.get(ME, headers=patient.headers)).status_code == 403
    assert (await api.get(ME)).status_code == 401


async def test_the_demo_has_its_doctors_and_they_sign_in(api: httpx.AsyncClient, sign_in: SignIn) -> None:
    free = (await api.get(ME, headers=await sign_in("doctor2@demo.amrutam.test"))).json()
    priced = (await api.get(ME, headers=await sign_in("doctor@demo.amrutam.test"))).json()
    assert {fee["amount"] for fee in free["fees"].values()} == {0}
    assert set(free["fees"]) == {"video", "audio", "chat"}
    assert priced["fees"] == {"video": {"amount": 50000, "currency": "INR"}}
    assert free["verified"]
    assert priced["verified"]


async def test_seeding_again_changes_nothing(db: Database, keyring: Keyring, api: httpx.AsyncClient) -> None:
    assert api  # the system has been seeded once
    count = "SELECT count(*), max(d.version), max(c.version) FROM doctors d JOIN calendars c ON c.doctor_id = d.id"
    where = " JOIN users u USING (id) WHERE u.email LIKE 'doctor-___@demo.amrutam.test'"
    async with db.connection() as connection:
        before = await connection.fetchrow(count + where)
    assert await seed(db, PersonKeys(keyring), "another hash") == 0
    async with db.connection() as connection:
        assert await connection.fetchrow(count + where) == before
    assert before is not None
    assert before[0] == DOCTORS


async def test_a_demo_doctor_who_lost_the_verification_is_made_good_by_the_next_seeding(
    api: httpx.AsyncClient, sign_in: SignIn, settings: Settings, keyring: Keyring
) -> None:
    headers = await sign_in("doctor-007@demo.amrutam.test")
    read = await api.get(ME, headers=headers)
    renamed = read.json() | {"full_name": "Dr Somebody Else"}
    answer = await api.put(ME, json=renamed, headers={**headers, "If-Match": read.headers["etag"]})
    assert answer.json()["verified"] is False
    await seed_demo(settings, keyring, print)
    known_anew = {"next_available_at"}
    assert _without(await api.get(ME, headers=headers), known_anew) == _without(read, known_anew)


def _without(answer: httpx.Response, fields: set[str]) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in fields}
