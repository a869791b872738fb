"""A day that a doctor gives up: it is closed, then each booking on it is called off, or moved by its patient."""

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from temporalio import workflow

from activities.calling_off import CallingOffActivities
from activities.cancel_day import CancelDayActivities
from amrutam.domain.calling_off import CallOff, Cause
from amrutam.domain.cancel_day import Appointment, CancelDay, DayCancelled, OfferMove
from amrutam.domain.errors import DomainError, InvalidState
from workflows.policies import ASK, WRITE
from workflows.refusals import or_refusal
from workflows.rounds import FIRST_PAUSE, ask_all, longer


@workflow.defn(name="CancelDay")
class CancelDayWorkflow:
    """`cancel-day/<id>`: nobody can book the day when it starts to look, so what stands then is all there is.

    It ends where the doctor opens the day again: what stands then stays.
    """

    def __init__(self) -> None:
        self._day: DayCancelled | None = None
        self._refusal: DomainError | None = None
        self._called_off = 0
        self._asked = set[UUID]()
        self._over = set[UUID]()

    @workflow.run
    async def run(self, command: CancelDay) -> int:
        """Returns how many bookings were called off."""
        if day := await self._close(command):
            await self._clear(day, command)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._called_off

    @workflow.update
    async def outcome(self) -> DayCancelled:
        """Answer the doctor as soon as the day is closed. Raises the refusal."""
        await workflow.wait_condition(lambda: self._day is not None or self._refusal is not None)
        if self._day is None:
            raise self._refusal or InvalidState()
        return self._day

    async def _close(self, command: CancelDay) -> DayCancelled | None:
        day = await or_refusal(
            workflow.execute_local_activity_method(CancelDayActivities.close, command, **WRITE.options())
        )
        if isinstance(day, DomainError):
            self._refusal = day
        else:
            self._day = day
        return self._day

    async def _clear(self, day: DayCancelled, command: CancelDay) -> None:
        """Until nothing stands on the day: call off whose time to choose is up, and ask who may choose another one."""
        pause = FIRST_PAUSE
        while standing := await self._standing(day):
            answer_by = {each.id: each.answer_by(day.way, day.asked_at) for each in standing}
            late = [each for each in standing if answer_by[each.id] <= workflow.now()]
            fresh = [each for each in standing if each not in late and each.id not in self._asked]
            called_off = await ask_all({each.id: partial(self._call_off, each, command) for each in late})
            offers = {each.id: partial(self._offer_move, each, answer_by[each.id], command) for each in fresh}
            offered = await ask_all(offers)
            self._over |= called_off.keys()
            self._asked |= offered.keys()
            self._called_off += sum(called_off.values())
            self._show(len(standing) - len(late))
            wake = [answer_by[each.id] for each in standing if each not in late]
            if len(called_off) + len(offered) < len(late) + len(fresh):  # who did not answer is asked again
                wake.append(workflow.now() + pause)
                pause = longer(pause)
            if wake:
                await workflow.sleep(max(min(wake) - workflow.now(), timedelta(0)), summary="patients choose")

    async def _standing(self, day: DayCancelled) -> list[Appointment]:
        """What is left to be cleared. Who refused once is not asked again: their visit has begun, or is elsewhere."""
        found = await workflow.execute_activity_method(CancelDayActivities.appointments, day, **WRITE.options())
        return [each for each in found if each.id not in self._over]

    async def _offer_move(self, appointment: Appointment, answer_by: datetime, command: CancelDay) -> bool:
        offer = OfferMove(
            booking_id=appointment.id,
            starts_at=appointment.starts_at,
            answer_by=answer_by,
            cause_id=command.id,
            actor=command.actor,
        )
        return await workflow.execute_activity_method(CancelDayActivities.offer_move, offer, **ASK.options())

    async def _call_off(self, appointment: Appointment, command: CancelDay) -> bool:
        order = CallOff(
            booking_id=appointment.id,
            cause=Cause.DOCTOR_AWAY,
            cause_id=command.id,
            starts_at=appointment.starts_at,
            actor=command.actor,
        )
        return await workflow.execute_activity_method(CallingOffActivities.call_off, order, **ASK.options())

    def _show(self, open_offers: int) -> None:
        words = f"{self._called_off} bookings called off"
        workflow.set_current_details(f"{words}, {open_offers} patients asked to choose another time")
