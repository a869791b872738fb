"""What follows when a doctor may not practise any more: every booking to come is called off."""

import asyncio
from uuid import UUID

from temporalio import workflow

from activities.calling_off import CallingOffActivities
from amrutam.domain.audit import Actor
from amrutam.domain.calling_off import Ahead, CallOff, Cause, Suspension
from amrutam.domain.common import Role
from workflows.policies import WRITE

# So many bookings are asked at once.
AT_ONCE = 10


@workflow.defn(name="Suspension")
class SuspensionWorkflow:
    """`suspension/<event id>`. The doctor cannot be booked any more when it starts: what it lists is all there is.

    It ends where the suspension was taken back meanwhile: what is booked then stands.
    """

    @workflow.run
    async def run(self, suspension: Suspension) -> int:
        """Returns how many bookings were called off."""
        off, seen, after = 0, 0, None
        while page := await self._page(suspension, after):
            for start in range(0, len(page), AT_ONCE):
                some = page[start : start + AT_ONCE]
                ended = await asyncio.gather(*(self._call_off(suspension, each) for each in some))
                off, seen = off + sum(ended), seen + len(some)
                workflow.set_current_details(f"{off} bookings called off, {seen - off} were over already")
            after = page[-1]
        return off

    async def _page(self, suspension: Suspension, after: UUID | None) -> list[UUID]:
        ahead = Ahead(doctor_id=suspension.doctor_id, since=workflow.info().start_time, after=after, while_barred=True)
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
        return await workflow.execute_activity_method(CallingOffActivities.call_off, command, **WRITE.options())
