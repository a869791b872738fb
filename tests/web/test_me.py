"""What people read and say of themselves."""

import httpx
import pytest

from amrutam.storage.pool import Database
from tests.web.accounts import MakePatient

ANYWAY = {"If-Match": "*"}


async def test_a_person_changes_what_they_name_and_nothing_else(
    api: httpx.AsyncClient, make_patient: MakePatient
) -> None:
    patient = await make_patient()
    before = await api.get("/v1/me", headers=patient.headers)
    said = {
        "full_name": " Asha Iyer ",
        "date_of_birth": "1990-04-01",
        "sex": "female",
        "phone": "+91 98765 43210",
        "address": "12 MG Road\nBengaluru",
    }
    headers = {**patient.headers, "If-Match": before.headers["etag"]}
    answer = await api.patch("/v1/me", json=said, headers=headers)
    assert answer.status_code == 200
    kept = {**said, "full_name": "Asha Iyer", "phone": "+919876543210", "version": answer.json()["version"]}
    assert answer.json() == before.json() | kept
    assert answer.headers["etag"] != before.headers["etag"]
    again = await api.get("/v1/me", headers=patient.headers)
    assert (again.json(), again.headers["etag"]) == (answer.json(), answer.headers["etag"])

    answer = await api.patch("/v1/me", json={"phone": None, "address": None}, headers={**patient.headers, **ANYWAY})
    assert (answer.json()["phone"], answer.json()["address"]) == (None, None)
    assert answer.json()["date_of_birth"] == "1990-04-01"


async def test_an_edit_needs_what_was_read_to_stand(api: httpx.AsyncClient, make_patient: MakePatient) -> None:
    patient = await make_patient()
    tag = (await api.get("/v1/me", headers=patient.headers)).headers["etag"]
    answer = await api.patch("/v1/me", json={"full_name": "Asha Iyer"}, headers=patient.headers)
    assert (answer.status_code, answer.json()["code"]) == (428, "if_match_missing")
    headers = {**patient.headers, "If-Match": tag}
    answers = [await api.patch("/v1/me", json={"full_name": "Asha Iyer"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 412]


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"full_name": ""}, "/full_name"),
        ({"full_name": None}, "/full_name"),
        ({"time_zone": None}, "/time_zone"),
        ({"date_of_birth": "2999-01-01"}, "/date_of_birth"),
        ({"phone": "12"}, "/phone"),
        ({"email": "other@example.com"}, "/email"),
        ({"roles": ["admin"]}, "/roles"),
        ({"password": "a lantern under seven plums"}, "/password"),
    ],
)
async def test_what_does_not_fit_is_named(
    api: httpx.AsyncClient, make_patient: MakePatient, said: dict[str, object], pointer: str
) -> None:
    patient = await make_patient()
    answer = await api.patch("/v1/me", json=said, headers={**patient.headers, **ANYWAY})
    assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, [pointer])


async def test_an_edit_is_sealed_audited_and_told_without_a_word_of_it(
    api: httpx.AsyncClient, make_patient: MakePatient, db: Database
) -> None:
    patient = await make_patient()
    said = {"phone": "+919876543210", "address": "12 MG Road", "date_of_birth": "1990-04-01"}
    assert (await api.patch("/v1/me", json=said, headers={**patient.headers, **ANYWAY})).status_code == 200
    async with db.connection() as connection:
        row = await connection.fetchrow("SELECT phone, address, date_of_birth FROM users WHERE id = $1", patient.id)
        done = await connection.fetch("SELECT action FROM audit WHERE subject = $1", patient.id)
        told = await connection.fetch("SELECT type, data FROM events WHERE subject = $1", patient.id)
    assert row is not None
    for plain in (b"9876543210", b"MG Road", b"1990"):
        assert plain not in b"".join(row)
    assert "account.edit" in [each["action"] for each in done]
    assert [tuple(each) for each in told if each["type"] == "account.edited"] == [("account.edited", "{}")]
