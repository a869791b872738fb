"""Who holds a time: all or nothing, the expired make way, nobody overlaps, nobody waits for each other in a circle."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amrutam.domain.availability import Span
from amrutam.ids import new_id
from amrutam.storage import claims
from amrutam.storage.pool import Connection, Database
from tests.storage.waiting import someone_waits

NINE = datetime(2030, 3, 1, 9, tzinfo=UTC)
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
RACERS = 100


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture(scope="module", autouse=True)
async def nothing_is_left(db: Database) -> AsyncGenerator[None, None]:
    """Claims without a booking would be somebody's finding later."""
    yield
    async with db.connection() as connection:
        await connection.execute(
            "DELETE FROM claims c WHERE NOT EXISTS (SELECT FROM bookings b WHERE b.id = c.booking_id)"
        )


def _minutes(first: int, last: int) -> Span:
    return Span(NINE + timedelta(minutes=first), NINE + timedelta(minutes=last))


async def _take(db: Connection, resource: UUID, first: int, last: int, until: datetime | None = None) -> set[UUID]:
    return await claims.take(db, new_id(), {resource: _minutes(first, last)}, until)


async def _held(db: Connection, resource: UUID) -> list[Span]:
    return await claims.of_resource(db, resource, _minutes(-1000, 1000))


async def _rows(db: Database, resources: list[UUID]) -> int:
    async with db.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM claims WHERE resource_id = ANY ($1)", resources)


async def test_what_is_free_is_taken_for_doctor_and_patient_at_once(db: Database) -> None:
    doctor, patient = new_id(), new_id()
    async with db.transaction() as connection:
        times = {doctor: _minutes(-5, 20), patient: _minutes(0, 15)}
        assert await claims.take(connection, new_id(), times, FUTURE) == set()
        assert await _held(connection, doctor) == [_minutes(-5, 20)]
        assert await _held(connection, patient) == [_minutes(0, 15)]


async def test_one_time_that_is_held_is_named_and_the_rest_is_the_callers_to_give_back(db: Database) -> None:
    doctor, patient = new_id(), new_id()
    async with db.connection() as connection:
        assert await _take(connection, doctor, 0, 15) == set()

    async def book() -> None:
        async with db.transaction() as connection:
            times = {doctor: _minutes(10, 25), patient: _minutes(10, 25)}
            assert await claims.take(connection, new_id(), times, None) == {doctor}
            raise Undone

    with pytest.raises(Undone):
        await book()
    assert await _rows(db, [doctor, patient]) == 1


async def test_a_claim_that_expired_makes_way_and_a_live_one_does_not(db: Database) -> None:
    expired, live, for_good = new_id(), new_id(), new_id()
    async with db.transaction() as connection:
        for doctor, until in ((expired, PAST), (live, FUTURE), (for_good, None)):
            await _take(connection, doctor, 0, 15, until)
        assert await _take(connection, expired, 10, 25) == set()
        assert await _take(connection, live, 10, 25) == {live}
        assert await _take(connection, for_good, 10, 25) == {for_good}
        assert await _held(connection, expired) == [_minutes(10, 25)]
        assert await _held(connection, live) == [_minutes(0, 15)]


async def test_only_expired_claims_that_are_in_the_way_are_removed(db: Database) -> None:
    doctor, other = new_id(), new_id()
    async with db.transaction() as connection:
        for resource, first in ((doctor, 0), (doctor, 30), (other, 0)):
            await _take(connection, resource, first, first + 15, PAST)
        await _take(connection, doctor, 0, 15)
        left = await connection.fetch(
            "SELECT resource_id, lower(during) AS at FROM claims WHERE resource_id = ANY ($1) AND expires_at = $2",
            [doctor, other], PAST,
        )  # fmt: skip
        assert {(row["resource_id"], row["at"]) for row in left} == {(doctor, _minutes(30, 45)[0]), (other, NINE)}


async def test_times_that_touch_do_not_overlap(db: Database) -> None:
    doctor = new_id()
    async with db.transaction() as connection:
        assert await _take(connection, doctor, 15, 30) == set()
        assert await _take(connection, doctor, 0, 15) == set()
        assert await _take(connection, doctor, 30, 45) == set()
        assert await claims.overlapping(connection, new_id(), {doctor: _minutes(45, 60)}) == set()
        assert await claims.overlapping(connection, new_id(), {doctor: _minutes(44, 60)}) == {doctor}
        assert await _held(connection, doctor) == [_minutes(0, 15), _minutes(15, 30), _minutes(30, 45)]


