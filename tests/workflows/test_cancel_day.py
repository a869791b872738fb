"""A day that is given up, with bookings that do not answer."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own
from temporalio.worker import Worker

from amrutam.domain.audit import Actor
from amrutam.domain.booking import Status
from amrutam.domain.calling_off import CallOff
from amrutam.domain.cancel_day import Appointment, CancelDay, DayCancelled, Way
from amrutam.domain.common import Role
from amrutam.ids import new_id
from tests.polling import until
from workflows.cancel_day import CancelDayWorkflow
from workflows.refusals import RefusalInterceptor
from workflows.registry import sandbox

NOW = datetime.now(UTC)
TOMORROW = NOW + timedelta(days=1)


class Bookings:
    """In place of their workflows: the first of them does not answer the first time that it is asked."""

    def __init__(self, count: int) -> None:
        self.standing = [new_id() for _ in range(count)]
        self.silent = self.standing[0]
        self.asked = Counter[UUID]()

    @activity.defn(name="cancel_day.close")
    async def close(self, command: CancelDay) -> DayCancelled:
        return DayCancelled(
            id=command.id,
            date=command.date,
            time_zone="UTC",
            starts_at=TOMORROW,
            ends_at=TOMORROW + timedelta(days=1),
            way=command.way,
            asked_at=NOW,
            bookings=self.standing,
        )

    @activity.defn(name="cancel_day.appointments")
    async def appointments(self, _: DayCancelled) -> Sequence[Appointment]:
        return [Appointment(id=each, status=Status.CONFIRMED, starts_at=TOMORROW) for each in self.standing]

    @activity.defn(name="calling_off.call_off")
    async def call_off(self, order: CallOff) -> bool:
        self.asked[order.booking_id] += 1
        if order.booking_id == self.silent and self.asked[order.booking_id] == 1:
            raise ApplicationError("it does not answer", non_retryable=True)
        self.standing.remove(order.booking_id)
        return True


async def test_a_booking_that_does_not_answer_keeps_no_other_one_waiting_and_is_asked_again(temporal: Client) -> None:
    bookings, queue = Bookings(25), f"tests-{new_id()}"
    command = CancelDay(
        id=new_id(),
        doctor_id=new_id(),
        date=TOMORROW.date(),
        way=Way.CANCEL,
        actor=Actor(id=new_id(), role=Role.DOCTOR, request_id="tests"),
    )
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[CancelDayWorkflow],
        activities=[bookings.close, bookings.appointments, bookings.call_off],
        interceptors=[RefusalInterceptor()],
        workflow_runner=sandbox(),
    ):
        handle = await temporal.start_workflow(
            CancelDayWorkflow.run, command, id=f"cancel-day/{command.id}", task_queue=queue
        )

        async def only_the_silent_one_stands() -> bool:
            return bookings.standing == [bookings.silent]

        await until(only_the_silent_one_stands)
        await TimeSkipper(temporal).fast_forward(handle, timedelta(minutes=2))
        assert await handle.result() == 25
    assert bookings.asked[bookings.silent] == 2
    assert bookings.standing == []
