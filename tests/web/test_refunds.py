"""What support gives back: once for each request, above a limit with a second person, never more than there is."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from amrutam.domain.common import Role
from tests.people import People, Person
from tests.web.paying import FEE, confirmed, payment_reaches

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
LITTLE = FEE // 5


@pytest.fixture
async def patient(make_patient: MakePatient) -> Person:
    """Who has paid."""
    return await make_patient()


@pytest.fixture
async def paid(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, make_doctor: MakeDoctor
) -> dict[str, Any]:
    """A booking that is paid for."""
    return await confirmed(api, environment, patient, await make_doctor(fee=FEE))


@pytest.fixture
async def colleagues(people: People) -> tuple[Person, Person]:
    """Two of support, who have just shown their second factors."""
    first, second = [await people.with_factor(await people.staff(Role.SUPPORT)) for _ in range(2)]
    return first, second


async def _refund(
    api: httpx.AsyncClient, who: Person, booking: Mapping[str, Any], amount: int, key: str | None = None
) -> httpx.Response:
    body = {"amount": amount, "reason": "The connection was bad."}
    return await api.post(f"/v1/payments/{booking['payment']['id']}/refunds", json=body, headers=who.writing(key))


async def test_a_little_is_given_back_by_one_once_for_each_key(
    api: httpx.AsyncClient, patient: Person, paid: dict[str, Any], colleagues: tuple[Person, Person]
) -> None:
    answers = [await _refund(api, colleagues[0], paid, LITTLE, "the-same") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert (answers[0].json()["status"], answers[0].json()["amount"]["amount"]) == ("due", LITTLE)
    await payment_reaches(api, patient, paid["payment"]["id"], "refunding")
    payment = await payment_reaches(api, patient, paid["payment"]["id"], "paid")
    assert [(each["status"], each["amount"]["amount"]) for each in payment["refunds"]] == [("done", LITTLE)]


async def test_more_needs_somebody_else_who_agrees(
    api: httpx.AsyncClient, patient: Person, paid: dict[str, Any], colleagues: tuple[Person, Person]
) -> None:
    proposed = (await _refund(api, colleagues[0], paid, FEE)).json()
    assert proposed["status"] == "proposed"
    path = f"/v1/payments/{paid['payment']['id']}/refunds/{proposed['id']}/approve"
    own = await api.post(path, json={}, headers=colleagues[0].writing())
    assert (own.status_code, own.json()["code"]) == (403, "forbidden")
    agreed = await api.post(path, json={}, headers=colleagues[1].writing())
    assert (agreed.status_code, agreed.json()["status"]) == (200, "due")
    again = await api.post(path, json={}, headers=colleagues[1].writing())
    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")
    payment = await payment_reaches(api, patient, paid["payment"]["id"], "refunded")
    assert [each["amount"]["amount"] for each in payment["refunds"]] == [FEE]


async def test_what_needs_a_second_person_is_not_given_back_in_pieces(
    api: httpx.AsyncClient, patient: Person, paid: dict[str, Any], colleagues: tuple[Person, Person]
) -> None:
    answers = [(await _refund(api, colleagues[0], paid, LITTLE)).json() for _ in range(3)]
    assert [answer["status"] for answer in answers] == ["due", "due", "proposed"]
    assert answers[2]["reason"] == "The connection was bad."
    seen = (await api.get(f"/v1/payments/{paid['payment']['id']}", headers=patient.headers)).json()
    assert {each["reason"] for each in seen["refunds"]} == {None}


async def test_no_more_goes_back_than_there_is_whoever_asks_and_a_cancellation_counts(
    api: httpx.AsyncClient, patient: Person, paid: dict[str, Any], colleagues: tuple[Person, Person]
) -> None:
    too_much = await _refund(api, colleagues[0], paid, FEE + 1)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "invalid_state")
    waiting = (await _refund(api, colleagues[0], paid, FEE)).json()
    assert (await _refund(api, colleagues[0], paid, LITTLE)).json()["status"] == "due"
    await api.post(f"/v1/bookings/{paid['id']}/cancel", json={}, headers=patient.writing())
    path = f"/v1/payments/{paid['payment']['id']}/refunds/{waiting['id']}/approve"
    late = await api.post(path, json={}, headers=colleagues[1].writing())
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    payment = await payment_reaches(api, patient, paid["payment"]["id"], "refunded")
    done = [each["amount"]["amount"] for each in payment["refunds"] if each["status"] == "done"]
    assert sorted(done) == [LITTLE, FEE - LITTLE]


async def test_a_refund_needs_a_factor_that_was_just_shown(
    api: httpx.AsyncClient, people: People, paid: dict[str, Any]
) -> None:
    answer = await _refund(api, await people.staff(Role.SUPPORT), paid, LITTLE)
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrollment_required")
