"""The relay: each fact has its effect at least once, in order, by one process at a time, and no consumer waits."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from uuid import UUID

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from amrutam.crypto import Keyring
from amrutam.domain.auth import RegistrationRepeated
from amrutam.domain.booking import BookingCancelled, BookingConfirmed
from amrutam.domain.common import Role
from amrutam.domain.doctor import DoctorChanged
from amrutam.domain.events import Event
from amrutam.ids import new_id
from amrutam.relay import STARTS_AT_ONCE, Effect, Relay, refresh_caches, send_mails
from amrutam.settings import Settings
from amrutam.stack.ports import LOOPBACK, free_port
from amrutam.storage import events
from amrutam.storage.breaker import CONNECTION
from amrutam.storage.cache import SEARCH_GROUP, Cache, Fill, doctor_group, slots_group
from amrutam.storage.events import StoredEvent
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, Database
from amrutam.temporal import connect
from tests.conftest import System
from tests.polling import until


class Tried(Event):
    """A fact that only these tests tell."""

    type: ClassVar[str] = "test.tried"
    number: int


class Noted:
    """An effect that notes the numbers of this test's facts, and can be held up."""

    def __init__(self, subject: UUID) -> None:
        self._subject = subject
        self.numbers: list[int] = []
        self.busy = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, batch: Sequence[StoredEvent]) -> None:
        mine = [event for event in batch if event.subject == self._subject]
        if mine:
            self.busy.set()
            await self.go_on.wait()
            self.numbers += [json.loads(event.data)["number"] for event in mine]

    async def is_held_up(self) -> None:
        """Until it has been given one of these facts."""
        async with asyncio.timeout(20):
            await self.busy.wait()

    async def has(self, *numbers: int) -> None:
        """Until it has noted these."""

        async def noted() -> bool:
            return self.numbers == list(numbers)

        await until(noted)


@pytest.fixture
async def consumers(db: Database, owner: Database) -> AsyncGenerator[tuple[str, str], None]:
    """Names of two new consumers, which have read everything so far."""
    names = (f"test-{new_id()}", f"test-{new_id()}")
    async with db.connection() as connection:
        for name in names:
            await connection.execute(
                "INSERT INTO watermarks (consumer, xid) VALUES ($1, pg_snapshot_xmin(pg_current_snapshot()))", name
            )
    yield names
    async with owner.connection() as connection:
        await connection.execute("DELETE FROM watermarks WHERE consumer = ANY ($1)", names)


@pytest.fixture
def subject() -> UUID:
    """What the test's facts are about."""
    return new_id()