async def test_a_booking_claims_a_resource_once(db: Database) -> None:
    doctor, booking = new_id(), new_id()
    async with db.transaction() as connection:
        assert await claims.take(connection, booking, {doctor: _minutes(0, 15)}, None) == set()
        assert await claims.take(connection, booking, {doctor: _minutes(30, 45)}, None) == {doctor}


async def test_a_booking_is_not_in_its_own_way(db: Database) -> None:
    doctor, booking = new_id(), new_id()
    async with db.transaction() as connection:
        assert await claims.take(connection, booking, {doctor: _minutes(0, 15)}, None) == set()
        assert await claims.overlapping(connection, booking, {doctor: _minutes(0, 15)}) == set()
        assert await claims.overlapping(connection, new_id(), {doctor: _minutes(0, 15)}) == {doctor}


async def test_what_expired_counts_as_free_to_whoever_looks(db: Database) -> None:
    doctor = new_id()
    async with db.transaction() as connection:
        await _take(connection, doctor, 0, 15, PAST)
        await _take(connection, doctor, 30, 45, FUTURE)
        assert await claims.overlapping(connection, new_id(), {doctor: _minutes(0, 15)}) == set()
        assert await claims.overlapping(connection, new_id(), {doctor: _minutes(0, 45)}) == {doctor}
        assert await _held(connection, doctor) == [_minutes(30, 45)]


async def test_what_is_given_back_is_free_and_nothing_else_is(db: Database) -> None:
    doctor, patient, booking = new_id(), new_id(), new_id()
    async with db.transaction() as connection:
        await claims.take(connection, booking, {doctor: _minutes(0, 15), patient: _minutes(0, 15)}, None)
        await _take(connection, doctor, 30, 45)
        await claims.release(connection, booking)
        await claims.release(connection, booking)
        assert await _held(connection, patient) == []
        assert await _held(connection, doctor) == [_minutes(30, 45)]


async def test_past_claims_are_forgotten_and_not_too_many_at_once(db: Database) -> None:
    doctor, day = new_id(), timedelta(days=1)
    old = datetime(2001, 1, 1, tzinfo=UTC)
    async with db.transaction() as connection:
        for number in range(4):
            span = Span(old + number * day, old + number * day + timedelta(minutes=15))
            await claims.take(connection, new_id(), {doctor: span}, None)
        assert await claims.forget_before(connection, old + 2.5 * day, limit=2) == 2
        assert await claims.forget_before(connection, old + 2.5 * day, limit=2) == 1
        assert await claims.forget_before(connection, old + 2.5 * day, limit=2) == 0
        assert len(await claims.of_resource(connection, doctor, Span(old, old + 9 * day))) == 1


async def _book(db: Database, times: Mapping[UUID, Span], *, queue: bool) -> bool:
    """Claim all for good, or nothing; returns whether it was had."""
    try:
        async with db.transaction() as connection:
            if queue:
                await claims.queue_for(connection, times)
            if await claims.take(connection, new_id(), times, None):
                raise Undone
    except Undone:
        return False
    return True


async def test_a_hundred_at_once_for_one_time_leave_one(wide: Database) -> None:
    doctor, patients = new_id(), [new_id() for _ in range(RACERS)]
    gate = asyncio.Semaphore(50)  # as many as there are connections

    async def book(patient: UUID) -> bool:
        async with gate:
            return await _book(wide, {doctor: _minutes(0, 15), patient: _minutes(0, 15)}, queue=False)

    assert sum(await asyncio.gather(*map(book, patients))) == 1
    assert await _rows(wide, [doctor]) == await _rows(wide, patients) == 1


async def _deadlocks(db: Database) -> int:
    """How many PostgreSQL has resolved so far in this database, those of a moment ago included."""
    async with db.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


