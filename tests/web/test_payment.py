"""Paying over HTTP, with the real sandbox: held, paid, confirmed; told late, twice or never; cancelled, refunded."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from temporalio.client import Client

from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import Person
from tests.polling import until
from tests.web.paying import FEE, at_sandbox, confirmed, held, pay, payment_reaches, reaches
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
PRICE = {"amount": FEE, "currency": "INR"}


@pytest.fixture
async def patient(make_patient: MakePatient) -> Person:
    """Who books."""
    return await make_patient()


@pytest.fixture
async def doctor(make_doctor: MakeDoctor) -> Person:
    """Who wants to be paid."""
    return await make_doctor(fee=FEE)


async def _accounts(db: Database, payment_id: str) -> dict[str, int]:
    async with db.connection() as connection:
        rows = await connection.fetch(
            """SELECT account, sum(amount)::bigint AS amount
               FROM ledger_entries JOIN ledger_movements m ON m.id = movement_id
               WHERE payment_id = $1::uuid GROUP BY account HAVING sum(amount) <> 0""",
            payment_id,
        )
    return {row["account"]: row["amount"] for row in rows}


async def test_a_held_time_is_paid_for_and_then_confirmed(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, db: Database
) -> None:
    booking = await held(api, patient, doctor)
    assert booking["actions"] == ["pay", "extend_hold", "cancel", "reschedule"]
    answer = await pay(api, patient, booking["id"])
    checkout = answer.json()
    assert answer.status_code == 201, answer.text
    assert (checkout["status"], checkout["gateway"], checkout["amount"]) == ("requires_action", "sandbox", PRICE)
    assert checkout["expires_at"] == booking["expires_at"]
    waiting = await reaches(api, patient, booking["id"], "awaiting_payment")
    assert waiting["payment"] == {"id": checkout["payment_id"], "status": "requires_action"}

    await at_sandbox(environment, checkout["checkout_url"])
    paid = await reaches(api, patient, booking["id"], "confirmed")
    assert (paid["expires_at"], paid["actions"], paid["consultation_id"]) == (
        None, ["cancel", "reschedule"], booking["id"],
    )  # fmt: skip
    payment = await payment_reaches(api, patient, checkout["payment_id"], "paid")
    assert (payment["captured"], payment["refunds"], payment["checkout_url"]) == (PRICE, [], None)
    assert await _accounts(db, payment["id"]) == {"gateway": FEE, "visit": -FEE}
    listed = (await api.get("/v1/payments", headers=patient.headers)).json()["items"]
    assert [each["id"] for each in listed] == [payment["id"]]


async def test_asking_again_gives_the_same_checkout_by_the_same_key_or_another(
    api: httpx.AsyncClient, patient: Person, doctor: Person
) -> None:
    booking, key = await held(api, patient, doctor), str(new_id())
    answers = await asyncio.gather(*(pay(api, patient, booking["id"], key) for _ in range(10)))
    done = [answer for answer in answers if answer.status_code == 201]
    assert done
    assert {answer.content for answer in done} == {done[0].content}
    assert {answer.json()["code"] for answer in answers if answer not in done} <= {"operation_in_progress"}
    other = await pay(api, patient, booking["id"])
    assert other.json() == done[0].json()


async def test_a_payment_that_is_declined_leaves_the_time_held_and_can_be_tried_again(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person
) -> None:
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    await at_sandbox(environment, checkout["checkout_url"], outcome="decline")
    again = (await pay(api, patient, booking["id"])).json()
    assert again["checkout_url"] == checkout["checkout_url"]
    await at_sandbox(environment, again["checkout_url"])
    await reaches(api, patient, booking["id"], "confirmed")


@pytest.mark.parametrize("webhooks", ["twice", "out_of_order"])
async def test_whatever_a_gateway_tells_and_however_often_one_charge_pays_once(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, db: Database, webhooks: str
) -> None:
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    await at_sandbox(environment, checkout["checkout_url"], webhooks=webhooks)
    await reaches(api, patient, booking["id"], "confirmed")
    assert await _accounts(db, checkout["payment_id"]) == {"gateway": FEE, "visit": -FEE}


async def test_a_payment_of_which_nobody_told_is_found_by_the_next_look(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, temporal: Client
) -> None:
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    await at_sandbox(environment, checkout["checkout_url"], webhooks="never")
    await temporal.get_workflow_handle(f"payment/{checkout['payment_id']}").signal("look")
    await reaches(api, patient, booking["id"], "confirmed")


async def test_a_cancelled_visit_is_paid_back_once_however_many_cancel_at_once(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, db: Database
) -> None:
    booking = await confirmed(api, environment, patient, doctor)
    quote = (await api.get(f"/v1/bookings/{booking['id']}/cancel-quote", headers=patient.headers)).json()
    assert (quote["paid"], quote["refund"], quote["kept"]["amount"]) == (PRICE, PRICE, 0)
    path = f"/v1/bookings/{booking['id']}/cancel"
    answers = await asyncio.gather(
        *(api.post(path, json={}, headers=who.writing()) for who in (patient, doctor, patient, doctor))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    payment = await payment_reaches(api, patient, booking["payment"]["id"], "refunded")
    assert [(each["status"], each["amount"]) for each in payment["refunds"]] == [("done", PRICE)]
    assert await _accounts(db, payment["id"]) == {}


async def test_a_late_cancellation_keeps_what_the_rules_say_and_a_doctors_keeps_nothing(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, owner: Database
) -> None:
    booking = await confirmed(api, environment, patient, doctor)
    async with owner.connection() as connection:  # in three hours
        soon = datetime.now(UTC) + timedelta(hours=3)
        await connection.execute("UPDATE bookings SET starts_at = $2 WHERE id = $1::uuid", booking["id"], soon)
    path = f"/v1/bookings/{booking['id']}"
    mine = (await api.get(f"{path}/cancel-quote", headers=patient.headers)).json()
    theirs = (await api.get(f"{path}/cancel-quote", headers=doctor.headers)).json()
    assert (mine["refund"]["amount"], mine["kept"]["amount"]) == (FEE // 2, FEE // 2)
    assert (theirs["refund"]["amount"], theirs["kept"]["amount"]) == (FEE, 0)
    cancelled = await api.post(f"{path}/cancel", json={}, headers=patient.writing())
    assert cancelled.status_code == 200
    payment = await payment_reaches(api, patient, booking["payment"]["id"], "paid")

    async def back() -> bool:
        seen = (await api.get(f"/v1/payments/{payment['id']}", headers=patient.headers)).json()
        return [(each["status"], each["amount"]["amount"]) for each in seen["refunds"]] == [("done", FEE // 2)]

    assert await until(back)
    assert await _accounts(owner, payment["id"]) == {"gateway": FEE // 2, "kept": -FEE // 2}


async def test_a_late_move_keeps_the_late_rule_and_a_day_that_the_doctor_gave_up_costs_nothing(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, owner: Database
) -> None:
    booking = await confirmed(api, environment, patient, doctor)
    path, later = f"/v1/bookings/{booking['id']}", (await free_times(api, doctor, days_ahead=6))[3]
    async with owner.connection() as connection:  # in three hours
        soon = datetime.now(UTC) + timedelta(hours=3)
        await connection.execute("UPDATE bookings SET starts_at = $2 WHERE id = $1::uuid", booking["id"], soon)
    moved = await api.post(f"{path}/reschedule", json={"starts_at": later}, headers=patient.writing())
    assert moved.status_code == 200, moved.text
    quote = (await api.get(f"{path}/cancel-quote", headers=patient.headers)).json()
    assert (quote["refund"]["amount"], quote["kept"]["amount"]) == (FEE // 2, FEE // 2)
    async with owner.connection() as connection:
        await connection.execute(
            "UPDATE bookings SET move_by = now() + interval '1 day' WHERE id = $1::uuid", booking["id"]
        )
    quote = (await api.get(f"{path}/cancel-quote", headers=patient.headers)).json()
    assert (quote["refund"]["amount"], quote["kept"]["amount"]) == (FEE, 0)
    assert (await api.post(f"{path}/cancel", json={}, headers=patient.writing())).status_code == 200
    payment = await payment_reaches(api, patient, booking["payment"]["id"], "refunded")
    assert [each["amount"]["amount"] for each in payment["refunds"]] == [FEE]


async def test_the_checkout_of_a_booking_that_is_cancelled_is_closed(
    api: httpx.AsyncClient, patient: Person, doctor: Person, db: Database
) -> None:
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())

    async def closed() -> bool:
        async with db.connection() as connection:
            return await connection.fetchval(
                "SELECT closed_at IS NOT NULL FROM payments WHERE id = $1::uuid", checkout["payment_id"]
            )

    assert await until(closed)


async def test_money_that_comes_when_the_visit_is_cancelled_goes_back(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, db: Database
) -> None:
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    await at_sandbox(environment, checkout["checkout_url"], webhooks="never")
    await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())
    await _told(api, environment, checkout["payment_id"])
    payment = await payment_reaches(api, patient, checkout["payment_id"], "refunded")
    assert [each["amount"] for each in payment["refunds"]] == [PRICE]
    assert await _accounts(db, payment["id"]) == {}


async def test_what_is_not_held_is_not_to_be_paid_and_nobody_pays_for_another(
    api: httpx.AsyncClient, patient: Person, doctor: Person, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    free = await make_doctor()
    done = (await book(api, patient, free, (await free_times(api, free))[0])).json()
    answer = await pay(api, patient, done["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")
    booking = await held(api, patient, doctor, place=9)
    stranger = await pay(api, await make_patient(), booking["id"])
    assert (stranger.status_code, stranger.json()["code"]) == (404, "not_found")
    for body, pointer in (
        ({"gateway": "barter"}, "/gateway"),
        ({"return_url": "https://evil.test/x"}, "/return_url"),
        ({"return_url": "https://app.amrutam.test@evil.test/"}, "/return_url"),
    ):
        bad = await api.post(f"/v1/bookings/{booking['id']}/pay", json=body, headers=patient.writing())
        assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_a_webhook_without_the_right_signature_is_refused_and_a_repeated_one_is_kept_once(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person, db: Database
) -> None:
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    path, body = "/v1/payments/webhooks/sandbox", b'{"id": "evt", "type": "charge.captured"}'
    for headers in ({}, {"x-sandbox-signature": "0" * 64, "x-sandbox-event-id": "evt"}):
        assert (await api.post(path, content=body, headers=headers)).status_code == 401
    assert (await api.post("/v1/payments/webhooks/barter", content=body)).status_code == 404
    event_id = await _told(api, environment, checkout["payment_id"])
    assert await _told(api, environment, checkout["payment_id"], event_id) == event_id
    async with db.connection() as connection:
        rows = await connection.fetch("SELECT body FROM webhooks WHERE event_id = $1", event_id)
    [row] = rows
    assert checkout["payment_id"].encode() not in row["body"]  # sealed


async def _told(
    api: httpx.AsyncClient, environment: Mapping[str, str], payment_id: str, event_id: str | None = None
) -> str:
    """A webhook as the sandbox sends it."""
    event_id = event_id or str(new_id())
    body = json.dumps({"id": event_id, "type": "charge.captured", "reference": payment_id}).encode()
    secret = environment["PAYMENT_SANDBOX_WEBHOOK_SECRET"].encode()
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    headers = {"x-sandbox-signature": signature, "x-sandbox-event-id": event_id}
    answer = await api.post("/v1/payments/webhooks/sandbox", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return event_id
