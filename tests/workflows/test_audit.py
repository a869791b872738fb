"""Sealing for real: the running worker seals what the running system wrote, and the command finds it whole."""

from datetime import timedelta

from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleOverlapPolicy

from activities.audit import Sealing
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage import audit, audit_seals
from amrutam.storage.pool import Database
from amrutam.temporal import BACKGROUND_QUEUE
from tests.audit_trails import an_actor
from tests.conftest import System
from tests.people import People

FIVE_MINUTES = timedelta(minutes=5)


async def _seal(temporal: Client) -> Sealing:
    """One round by the running worker."""
    return await temporal.execute_workflow(
        "SealAudit", id=f"seal-audit/{new_id()}", task_queue=BACKGROUND_QUEUE, result_type=Sealing
    )


async def test_the_worker_seals_what_was_written_and_keeps_a_checkpoint(
    temporal: Client, system: System, db: Database, settings: Settings, people: People
) -> None:
    assert system.worker.process
    assert people
    async with db.transaction() as connection:
        await audit.append(connection, an_actor(), "booking.read", subject := new_id())
    await _seal(temporal)
    async with db.connection() as connection:
        newest = await audit_seals.last(connection)
        covered = await connection.fetchval(
            """SELECT EXISTS (SELECT FROM audit a, audit_seals s
                              WHERE a.subject = $1 AND (a.xid, a.id) <= (s.last_xid, s.last_id))""",
            subject,
        )
    assert newest
    assert covered
    assert settings.audit_checkpoint_folder
    assert list(settings.audit_checkpoint_folder.glob(f"*/{newest.number:010}.json"))


async def test_a_schedule_asks_for_it_every_five_minutes_and_never_twice_at_once(
    temporal: Client, system: System
) -> None:
    assert system.worker.process
    schedule = (await temporal.get_schedule_handle("seal-audit").describe()).schedule
    assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert schedule.policy.catchup_window == FIVE_MINUTES
    assert [interval.every for interval in schedule.spec.intervals] == [FIVE_MINUTES]
    action = schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (action.workflow, action.task_queue) == ("SealAudit", BACKGROUND_QUEUE)
    assert not schedule.state.paused