async def test_two_who_name_the_same_two_in_opposite_order_never_wait_for_each_other(wide: Database) -> None:
    """Each deadlock would be an error here too, of whoever PostgreSQL makes give way, and cost a second."""
    before, span = await _deadlocks(wide), _minutes(0, 15)

    async def race() -> int:
        one, other = new_id(), new_id()
        there, back = {one: span, other: span}, {other: span, one: span}
        return sum(await asyncio.gather(*(_book(wide, times, queue=True) for times in (there, back, there, back))))

    for _ in range(RACERS // 4):
        assert await asyncio.gather(*(race() for _ in range(8))) == [1] * 8
    assert await _deadlocks(wide) == before


@pytest.mark.parametrize("turned", [False, True])
async def test_everyone_queues_in_one_order_whatever_order_they_name(db: Database, turned: bool) -> None:
    """Whoever waits for the first place in the queue holds no other, so that its holder can go on."""
    low, high = (UUID(bytes=new_id().bytes[:8] + bytes([0x00, number]) + new_id().bytes[10:]) for number in (1, 2))

    async def queue() -> None:
        async with db.transaction() as connection:
            await claims.queue_for(connection, [high, low] if turned else [low, high])

    async with db.transaction() as connection:
        await claims.queue_for(connection, [low])
        waiting = asyncio.create_task(queue())
        await someone_waits(db, "pg_advisory_xact_lock")
        assert await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", int.from_bytes(high.bytes[8:]))
    await waiting


class Step(NamedTuple):
    """Take a span for some resources, or give a former take back."""

    resources: frozenset[int]
    first: int
    length: int
    until: datetime | None
    back: int | None


class Held(NamedTuple):
    """What the model holds."""

    booking: int
    resource: int
    span: Span
    until: datetime | None

    @property
    def live(self) -> bool:
        return self.until != PAST


STEPS = st.lists(
    st.builds(
        Step,
        st.frozensets(st.integers(0, 2), min_size=1),
        st.integers(0, 12),
        st.integers(1, 5),
        st.sampled_from([None, PAST, FUTURE]),
        st.none() | st.integers(0, 9),
    ),
    min_size=1,
    max_size=10,
)


def _model(held: list[Held], booking: int, step: Step) -> tuple[list[Held], set[int]]:
    """What is held after a step, and who was in the way: intervals in a list."""
    if step.back is not None:
        return [each for each in held if each.booking != step.back], set()
    span = _minutes(step.first, step.first + step.length)
    wanted = [each for each in held if each.resource in step.resources and each.span.overlaps(span)]
    if taken := {each.resource for each in wanted if each.live}:
        return held, taken
    return [
        *(each for each in held if each not in wanted),
        *(Held(booking, resource, span, step.until) for resource in step.resources),
    ], set()


@hypothesis_settings(max_examples=60, deadline=None)
@given(steps=STEPS)
async def test_claims_are_intervals_of_which_no_two_live_ones_overlap(db: Database, steps: list[Step]) -> None:
    resources, bookings = [new_id() for _ in range(3)], [new_id() for _ in range(10)]
    held: list[Held] = []
    async with db.transaction() as connection:
        for number, step in enumerate(steps):
            taken = await _do(connection, bookings[number], step, resources, bookings)
            held, expected = _model(held, number, step)
            assert taken == {resources[each] for each in expected}
            rows = await connection.fetch(
                """SELECT booking_id, resource_id, lower(during), upper(during), expires_at FROM claims
                   WHERE resource_id = ANY ($1)""",
                resources,
            )
            assert {tuple(row) for row in rows} == {
                (bookings[each.booking], resources[each.resource], *each.span, each.until) for each in held
            }
            whole = {resource: _minutes(0, 20) for resource in resources}
            live = {resources[each.resource] for each in held if each.live}
            assert await claims.overlapping(connection, new_id(), whole) == live


async def _do(db: Connection, booking: UUID, step: Step, resources: list[UUID], bookings: list[UUID]) -> set[UUID]:
    """The step for real; a take that did not get all is rolled back, as every caller does."""
    if step.back is not None:
        await claims.release(db, bookings[step.back])
        return set()
    span = _minutes(step.first, step.first + step.length)
    attempt = db.transaction()
    await attempt.start()
    taken = await claims.take(db, booking, {resources[each]: span for each in step.resources}, step.until)
    await (attempt.rollback() if taken else attempt.commit())
    return taken