@asynccontextmanager
async def _running(db: Database, consumers: Mapping[str, Effect]) -> AsyncGenerator[None, None]:
    task = asyncio.create_task(Relay(db, consumers).run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tell(db: Database, event: Event) -> None:
    async with db.connection() as connection:
        await events.append(connection, event)


async def _watermark(db: Database, consumer: str) -> tuple[str, UUID]:
    async with db.connection() as connection:
        row = await connection.fetchrow("SELECT xid::text, id FROM watermarks WHERE consumer = $1", consumer)
    assert row is not None
    return row["xid"], row["id"]


def _stored(event: Event) -> StoredEvent:
    return StoredEvent("1", new_id(), event.type, event.subject, event.model_dump_json(exclude={"subject"}), 0)


async def test_of_two_relays_at_once_one_reads_and_the_other_takes_over(
    db: Database, consumers: tuple[str, str], subject: UUID
) -> None:
    name, beside = consumers
    effect, alive = Noted(subject), Noted(subject)
    effect.go_on.clear()
    async with _running(db, {name: effect}), _running(db, {name: effect, beside: alive}):
        await _tell(db, Tried(subject=subject, number=1))
        await effect.is_held_up()
        async with db.transaction() as connection:
            assert not await events.become_only_reader(connection, name)
        await alive.has(1)  # the other relay goes round, and leaves this consumer alone
        await _tell(db, Tried(subject=subject, number=2))
        await alive.has(1, 2)
        assert effect.numbers == []
        effect.go_on.set()
        await effect.has(1, 2)
    await _tell(db, Tried(subject=subject, number=3))
    async with _running(db, {name: effect}):
        await effect.has(1, 2, 3)


async def test_an_effect_that_fails_is_tried_again_and_the_watermark_stays(
    db: Database, consumers: tuple[str, str], subject: UUID
) -> None:
    name, noted = consumers[0], Noted(subject)
    before = await _watermark(db, name)
    marks: list[tuple[str, UUID]] = []

    async def fails_first(batch: Sequence[StoredEvent]) -> None:
        if any(event.subject == subject for event in batch):
            marks.append(await _watermark(db, name))
            if len(marks) == 1:
                raise ConnectionError("what it needs is away")
        await noted(batch)

    await _tell(db, Tried(subject=subject, number=1))
    async with _running(db, {name: fails_first}):
        await noted.has(1)
    assert marks[0] == marks[1]
    assert marks[0] >= before
    assert await _watermark(db, name) != marks[1]


async def test_a_consumer_that_is_behind_does_not_hold_the_other(
    db: Database, consumers: tuple[str, str], subject: UUID
) -> None:
    slow, quick = Noted(subject), Noted(subject)
    slow.go_on.clear()
    async with _running(db, dict(zip(consumers, (slow, quick), strict=True))):
        await _tell(db, Tried(subject=subject, number=1))
        await slow.is_held_up()
        await _tell(db, Tried(subject=subject, number=2))
        await quick.has(1, 2)
        assert slow.numbers == []
        slow.go_on.set()
        await slow.has(1, 2)


async def test_more_facts_than_one_batch_come_in_order(
    db: Database, consumers: tuple[str, str], subject: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrutam.relay.BATCH", 2)
    for number in range(7):
        await _tell(db, Tried(subject=subject, number=number))
    noted = Noted(subject)
    async with _running(db, {consumers[0]: noted}):
        await noted.has(*range(7))


def _facts(doctor: UUID) -> list[tuple[Event, set[str]]]:
    """What makes which groups stale."""
    profile, slots = doctor_group(doctor), slots_group(doctor)
    start = "2030-03-01T10:00:00Z"
    ids = {"subject": new_id(), "doctor_id": doctor, "patient_id": new_id()}
    cancelled = BookingCancelled.model_validate({**ids, "starts_at": start, "by": Role.PATIENT})
    return [
        (DoctorChanged(subject=doctor, verified=False), {profile, slots, SEARCH_GROUP}),
        (cancelled, {slots}),
        (Tried(subject=doctor, number=1), set()),
    ]


async def test_a_fact_drops_exactly_what_it_made_stale(redis: Redis, db: Database) -> None:
    cache, doctor, other = Cache(redis, Nodes(db, [])), new_id(), new_id()
    groups = [doctor_group(doctor), slots_group(doctor), SEARCH_GROUP, slots_group(other)]
    key = str(new_id())
    for fact, stale in _facts(doctor):
        filled: list[str] = []

        def fill(group: str, filled: list[str] = filled) -> Fill:
            async def make(_: Connection) -> bytes:
                filled.append(group)
                return b"{}"

            return make

        for group in groups:
            await cache.get(group, key, 60, fill(group))
        filled.clear()
        await refresh_caches(cache)([_stored(fact)])
        for group in groups:
            await cache.get(group, key, 60, fill(group))
        assert set(filled) - {SEARCH_GROUP} == stale - {SEARCH_GROUP}
        assert stale <= set(filled)


async def test_with_redis_away_a_fact_is_kept_for_later(db: Database) -> None:
    away: Redis = Redis.from_url(f"redis://{LOOPBACK}:{free_port()}", **CONNECTION)
    refresh = refresh_caches(Cache(away, Nodes(db, [])))
    await refresh([_stored(Tried(subject=new_id(), number=1))])
    with pytest.raises(RedisError):
        await refresh([_stored(DoctorChanged(subject=new_id(), verified=True))])
    await away.aclose()


async def test_an_event_that_is_seen_again_starts_no_second_mail(temporal: Client, system: System) -> None:
    assert system.worker.process
    event = _stored(RegistrationRepeated(subject=new_id()))
    send, handle = send_mails(temporal), temporal.get_workflow_handle(f"mail/{event.id}")
    await send([event, event])
    first = await handle.describe()
    assert await handle.result() == "not_needed"
    await send([_stored(Tried(subject=new_id(), number=1)), event])
    last = await handle.describe()
    assert (last.run_id, last.status) == (first.run_id, WorkflowExecutionStatus.COMPLETED)


async def test_an_event_that_both_sides_of_a_booking_are_told_of_starts_one_workflow_for_both(
    temporal: Client, system: System
) -> None:
    assert system.worker.process
    ids = {"subject": new_id(), "doctor_id": new_id(), "patient_id": new_id()}
    event = _stored(BookingConfirmed.model_validate({**ids, "starts_at": "2030-03-01T10:00:00Z"}))
    await send_mails(temporal)([event, event])
    handle = temporal.get_workflow_handle(f"mail/{event.id}")
    assert await handle.result() == "not_needed"
    tried = [
        each for each in (await handle.fetch_history()).events if each.HasField("marker_recorded_event_attributes")
    ]
    assert [each.marker_recorded_event_attributes.marker_name for each in tried].count("core_local_activity") == 2


async def test_a_batch_of_more_mails_than_start_at_once_starts_each_of_them(temporal: Client, system: System) -> None:
    assert system.worker.process
    batch = [_stored(RegistrationRepeated(subject=new_id())) for _ in range(STARTS_AT_ONCE + 4)]
    await send_mails(temporal)(batch)
    for event in batch:
        assert await temporal.get_workflow_handle(f"mail/{event.id}").result() == "not_needed"


async def test_with_temporal_away_a_mail_is_kept_for_later(settings: Settings, keyring: Keyring) -> None:
    nowhere = settings.model_copy(update={"temporal_address": f"{LOOPBACK}:{free_port()}"})
    away = await connect(nowhere, keyring, lazy=True)
    with pytest.raises((RPCError, RuntimeError)):
        await send_mails(away)([_stored(RegistrationRepeated(subject=new_id()))])
