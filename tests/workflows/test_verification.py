"""A verification's reminders and ends, on the real server, whose clock is moved for each workflow alone."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own

from amrutam.domain.common import Role
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.web.verifying import LICENCE, decide, edit, standing, submit

MakeDoctor = Callable[..., Awaitable[Person]]
Outbox = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(scope="module")
async def admin(people: People) -> Person:
    """Has just shown a second factor."""
    return await people.with_factor(await people.staff(Role.ADMIN))


@pytest.fixture
async def applicant(api: httpx.AsyncClient, make_doctor: MakeDoctor) -> Person:
    """A doctor whose profile names a registration that nobody has checked."""
    doctor = await make_doctor(verified=False)
    await edit(api, doctor, registration=LICENCE)
    return doctor


@pytest.fixture
async def handle(api: httpx.AsyncClient, applicant: Person, temporal: Client) -> WorkflowHandle[Any, Any]:
    """The workflow of what the applicant has submitted."""
    submitted = await submit(api, applicant)
    assert submitted.status_code == 201, submitted.text
    return temporal.get_workflow_handle(f"verification/{submitted.json()['id']}")


async def _told(owner: Database, kind: str, submission: WorkflowHandle[Any, Any], subject: UUID) -> int:
    """How often somebody was told of this submission."""
    async with owner.connection() as db:
        return await db.fetchval(
            "SELECT count(*) FROM events WHERE type = $1 AND subject = $2 AND data->>'submission_id' = $3",
            kind, subject, submission.id.removeprefix("verification/"),
        )  # fmt: skip


async def test_administrators_are_reminded_after_two_days_and_then_each_week(
    handle: WorkflowHandle[Any, Any], admin: Person, temporal: Client, owner: Database
) -> None:
    told = [await _told(owner, "verification.awaited", handle, admin.id)]
    for days in (1, 2, 6, 3):
        await TimeSkipper(temporal).fast_forward(handle, timedelta(days=days))
        told.append(await _told(owner, "verification.awaited", handle, admin.id))
    assert told == [1, 1, 2, 2, 3]


async def test_what_is_not_answered_in_thirty_days_is_closed_after_a_reminder(
    handle: WorkflowHandle[Any, Any], api: httpx.AsyncClient, applicant: Person, admin: Person, temporal: Client,
    owner: Database, outbox: Outbox,
) -> None:  # fmt: skip
    await decide(api, admin, applicant, "ask", reason="The scan is too dark to read.")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=22))
    assert await _told(owner, "verification.answer_wanted", handle, applicant.id) == 0
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=2))
    assert await _told(owner, "verification.answer_wanted", handle, applicant.id) == 1
    assert await standing(api, applicant) == "more_wanted"
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=7))
    assert await handle.result() == "expired"
    assert await standing(api, applicant) == "expired"
    assert (await outbox(applicant.email, 3))[0]["subject"] == "Your verification was closed"
    assert (await submit(api, applicant)).status_code == 201


async def test_a_doctor_is_reminded_of_a_registration_and_told_of_its_end(
    handle: WorkflowHandle[Any, Any], api: httpx.AsyncClient, applicant: Person, admin: Person, temporal: Client,
    outbox: Outbox,
) -> None:  # fmt: skip
    await decide(api, admin, applicant, "approve")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=410))
    assert await handle.result() == "lapsed"
    mails = [mail["subject"] for mail in await outbox(applicant.email, 4)]
    assert mails[:3] == ["Your registration has lapsed"] + ["Your registration lapses soon"] * 2


async def test_a_renewal_takes_over_from_the_verification_before_it(
    handle: WorkflowHandle[Any, Any], api: httpx.AsyncClient, applicant: Person, admin: Person, temporal: Client
) -> None:
    await decide(api, admin, applicant, "approve")
    renewed = await submit(api, applicant)
    assert renewed.status_code == 201
    assert await standing(api, applicant) == "verified"  # while it is looked at
    await decide(api, admin, applicant, "approve")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=410))
    assert await handle.result() == "superseded"
    assert await standing(api, applicant) == "verified"


async def test_what_an_edit_made_void_ends_with_its_next_reminder(
    handle: WorkflowHandle[Any, Any], api: httpx.AsyncClient, applicant: Person, temporal: Client
) -> None:
    await edit(api, applicant, full_name="Dr Somebody Else")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=3))
    assert await handle.result() == "superseded"
