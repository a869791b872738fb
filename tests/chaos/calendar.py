"""A doctor's calendar as plain lists, and the slots that somebody finds who watches the clock beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import permutations
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.availability import Availability, Slot, Span
from amrutam.domain.common import Mode
from amrutam.domain.exceptions import AddException, Kind
from amrutam.domain.windows import Extra
from tests.domain.watcher import MINUTE, Question, covered, minutes_of, watched

CONFIRMED = "confirmed"


class Book(NamedTuple):
    """A patient asks for a time."""

    patient: UUID
    starts_at: datetime
    mode: Mode


class Told(NamedTuple):
    """What came of it: the booking, or the code of a refusal."""

    ask: Book
    answer: str
    booking: UUID | None


class Made(NamedTuple):
    """A booking that stands: its own time, and what it takes from the doctor."""

    patient: UUID
    span: Span
    claim: Span
    mode: Mode


@dataclass(frozen=True)
class Calendar:
    """What one doctor offers from `first` to `last`, seen at `now`; visits cost nothing in the modes of `fees`."""

    hours: Availability
    first: date
    last: date
    now: datetime
    fees: frozenset[Mode]
    exceptions: dict[UUID, AddException] = field(default_factory=dict)
    made: dict[UUID, Made] = field(default_factory=dict)

    def offered(self) -> list[Slot]:
        """The free slots, in order."""
        claims, starts = (
            [each.claim for each in self.made.values()],
            [each.span.starts_at for each in self.made.values()],
        )
        return watched(self._question(claims, starts))

    def hours_offer(self) -> list[Slot]:
        """What could be booked if nobody had booked anything."""
        return watched(self._question([], []))

    def outside(self) -> set[UUID]:
        """The bookings of which some minute lies in no hours that offer their mode."""
        offering = covered(self._question([], []))
        return {
            booking
            for booking, made in self.made.items()
            if any(made.mode not in offering.get(minute, ()) for minute in minutes_of(made.span))
        }

    def within(self, span: Span) -> set[UUID]:
        """The bookings that overlap this time."""
        return {booking for booking, made in self.made.items() if made.span.overlaps(span)}

    def after(self, at_once: Sequence[Told]) -> "Calendar | None":
        """The calendar after bookings that were asked at once, if some order of them explains every answer."""
        return next((after for order in permutations(at_once) if (after := self._after_each(order))), None)

    def _after_each(self, order: Sequence[Told]) -> "Calendar | None":
        after = replace(self, made=dict(self.made))
        slots = {slot.starts_at: slot for slot in self.hours_offer()}
        for ask, answer, booking in order:
            slot = slots.get(ask.starts_at)
            if after.expected(ask, slot) != answer:
                return None
            if booking and slot:
                after.made[booking] = Made(ask.patient, slot.span, after.claim(slot), ask.mode)
        return after

    def after_moving(self, booking: UUID, ask: Book, answer: str) -> "Calendar | None":
        """The calendar after a booking was to be moved to what `ask` says, if that explains the answer.

        It is in nobody's way, least of all its own.
        """
        made = self.made[booking]
        if made.span.starts_at == ask.starts_at:
            return self if answer == "invalid_state" else None
        slot = {slot.starts_at: slot for slot in self.hours_offer()}.get(ask.starts_at)
        after = replace(self, made={each: kept for each, kept in self.made.items() if each != booking})
        if after.expected(ask, slot) != answer:
            return None
        if answer != CONFIRMED or slot is None:
            return self
        after.made[booking] = Made(ask.patient, slot.span, after.claim(slot), ask.mode)
        return after

    def claim(self, slot: Slot) -> Span:
        """The slot with its buffers."""
        before, behind = self.hours.buffer_before_minutes, self.hours.buffer_after_minutes
        return Span(slot.starts_at - before * MINUTE, slot.ends_at + behind * MINUTE)

    def expected(self, ask: Book, slot: Slot | None) -> str:
        """What must be told to whoever asks this now; `slot` is what the hours offer then."""
        if slot is None or ask.mode not in slot.modes:
            return "not_a_slot"
        if self._is_full(slot):
            return "slot_taken"
        if ask.mode not in self.fees:
            return "doctor_unavailable"
        if any(each.claim.overlaps(self.claim(slot)) for each in self.made.values()):
            return "slot_taken"
        if any(each.span.overlaps(slot.span) for each in self.made.values() if each.patient == ask.patient):
            return "patient_busy"
        return CONFIRMED

    def _is_full(self, slot: Slot) -> bool:
        zone, most = self.hours.zone, self.hours.max_bookings_per_day
        day = slot.starts_at.astimezone(zone).date()
        return (
            most is not None
            and sum(each.span.starts_at.astimezone(zone).date() == day for each in self.made.values()) >= most
        )

    def _question(self, taken: list[Span], booked: list[datetime]) -> Question:
        away = [Span(each.starts_at, each.ends_at) for each in self.exceptions.values() if each.kind is not Kind.EXTRA]
        extra = [
            Extra(Span(each.starts_at, each.ends_at), each.modes) for each in self.exceptions.values() if each.modes
        ]
        return Question(self.hours, self.first, self.last, self.hours.zone, self.now, away, taken, extra, booked)
