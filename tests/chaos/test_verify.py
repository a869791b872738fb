"""`python -m amrutam verify`: silent while all is well, and naming what somebody broke."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from temporalio.client import Client

from amrutam.ids import new_id
from amrutam.invariants import INVARIANTS
from amrutam.storage.pool import Database
from amrutam.verify import WORKFLOWS, Scope, check, offenders
from tests.people import Person
from tests.pictures import picture
from tests.web.slots import book, free_times
from tests.web.verifying import LICENCE, edit, submit

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


@pytest.fixture
async def booking(api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor) -> UUID:
    """A confirmed booking of this test alone."""
    patient, doctor = await make_patient(), await make_doctor()
    return UUID((await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()["id"])


async def _broken(owner: Database, temporal: Client, since: datetime) -> dict[str, list[str]]:
    """Name of each broken invariant and its offenders, of what was made since then."""
    lines: list[str] = []
    findings = await check(owner, temporal, Scope(since, grace=timedelta(0)), lines.append)
    assert len(lines) >= len(INVARIANTS) + len(WORKFLOWS)
    return {finding.invariant.name: finding.offenders for finding in findings}


async def test_what_was_done_properly_breaks_nothing(owner: Database, temporal: Client, booking: UUID) -> None:
    told = await _broken(owner, temporal, datetime.now(UTC) - timedelta(seconds=5))
    assert not [name for name, offenders in told.items() if any(str(booking) in each for each in offenders)]


async def _clear(owner: Database, booking: UUID) -> None:
    """Remove what is broken, so that nothing else is found to be."""
    async with owner.connection() as connection:
        await connection.execute("DELETE FROM claims WHERE booking_id = $1", booking)
        await connection.execute("DELETE FROM consultations WHERE id = $1", booking)
        await connection.execute("DELETE FROM bookings WHERE id = $1", booking)
        await connection.execute("DELETE FROM operations WHERE operation_id = $1", booking)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        ("DELETE FROM claims WHERE booking_id = $1", "a live booking holds its doctor's and its patient's time"),
        ("UPDATE bookings SET status = 'expired' WHERE id = $1", "a booking that has ended holds no time"),
        (
            "DELETE FROM bookings WHERE id = $1",
            "every claim belongs to a booking",
        ),
        (
            "UPDATE bookings SET patient_id = doctor_id WHERE id = $1",
            "every claim belongs to a booking",
        ),
        (
            "UPDATE bookings SET status = 'held' WHERE id = $1",
            "an unpaid booking says when its hold ends, and no other one does",
        ),
        (
            "UPDATE bookings SET expires_at = now() + interval '1 hour' WHERE id = $1",
            "an unpaid booking says when its hold ends, and no other one does",
        ),
        ("DELETE FROM bookings WHERE id = $1", "a request that was answered with a booking made one"),
        (
            "UPDATE bookings SET status = 'held', expires_at = now() - interval '1 hour' WHERE id = $1",
            "an unpaid hold ends when its time is up",
        ),
        (
            "DELETE FROM consultations WHERE id = $1",
            "a booking that was confirmed has its consultation, which is off when the booking is",
        ),
        (
            "UPDATE bookings SET status = 'cancelled' WHERE id = $1",
            "a booking that was confirmed has its consultation, which is off when the booking is",
        ),
        ("DELETE FROM bookings WHERE id = $1", "every consultation belongs to a booking"),
        ("UPDATE operations SET outcome = NULL WHERE operation_id = $1", "the request that made a booking knows it"),
        ("DELETE FROM events WHERE subject = $1", "every state of a booking was told as an event"),
        ("DELETE FROM audit WHERE subject = $1", "every booking was audited"),
        (
            "UPDATE bookings SET status = 'expired' WHERE id = $1",
            "every booking was audited",
        ),
        (
            "UPDATE bookings SET status = 'cancelled' WHERE id = $1",
            "a live booking has its running workflow, and one that has ended has none",
        ),
    ],
)
async def test_each_damage_is_named(owner: Database, temporal: Client, booking: UUID, damage: str, name: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    async with owner.connection() as connection:
        await connection.execute(damage, booking)
    told = await _broken(owner, temporal, before)
    assert any(str(booking) in offender for offender in told.get(name, [])), told
    await temporal.get_workflow_handle(f"booking/{booking}").terminate("the test broke its row")
    await _clear(owner, booking)


async def test_a_request_whose_workflow_ended_without_an_answer_is_named(
    owner: Database, temporal: Client, booking: UUID
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    name = "a request to book that has no answer yet has a workflow that can still give one"
    async with owner.connection() as connection:
        await connection.execute("UPDATE operations SET outcome = NULL WHERE operation_id = $1", booking)
    waiting = await _broken(owner, temporal, before)
    await temporal.get_workflow_handle(f"booking/{booking}").terminate("a test")
    told = await _broken(owner, temporal, before)
    assert not any(str(booking) in offender for offender in waiting.get(name, [])), waiting
    assert any(str(booking) in offender for offender in told.get(name, [])), told
    await _clear(owner, booking)


async def test_a_missing_or_weaker_exclusion_constraint_is_named(owner: Database) -> None:
    invariant = next(each for each in INVARIANTS if each.name == "no two claims of one resource overlap")
    scope = Scope(datetime.now(UTC))
    async with owner.connection() as connection:
        rolled_back = connection.transaction()
        await rolled_back.start()
        try:
            assert await offenders(connection, invariant, scope) == []
            await connection.execute("ALTER TABLE claims DROP CONSTRAINT claims_resource_id_during_excl")
            assert await offenders(connection, invariant, scope) == ["claims"]
            await connection.execute(
                """ALTER TABLE claims ADD EXCLUDE USING gist (resource_id WITH =, during WITH &&)
                   WHERE (expires_at IS NULL)"""
            )
            assert await offenders(connection, invariant, scope) == ["claims"]
        finally:
            await rolled_back.rollback()


async def test_a_consumer_that_is_behind_is_named(owner: Database, temporal: Client, booking: UUID) -> None:
    name = f"a consumer that nobody runs, beside {booking}"
    async with owner.connection() as connection:
        await connection.execute("INSERT INTO watermarks (consumer) VALUES ($1)", name)
    try:
        told = await _broken(owner, temporal, datetime.now(UTC) - timedelta(minutes=1))
        assert name in told["every consumer of events keeps up"]
    finally:
        async with owner.connection() as connection:
            await connection.execute("DELETE FROM watermarks WHERE consumer = $1", name)


async def test_a_missing_partition_is_named(owner: Database, temporal: Client) -> None:
    name = f"phantoms_{new_id().hex}"
    async with owner.connection() as connection:
        await connection.execute("INSERT INTO partitioned_tables VALUES ($1)", name)
    try:
        told = await _broken(owner, temporal, datetime.now(UTC))
        assert any(each.startswith(name) for each in told["this month's and the next month's partitions exist"])
    finally:
        async with owner.connection() as connection:
            await connection.execute("DELETE FROM partitioned_tables WHERE name = $1", name)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE documents SET deleted_at = now() WHERE owner_id = $1",
        "UPDATE documents SET purpose = 'verification' WHERE owner_id = $1",
        "UPDATE doctors SET photo_id = NULL WHERE id = $1",
    ],
)
async def test_a_photo_that_is_not_its_doctors_is_named(
    api: httpx.AsyncClient, owner: Database, temporal: Client, make_doctor: MakeDoctor, damage: str
) -> None:
    name, doctor = "a doctor shows the one photo that is theirs and was not deleted", await make_doctor()
    given = await api.put("/v1/doctors/me/photo", content=picture(), headers=doctor.headers)
    assert given.status_code == 200, given.text
    before = datetime.now(UTC) - timedelta(seconds=5)
    assert str(doctor.id) not in (await _broken(owner, temporal, before)).get(name, [])
    async with owner.connection() as connection:
        await connection.execute(damage, doctor.id)
    assert str(doctor.id) in (await _broken(owner, temporal, before))[name]
    async with owner.connection() as connection:
        await connection.execute("UPDATE doctors SET photo_id = NULL WHERE id = $1", doctor.id)
        await connection.execute("DELETE FROM documents WHERE owner_id = $1", doctor.id)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (
            "UPDATE doctors SET suspended_at = now() WHERE id = $1",
            "who may not practise is not verified, and has no booking to come",
        ),
        (
            "UPDATE users SET suspended_at = now() WHERE id = $1",
            "who may not practise is not verified, and has no booking to come",
        ),
        (
            "UPDATE users SET roles = '{patient}' WHERE id = $1",
            "who may not practise is not verified, and has no booking to come",
        ),
        (
            "UPDATE doctors SET verification_id = id WHERE id = $1",
            "what was verified of a doctor is what the profile says",
        ),
    ],
)
async def test_a_doctor_who_should_not_be_found_is_named(
    owner: Database, temporal: Client, make_doctor: MakeDoctor, damage: str, name: str
) -> None:
    doctor = await make_doctor()
    async with owner.connection() as connection:
        await connection.execute(damage, doctor.id)
    try:
        assert str(doctor.id) in (await _broken(owner, temporal, datetime.now(UTC)))[name]
    finally:
        async with owner.connection() as connection:
            await connection.execute(
                "UPDATE doctors SET suspended_at = NULL, verification_id = NULL WHERE id = $1", doctor.id
            )
            await connection.execute(
                "UPDATE users SET suspended_at = NULL, roles = '{doctor}' WHERE id = $1", doctor.id
            )


async def test_a_submission_whose_workflow_is_gone_is_named(
    api: httpx.AsyncClient, owner: Database, temporal: Client, make_doctor: MakeDoctor
) -> None:
    doctor, before = await make_doctor(verified=False), datetime.now(UTC) - timedelta(seconds=5)
    await edit(api, doctor, registration=LICENCE)
    submission_id = (await submit(api, doctor)).json()["id"]
    name = "what a doctor submitted and nobody has decided has its running workflow"
    assert not (await _broken(owner, temporal, before)).get(name)
    await temporal.get_workflow_handle(f"verification/{submission_id}").terminate("a test")
    assert any(submission_id in each for each in (await _broken(owner, temporal, before))[name])
    async with owner.connection() as connection:
        await connection.execute("UPDATE verifications SET state = 'superseded' WHERE id = $1", UUID(submission_id))
