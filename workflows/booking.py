"""A booking's life: a time is claimed or refused, paid for or lost, kept until the visit, or given back."""

import asyncio
import contextlib
from datetime import datetime, timedelta

from temporalio import workflow

from activities.booking import BookingActivities
from amrutam.domain.booking import (
    NEXT,
    UNPAID,
    Booking,
    CancelBooking,
    ClaimTime,
    ExtendHold,
    MoveBooking,
    Status,
)
from amrutam.domain.calling_off import CallOff
from amrutam.domain.cancel_day import OfferMove
from amrutam.domain.errors import DomainError, InvalidState
from amrutam.temporal import BOOKING_STATUS, STARTS_AT
from workflows.policies import WRITE
from workflows.refusals import or_refusal

# A history takes 2,000 updates, and then not even a cancel. Refusals of a validator are not among them.
MOST_MOVES, MOST_EXTENSIONS = 50, 20


@workflow.defn(name="Booking")
class BookingWorkflow:
    """`booking/<id>`: owns the booking's status from the claim until the visit is due."""

    def __init__(self) -> None:
        self._claimed: Booking | None = None
        self._booking: Booking | None = None
        self._refusal: DomainError | None = None
        self._one_at_a_time = asyncio.Lock()
        self._moves = 0
        self._extending = 0
        self._extensions = 0
        self._timeline: list[str] = []

    @workflow.run
    async def run(self, command: ClaimTime) -> str:
        """Returns the state in which the booking was left; `refused` where it never came to be."""
        claiming = asyncio.ensure_future(self._claim(command))
        try:
            if booking := await asyncio.shield(claiming):
                await self._keep(booking)
        except asyncio.CancelledError:  # asked for by an operator, in the web UI or by the CLI
            await claiming  # it may have committed already, and is not left behind without its workflow
            await self._withdraw()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._booking.status if self._booking else "refused"

    @workflow.update
    async def outcome(self) -> Booking:
        """Answer the one who books as soon as the time is claimed. Raises the refusal."""
        await workflow.wait_condition(lambda: self._claimed is not None or self._refusal is not None)
        if self._claimed is None:
            raise self._refusal or InvalidState()
        return self._claimed

    @workflow.update
    async def cancel(self, command: CancelBooking) -> Booking:
        """Give the time back. The same command twice cancels once. Raises InvalidState."""
        await workflow.wait_condition(lambda: self._booking is not None or self._refusal is not None)
        async with self._one_at_a_time:
            # Not a local one: it would commit before the history has accepted this update, and a server that dies in
            # between forgets an update that it has not accepted. The row would be cancelled and the workflow not know.
            booking = await workflow.execute_activity_method(BookingActivities.cancel, command, **WRITE.options())
            self._move_to(booking, f"Cancelled by the {command.actor.role}")
            return booking

    @cancel.validator
    def _may_cancel(self, command: CancelBooking) -> None:  # noqa: ARG002 - a validator takes what its update takes
        if self._booking is not None:
            self._booking.check_cancellable(workflow.now())

    @workflow.update
    async def reschedule(self, command: MoveBooking) -> Booking:
        """Have it at another time. The same command twice moves once. Raises the refusal: it stays where it was."""
        self._moves += 1
        await workflow.wait_condition(lambda: self._booking is not None or self._refusal is not None)
        async with self._one_at_a_time:
            booking = await workflow.execute_activity_method(BookingActivities.move, command, **WRITE.options())
            self._booking = booking
            workflow.upsert_search_attributes([STARTS_AT.value_set(booking.starts_at)])
            self._show(f"Moved to {booking.starts_at:%Y-%m-%d %H:%M} UTC")
            return booking

    @reschedule.validator
    def _may_reschedule(self, command: MoveBooking) -> None:
        if self._moves >= MOST_MOVES:
            raise InvalidState(f"This booking was to be moved {MOST_MOVES} times; cancel it and book another time.")
        if self._booking is not None:
            self._booking.check_movable(command.starts_at, workflow.now())

    @workflow.update
    async def offer_move(self, command: OfferMove) -> Booking:
        """Ask the patient to choose another time: the doctor has given up the day. Raises InvalidState."""
        await workflow.wait_condition(lambda: self._booking is not None or self._refusal is not None)
        async with self._one_at_a_time:
            self._now.check_is_for(command.starts_at)
            booking = await workflow.execute_activity_method(BookingActivities.offer_move, command, **WRITE.options())
            self._booking = booking
            self._show(f"The doctor is away that day: to be moved until {command.answer_by:%Y-%m-%d %H:%M} UTC")
            return booking

    @offer_move.validator
    def _may_offer_move(self, command: OfferMove) -> None:  # noqa: ARG002 - a validator takes what its update takes
        if self._booking is not None:
            self._booking.check_cancellable(workflow.now())

    @workflow.update
    async def call_off(self, command: CallOff) -> Booking:
        """The clinic ends it: its doctor is away, or may not practise any more. Raises InvalidState."""
        await workflow.wait_condition(lambda: self._booking is not None or self._refusal is not None)
        async with self._one_at_a_time:
            self._now.check_is_for(command.starts_at)
            booking = await workflow.execute_activity_method(BookingActivities.call_off, command, **WRITE.options())
            if booking.status is not Status.CANCELLED:
                raise InvalidState("It stands: what it was to be called off for is so no more.")
            self._move_to(booking, f"Called off by the clinic: {command.cause.replace('_', ' ')}")
            return booking

    @call_off.validator
    def _may_call_off(self, command: CallOff) -> None:  # noqa: ARG002 - a validator takes what its update takes
        if self._booking is not None:
            self._booking.check_cancellable(workflow.now())

    @workflow.update
    async def extend(self, command: ExtendHold) -> Booking:
        """Hold the time for longer. The same command twice extends once. Raises the refusal."""
        self._extending += 1
        self._extensions += 1
        try:
            await workflow.wait_condition(lambda: self._booking is not None or self._refusal is not None)
            async with self._one_at_a_time:
                booking = await workflow.execute_activity_method(BookingActivities.extend, command, **WRITE.options())
                self._booking = booking
                self._show(f"Held until {booking.expires_at:%H:%M:%S} UTC")
                return booking
        finally:
            self._extending -= 1

    @extend.validator
    def _may_extend(self, command: ExtendHold) -> None:  # noqa: ARG002 - a validator takes what its update takes
        if self._extensions >= MOST_EXTENSIONS:
            raise InvalidState(f"This hold was to be extended {MOST_EXTENSIONS} times; pay for it, or cancel it.")
        if self._booking is not None:
            self._booking.check_payable(workflow.now())

    @workflow.signal
    async def paid(self) -> None:
        """A gateway has captured something for it. Says no more: the step reads what, and decides what it is for."""
        await workflow.wait_condition(lambda: self._booking is not None or self._refusal is not None)
        if self._booking is None:
            return
        async with self._one_at_a_time:
            booking = await workflow.execute_local_activity_method(
                BookingActivities.settle, self._booking.id, **WRITE.options()
            )
            self._move_to(booking, "Paid and confirmed")

    async def _claim(self, command: ClaimTime) -> Booking | None:
        """The booking as it was made; None where it was refused."""
        async with self._one_at_a_time:
            booking = await or_refusal(
                workflow.execute_local_activity_method(BookingActivities.claim, command, **WRITE.options())
            )
            if isinstance(booking, DomainError):
                self._refusal = booking
                self._show(f"Refused: {booking.code}")
                return None
            self._claimed = booking
            self._move_to(booking, "Time held, payment is due" if booking.expires_at else "Confirmed")
            return booking

    async def _keep(self, booking: Booking) -> None:
        if booking.expires_at and not await self._settled_in_time():
            await self._expire()
            await self._paid_late()
            await workflow.wait_condition(workflow.all_handlers_finished)  # the last money may just be decided on
        if self._is(Status.CONFIRMED):
            await self._until_the_visit_is_due()

    async def _settled_in_time(self) -> bool:
        """Whether the booking left its unpaid states before its hold, which may be extended, ran out."""
        while self._now.status in UNPAID and (until := self._now.expires_at):
            try:
                await workflow.wait_condition(
                    lambda: self._now.status not in UNPAID or self._now.expires_at != until,
                    timeout=_from_now(until),
                    timeout_summary="hold expires",
                )
            except TimeoutError:
                await workflow.wait_condition(lambda: not self._extending)  # it may have been extended by then
                if self._now.expires_at == until:
                    return False
        return True

    async def _expire(self) -> None:
        async with self._one_at_a_time:
            if self._now.status in UNPAID:
                booking = await workflow.execute_local_activity_method(
                    BookingActivities.expire, self._now.id, **WRITE.options()
                )
                self._move_to(booking, "Hold expired, the time is free again")

    async def _paid_late(self) -> None:
        """Money may still come after the hold: it confirms the booking if the time is still free."""
        if self._is(Status.EXPIRED) and self._now.money_until:
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: not self._is(Status.EXPIRED),
                    timeout=_from_now(self._now.money_until),
                    timeout_summary="no payment can come any more",
                )

    async def _withdraw(self) -> None:
        async with self._one_at_a_time:
            if self._booking and Status.CANCELLED in NEXT[self._booking.status]:
                booking = await workflow.execute_local_activity_method(
                    BookingActivities.withdraw, self._booking.id, **WRITE.options()
                )
                self._move_to(booking, "Cancelled by an operator")

    async def _until_the_visit_is_due(self) -> None:
        while self._is(Status.CONFIRMED):
            starts_at, remind_at = self._now.starts_at, self._now.remind_at
            until = min(starts_at, remind_at or starts_at)
            try:
                await workflow.wait_condition(
                    lambda: not self._is(Status.CONFIRMED) or self._now.starts_at != starts_at,  # noqa: B023 - of this round
                    timeout=_from_now(until),
                    timeout_summary="visit is due" if until == starts_at else "reminder",
                )
            except TimeoutError:
                await workflow.wait_condition(workflow.all_handlers_finished)  # one of them may have moved it
                if self._now.starts_at != starts_at:
                    continue
                if until == starts_at:
                    self._show("The visit is due")
                    return
                await self._remind(until)

    async def _remind(self, moment: datetime) -> None:
        """Have the patient reminded, by what the row says then."""
        async with self._one_at_a_time:
            if self._is(Status.CONFIRMED) and self._now.remind_at == moment:
                self._booking = await workflow.execute_local_activity_method(
                    BookingActivities.remind, args=[self._now.id, moment], **WRITE.options()
                )

    @property
    def _now(self) -> Booking:
        """The booking as it stands; asked only after the claim."""
        if self._booking is None:
            raise InvalidState("The booking is not claimed yet.")
        return self._booking

    def _is(self, status: Status) -> bool:
        return self._now.status is status

    def _move_to(self, booking: Booking, words: str) -> None:
        moved = self._booking is None or self._booking.status is not booking.status
        self._booking = booking
        if moved:
            workflow.upsert_search_attributes([BOOKING_STATUS.value_set(booking.status)])
            self._show(words)

    def _show(self, words: str) -> None:
        """One more line of the timeline that support reads in the web UI."""
        self._timeline.append(f"- {workflow.now():%Y-%m-%d %H:%M:%S} UTC: {words}")
        workflow.set_current_details("\n".join(self._timeline))


def _from_now(moment: datetime) -> timedelta:
    return max(moment - workflow.now(), timedelta(0))
