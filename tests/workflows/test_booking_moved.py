"""A booking that is moved while its visit comes due."""

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from amrutam.domain.audit import Actor
from amrutam.domain.booking import Booking, ClaimTime, MoveBooking, Status
from amrutam.domain.common import Mode, Money, Role
from amrutam.ids import new_id
from tests.polling import until
from workflows.booking import BookingWorkflow
from workflows.refusals import RefusalInterceptor
from workflows.registry import sandbox

SOON, LATER = timedelta(seconds=3), timedelta(days=1)


class Desk:
    """Claims at once, and takes its time to say that it has moved."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    @activity.defn(name="booking.claim")
    async def claim(self, claim: ClaimTime) -> Booking:
        return self._booked(claim, datetime.now(UTC) + SOON)

    @activity.defn(name="booking.move")
    async def move(self, command: MoveBooking) -> Booking:
        self.asked.set()
        await self.may_answer.wait()
        moved = self._booked(_claim(), command.starts_at)
        return moved.model_copy(update={"id": command.booking_id})

    def _booked(self, claim: ClaimTime, starts_at: datetime) -> Booking:
        return Booking(
            id=claim.booking_id,
            status=Status.CONFIRMED,
            doctor_id=claim.doctor_id,
            doctor_name="Dr Meera Iyer",
            patient_id=claim.patient_id,
            booked_by=claim.patient_id,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(minutes=15),
            mode=claim.mode,
            reason=None,
            fee=Money(amount=0, currency="INR"),
            expires_at=None,
            confirmed_at=starts_at,
            cancellation=None,
            version=1,
            created_at=starts_at,
        )


def _claim() -> ClaimTime:
    actor = Actor(id=new_id(), role=Role.PATIENT, request_id="tests")
    return ClaimTime(
        booking_id=new_id(),
        doctor_id=new_id(),
        patient_id=actor.id,
        starts_at=datetime.now(UTC),
        mode=Mode.VIDEO,
        reason=None,
        actor=actor,
    )


async def test_a_visit_that_is_moved_while_it_comes_due_keeps_its_workflow(temporal: Client) -> None:
    """The move commits before the visit is due, and is known to the workflow only afterwards."""
    desk, queue, later, claim = Desk(), f"tests-{new_id()}", datetime.now(UTC) + LATER, _claim()
    command = MoveBooking(operation_id=new_id(), booking_id=claim.booking_id, starts_at=later, actor=claim.actor)
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[BookingWorkflow],
        activities=[desk.claim, desk.move],
        interceptors=[RefusalInterceptor()],
        workflow_runner=sandbox(),
    ):
        start = WithStartWorkflowOperation(
            BookingWorkflow.run,
            claim,
            id=f"booking/{claim.booking_id}",
            task_queue=queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
        moving = asyncio.create_task(
            temporal.execute_update_with_start_workflow(
                BookingWorkflow.reschedule, command, start_workflow_operation=start
            )
        )
        await desk.asked.wait()
        handle = temporal.get_workflow_handle(f"booking/{claim.booking_id}")

        async def due() -> bool:
            kinds = [event.event_type for event in (await handle.fetch_history()).events]
            return EventType.EVENT_TYPE_TIMER_FIRED in kinds

        await until(due)
        desk.may_answer.set()
        assert (await moving).starts_at == later
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate("the test is over")
