"""Housekeeping for real: what is past its lifetime goes, what is not stays, and partitions are there in time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Range
from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleOverlapPolicy

from activities.maintenance import BATCH, Housekeeping, MaintenanceActivities
from amrutam.gateways.documents import documents_for
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage import partitions
from amrutam.storage.pool import Connection, Database
from amrutam.temporal import BACKGROUND_QUEUE
from tests.conftest import System
from tests.people import People

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def _keep_house(temporal: Client, system: System) -> Housekeeping:
    """One round by the running worker."""
    assert system.worker.process
    return await temporal.execute_workflow(
        "Maintenance", id=f"maintenance/{new_id()}", task_queue=BACKGROUND_QUEUE, result_type=Housekeeping
    )


async def _claim(db: Connection, ended: datetime, id: UUID) -> None:
    await db.execute(
        "INSERT INTO claims (booking_id, resource_id, during) VALUES ($1, $1, $2)", id, Range(ended - HOUR, ended)
    )


async def _operation(db: Connection, made: datetime, id: UUID) -> None:
    await db.execute(
        """INSERT INTO operations (user_id, key, operation_id, action, request_mac, created_at)
           VALUES ($1, 'k', $1, 'book', 'mac', $2)""",
        id, made,
    )  # fmt: skip


async def _session(db: Connection, user: UUID, expires: datetime, ended: datetime | None, id: UUID) -> None:
    await db.execute(
        "INSERT INTO sessions (id, user_id, methods, expires_at, ended_at) VALUES ($1, $2, '{pwd}', $3, $4)",
        id, user, expires, ended,
    )  # fmt: skip
    await db.execute("INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)", id.bytes, id)


async def _link(db: Connection, user: UUID, expires: datetime, id: UUID) -> None:
    await db.execute(
        "INSERT INTO email_tokens (id, user_id, token_hash, password_hash, expires_at) VALUES ($1, $2, $3, 'x', $4)",
        id, user, id.bytes, expires,
    )  # fmt: skip


async def _reset(db: Connection, user: UUID, expires: datetime, id: UUID) -> None:
    await db.execute(
        "INSERT INTO password_resets (id, user_id, token_hash, expires_at) VALUES ($1, $2, $3, $4)",
        id, user, id.bytes, expires,
    )  # fmt: skip


async def _change(db: Connection, user: UUID, expires: datetime, id: UUID) -> None:
    await db.execute(
        """INSERT INTO email_changes
             (id, user_id, old_email, new_email, old_token_hash, new_token_hash, expires_at, ended_at)
           VALUES ($1, $2, 'old', 'new', $3, $4, $5, now())""",
        id, user, id.bytes, id.bytes + b"new", expires,
    )  # fmt: skip


async def _invitation(db: Connection, expires: datetime, id: UUID) -> None:
    await db.execute(
        """INSERT INTO invitations (id, email, full_name, roles, token_hash, expires_at, ended_at)
           VALUES ($1, 'old', 'Asha Rao', '{support}', $2, $3, now())""",
        id, id.bytes, expires,
    )  # fmt: skip


async def _challenge(db: Connection, user: UUID, expires: datetime, id: UUID) -> None:
    await db.execute(
        """INSERT INTO factor_challenges (id, user_id, purpose, token_hash, expires_at, password_mark)
           VALUES ($1, $2, 'verify', $3, $4, $3)""",
        id, user, id.bytes, expires,
    )  # fmt: skip


async def _left(db: Database, table: str, column: str, ids: list[UUID]) -> set[UUID]:
    query = f"SELECT {column} FROM {table} WHERE {column} = ANY ($1)"  # noqa: S608 - named below
    async with db.connection() as connection:
        return {row[0] for row in await connection.fetch(query, ids)}


async def test_what_is_past_its_lifetime_is_removed_and_the_rest_is_kept(
    temporal: Client, system: System, db: Database, people: People, settings: Settings, now: datetime
) -> None:
    user = (await people.patient()).id
    past, fresh = new_id(), new_id()
    logged_out, kept_out = new_id(), new_id()
    claims = timedelta(hours=settings.keep_claims_hours)
    webhooks = timedelta(days=settings.keep_webhooks_days)
    records, sessions = timedelta(days=settings.keep_operations_days), timedelta(days=settings.keep_sessions_days)
    async with db.transaction() as connection:
        await _claim(connection, now - claims - HOUR, past)
        await _claim(connection, now - claims + HOUR, fresh)
        await _operation(connection, now - records - HOUR, past)
        await _operation(connection, now - records + HOUR, fresh)
        await _session(connection, user, now - sessions - HOUR, None, past)
        await _session(connection, user, now - sessions + HOUR, None, fresh)
        await _session(connection, user, now + DAY, now - sessions - HOUR, logged_out)
        await _session(connection, user, now + DAY, now - sessions + HOUR, kept_out)
        for insert in (_link, _reset, _change, _challenge):
            await insert(connection, user, now - sessions - HOUR, past)
            await insert(connection, user, now - sessions + HOUR, fresh)
        for told, event_id in ((now - webhooks - HOUR, past), (now - webhooks + HOUR, fresh)):
            await connection.execute(
                "INSERT INTO webhooks (gateway, event_id, body, received_at) VALUES ('sandbox', $1, '', $2)",
                str(event_id), told,
            )  # fmt: skip
        await _invitation(connection, now - sessions - HOUR, past)
        await _invitation(connection, now - sessions + HOUR, fresh)

    done = await _keep_house(temporal, system)

    assert await _left(db, "claims", "booking_id", [past, fresh]) == {fresh}
    assert await _left(db, "operations", "operation_id", [past, fresh]) == {fresh}
    async with db.connection() as connection:
        told = await connection.fetch(
            "SELECT event_id FROM webhooks WHERE event_id = ANY ($1)", [str(past), str(fresh)]
        )
    assert [row["event_id"] for row in told] == [str(fresh)]
    assert await _left(db, "sessions", "id", [past, fresh, logged_out, kept_out]) == {fresh, kept_out}
    assert await _left(db, "refresh_tokens", "session_id", [past, fresh, logged_out]) == {fresh}
    for table in ("email_tokens", "password_resets", "email_changes", "invitations", "factor_challenges"):
        assert await _left(db, table, "id", [past, fresh]) == {fresh}
    assert set(done.removed) == {
        "claims",
        "operations",
        "webhooks",
        "sessions",
        "known_devices",
        "factor_challenges",
        "email_tokens",
        "password_resets",
        "email_changes",
        "invitations",
        "documents",
        "objects",
    }


async def test_more_than_one_batch_is_removed_in_one_round(db: Database, settings: Settings, now: datetime) -> None:
    old, ids = Range(now - 9 * DAY, now - 8 * DAY), [new_id() for _ in range(BATCH + 1)]
    async with db.connection() as connection:
        await connection.executemany(
            "INSERT INTO claims (booking_id, resource_id, during) VALUES ($1, $1, $2)",
            [(each, old) for each in ids],
        )
    await MaintenanceActivities(db, settings, documents_for(settings)).keep_house()
    assert await _left(db, "claims", "booking_id", ids) == set()


async def test_partitions_that_are_missing_are_made(
    temporal: Client, system: System, owner: Database, db: Database
) -> None:
    first = datetime.now(UTC).replace(day=1)
    ahead = first
    for _ in range(3):
        ahead = (ahead + 32 * DAY).replace(day=1)
    lost = f"events_{ahead:%Y_%m}"  # nobody writes there yet
    async with owner.connection() as connection:
        await connection.execute(f"DROP TABLE {lost}")
    done = await _keep_house(temporal, system)
    assert set(done.partitions) <= {lost}
    async with db.connection() as connection:
        assert await partitions.ensure(connection) == []


async def test_a_schedule_asks_for_it_every_hour_and_never_twice_at_once(temporal: Client, system: System) -> None:
    assert system.worker.process
    handle = temporal.get_schedule_handle("maintenance")
    schedule = (await handle.describe()).schedule
    assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert schedule.policy.catchup_window == HOUR
    assert [interval.every for interval in schedule.spec.intervals] == [HOUR]
    action = schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (action.workflow, action.task_queue) == ("Maintenance", BACKGROUND_QUEUE)
    assert not schedule.state.paused
