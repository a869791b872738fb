"""Somebody dies after each step of a request in turn; the same key asked again gets one outcome, always the same."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from temporalio.client import Client, WorkflowExecutionStatus

from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage.pool import Database
from amrutam.verify import Scope, check
from tests.chaos.crash_points import OF_A_BOOKING, OF_A_CANCEL, Point
from tests.chaos.crash_walk import Request, Walk, record_of
from tests.conftest import System
from tests.people import People
from tests.polling import until
from tests.web.slots import book, free_times, wish

# The walk kills a process at each point; Temporal then waits 10 s for each step that died with its worker.
pytestmark = pytest.mark.timeout(400)


ASK_AGAIN = {(202, "pending"), (409, "operation_in_progress"), (503, "unavailable")}


@dataclass(frozen=True)
class Walked:
    """What was asked for, by kind and point, and what `verify` found before that."""

    requests: Mapping[str, Request]
    scope: Scope
    broken_before: frozenset[str]


@pytest.fixture(scope="module")
async def walked(
    system: System,
    api: httpx.AsyncClient,
    db: Database,
    owner: Database,
    settings: Settings,
    temporal: Client,
    people: People,
) -> Walked:
    """Every point was met once; all parts run again, and nobody has asked again yet."""
    scope = Scope(datetime.now(UTC), grace=timedelta(0))
    broken_before = await _broken(owner, temporal, scope)
    bookings = {f"book {point}": await _a_booking(api, people, point) for point in OF_A_BOOKING}
    cancels = {f"cancel {point}": await _a_cancel(api, people, point) for point in OF_A_CANCEL}
    requests = bookings | cancels
    async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        await Walk(system, api, db, redis, temporal).go(list(requests.values()))
    return Walked(requests, scope, broken_before)


async def _broken(owner: Database, temporal: Client, scope: Scope) -> frozenset[str]:
    """Each invariant that does not hold with each of its offenders."""
    findings = await check(owner, temporal, scope, lambda _: None)
    return frozenset(f"{finding.invariant.name}: {each}" for finding in findings for each in finding.offenders)


async def _a_booking(api: httpx.AsyncClient, people: People, point: Point) -> Request:
    patient, doctor = await people.patient(), await people.doctor()
    body = wish(doctor, (await free_times(api, doctor))[0], reason="an itching rash")
    return Request(point, patient, doctor, "/v1/bookings", body, str(new_id()), None)


async def _a_cancel(api: httpx.AsyncClient, people: People, point: Point) -> Request:
    patient, doctor = await people.patient(), await people.doctor()
    made = await book(api, patient, doctor, (await free_times(api, doctor))[0])
    booking_id = UUID(made.json()["id"])
    path, body = f"/v1/bookings/{booking_id}/cancel", {"reason": "the rash is gone"}
    return Request(point, patient, doctor, path, body, str(new_id()), booking_id)


async def _same_answer_each_time(api: httpx.AsyncClient, request: Request, status: int) -> dict[str, Any]:
    """The answer's body. A client may be told to ask again, until what died with its worker is tried anew."""

    async def answered() -> httpx.Response | None:
        answer = await request.ask(api)
        if answer.status_code == status:
            return answer
        code = answer.json().get("code", "pending")
        assert (answer.status_code, code) in ASK_AGAIN, answer.text
        return None

    first = await until(answered, 60)
    for again in [await request.ask(api) for _ in range(3)]:
        assert (again.status_code, again.content) == (status, first.content)
        assert (again.headers["etag"], again.headers.get("location")) == (
            first.headers["etag"],
            first.headers.get("location"),
        )
        assert again.headers["idempotency-replayed"] == "true"
    return first.json()


async def _counts(db: Database, request: Request, act: str, fact: str) -> dict[str, int]:
    async with db.connection() as connection:
        row = await connection.fetchrow(
            """SELECT (SELECT count(*) FROM operations WHERE user_id = $1 AND key = $2) AS records,
                      (SELECT count(*) FROM bookings WHERE patient_id = $1 OR doctor_id = $3) AS bookings,
                      (SELECT count(*) FROM claims WHERE resource_id IN ($1, $3)) AS claims,
                      (SELECT count(*) FROM consultations WHERE patient_id = $1) AS consultations,
                      (SELECT count(*) FROM audit WHERE patient_id = $1 AND action = $4) AS acts,
                      (SELECT count(*) FROM events e JOIN bookings b ON b.id = e.subject
                       WHERE b.patient_id = $1 AND e.type = $5) AS facts""",
            request.patient.id, request.key, request.doctor.id, act, fact,
        )  # fmt: skip
    assert row is not None
    return dict(row)


ONE_OF_EACH = {"records": 1, "bookings": 1, "consultations": 1, "acts": 1, "facts": 1}


@pytest.mark.parametrize("point", OF_A_BOOKING, ids=str)
async def test_a_booking_that_met_a_crash_is_made_once(
    walked: Walked, api: httpx.AsyncClient, db: Database, temporal: Client, point: Point
) -> None:
    request = walked.requests[f"book {point}"]
    assert point.leaves is None or request.left == point.leaves
    booking = await _same_answer_each_time(api, request, 201)
    assert (booking["status"], booking["reason"]) == ("confirmed", "an itching rash")
    assert await _counts(db, request, "booking.create", "booking.confirmed") == ONE_OF_EACH | {"claims": 2}
    record = await record_of(db, request)
    assert record is not None
    assert (record["id"], record["status"], record["refusal"]) == (UUID(booking["id"]), "confirmed", None)
    workflow = await temporal.get_workflow_handle(f"booking/{booking['id']}").describe()
    assert workflow.status is WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize("point", OF_A_CANCEL, ids=str)
async def test_a_cancel_that_met_a_crash_is_done_once(
    walked: Walked, api: httpx.AsyncClient, db: Database, temporal: Client, point: Point
) -> None:
    request = walked.requests[f"cancel {point}"]
    assert point.leaves is None or request.left == point.leaves
    booking = await _same_answer_each_time(api, request, 200)
    assert (booking["status"], booking["cancellation_reason"]) == ("cancelled", "the rash is gone")
    assert await _counts(db, request, "booking.cancel", "booking.cancelled") == ONE_OF_EACH | {"claims": 0}
    record = await record_of(db, request)
    assert record is not None
    assert (record["id"], record["status"], record["refusal"]) == (request.booking_id, "cancelled", None)
    assert await temporal.get_workflow_handle(f"booking/{booking['id']}").result() == "cancelled"


async def test_the_whole_walk_breaks_no_invariant(
    walked: Walked, api: httpx.AsyncClient, owner: Database, temporal: Client
) -> None:
    for request in walked.requests.values():
        await _same_answer_each_time(api, request, 200 if request.booking_id else 201)

    async def calm() -> bool:
        return await _broken(owner, temporal, walked.scope) <= walked.broken_before

    with suppress(TimeoutError):  # then the difference names what is broken
        await until(calm, 60)
    assert await _broken(owner, temporal, walked.scope) - walked.broken_before == frozenset()
