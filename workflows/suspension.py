"""What follows when a doctor may not practise any more: every booking to come is called off."""

from functools import partial
from uuid import UUID

from temporalio import workflow

from activities.calling_off import CallingOffActivities
from amrutam.domain.audit import Actor
from amrutam.domain.calling_off import Ahead, CallOff, Cause, Suspension
from amrutam.domain.common import Role
from workflows.policies import ASK, WRITE
from workflows.rounds import FIRST_PAUSE, ask_all, longer


@workflow.defn(name="Suspension")
class SuspensionWorkflow:
    """`suspension/<event id>`. The doctor cannot be booked any more when it starts: what it lists is all there is.

    It ends where the suspension was taken back meanwhile: what is booked then stands.
    """

    def __init__(self) -> None:
        self._ended: dict[UUID, bool] = {}

    @workflow.run
    async def run(self, suspension: Suspension) -> int:
        """Returns how many bookings were called off. Those that do not answer are asked again and again."""
        pause = FIRST_PAUSE
        while not await self._everybody_answered(suspension):
            await workflow.sleep(pause)
            pause = longer(pause)
        return sum(self._ended.values())

    async def _everybody_answered(self, suspension: Suspension) -> bool:
        complete, after = True, None
        while page := await self._page(suspension, after):
            asks = {each: partial(self._call_off, suspension, each) for each in page if each not in self._ended}
            answers = await ask_all(asks)
            self._ended |= answers
            complete = complete and len(answers) == len(asks)
            off, seen = sum(self._ended.values()), len(self._ended)
            workflow.set_current_details(f"{off} bookings called off, {seen - off} were over already")
            after = page[-1]
        return complete

    async def _page(self, suspension: Suspension, after: UUID | None) -> list[UUID]:
        ahead = Ahead(doctor_id=suspension.doctor_id, since=workflow.info().start_time, after=after)
        return list(
            await workflow.execute_activity_method(CallingOffActivities.bookings_ahead, ahead, **WRITE.options())
        )

    async def _call_off(self, suspension: Suspension, booking_id: UUID) -> bool:
        command = CallOff(
            booking_id=booking_id,
            cause=Cause.DOCTOR_SUSPENDED,
            cause_id=suspension.id,
            actor=Actor(id=suspension.by, role=Role.ADMIN, request_id=f"suspension/{suspension.id}"),
        )
        return await workflow.execute_activity_method(CallingOffActivities.call_off, command, **ASK.options())
