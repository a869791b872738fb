"""The rules of booking as plain dictionaries: who holds which time until when. No lock, no clock, no server."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations
from uuid import UUID

MAX_UNPAID, MAX_EXPIRED = 3, 5


@dataclass(frozen=True)
class Doctor:
    """Slots that begin at the times `offered`; a booking takes its buffers, too. `fee` in paise."""

    offered: Sequence[datetime]
    fee: int = 0
    slot_minutes: int = 15
    buffer_before_minutes: int = 0
    buffer_after_minutes: int = 0

    @property
    def length(self) -> timedelta:
        """Of a slot, without buffers."""
        return timedelta(minutes=self.slot_minutes)

    @property
    def apart(self) -> timedelta:
        """How long after the beginning of one booking another may begin."""
        return timedelta(minutes=self.buffer_before_minutes + self.slot_minutes + self.buffer_after_minutes)


@dataclass(frozen=True)
class Book:
    """A patient asks for a time."""

    patient: UUID
    doctor: UUID
    starts_at: datetime


@dataclass(frozen=True)
class Cancel:
    """Somebody gives a time back."""

    by: UUID
    booking: UUID


@dataclass(frozen=True)
class Expire:
    """The time for paying passes."""

    booking: UUID


Ask = Book | Cancel | Expire


@dataclass(frozen=True)
class Told:
    """What came of it: the state of `booking`; or the code of a refusal, and no booking."""

    ask: Ask
    answer: str
    booking: UUID | None


class Model:
    """Every booking ever made, and its state."""

    def __init__(self, doctors: Mapping[UUID, Doctor]) -> None:
        self.doctors = doctors
        self.made: dict[UUID, Book] = {}
        self.status: dict[UUID, str] = {}
        # Holds whose time is up, which their workflows have not noticed yet.
        self.overdue: frozenset[UUID] = frozenset()

    def expected(self, ask: Ask) -> str:
        """What must be told to whoever asks this now."""
        match ask:
            case Book():
                return self._refusal(ask) or ("held" if self.doctors[ask.doctor].fee else "confirmed")
            case Cancel():
                made = self.made[ask.booking]
                if ask.by not in {made.patient, made.doctor}:
                    return "not_found"
                return "cancelled" if self.status[ask.booking] in {"held", "confirmed"} else "invalid_state"
            case Expire():
                now = self.status[ask.booking]
                return "expired" if now == "held" else now

    def note(self, told: Told) -> None:
        """Remember it. Refusals change nothing."""
        if told.booking:
            if isinstance(told.ask, Book):
                self.made[told.booking] = told.ask
            self.status[told.booking] = told.answer
            self.overdue -= {told.booking}

    def after(self, at_once: Sequence[Told]) -> "Model | None":
        """The model after requests that ran at once, if some order of them explains every answer."""
        return next((model for order in permutations(at_once) if (model := self._after_each(order))), None)

    def free(self, doctor: UUID) -> list[datetime]:
        """The times that the doctor still offers, in order."""
        return [start for start in self.doctors[doctor].offered if not self._doctor_is_busy(doctor, start)]

    def of_patient(self, patient: UUID) -> dict[UUID, str]:
        """The patient's bookings and their states."""
        return {booking: self.status[booking] for booking, made in self.made.items() if made.patient == patient}

    def holds(self) -> list[UUID]:
        """The unpaid bookings, in the order in which they were made."""
        return [booking for booking, status in self.status.items() if status == "held"]

    def waiting(self) -> list[UUID]:
        """The unpaid bookings that still hold their time."""
        return [booking for booking in self.holds() if booking not in self.overdue]

    def _after_each(self, order: Sequence[Told]) -> "Model | None":
        model = copy(self)
        model.made, model.status = dict(self.made), dict(self.status)
        for told in order:
            if model.expected(told.ask) != told.answer:
                return None
            model.note(told)
        return model

    def _refusal(self, ask: Book) -> str | None:
        if ask.starts_at not in self.doctors[ask.doctor].offered:
            return "not_a_slot"
        if self._doctor_is_busy(ask.doctor, ask.starts_at):
            return "slot_taken"
        if self._patient_is_busy(ask):
            return "patient_busy"
        return "too_many_holds" if self.doctors[ask.doctor].fee and self._holds_too_many(ask.patient) else None

    def _live(self) -> list[Book]:
        """What holds a time."""
        live = (booking for booking, status in self.status.items() if status in {"held", "confirmed"})
        return [self.made[booking] for booking in live if booking not in self.overdue]

    def _doctor_is_busy(self, doctor: UUID, starts_at: datetime) -> bool:
        apart = self.doctors[doctor].apart
        return any(abs(made.starts_at - starts_at) < apart for made in self._live() if made.doctor == doctor)

    def _patient_is_busy(self, ask: Book) -> bool:
        ends_at = ask.starts_at + self.doctors[ask.doctor].length
        return any(
            made.starts_at < ends_at and ask.starts_at < made.starts_at + self.doctors[made.doctor].length
            for made in self._live()
            if made.patient == ask.patient
        )

    def _holds_too_many(self, patient: UUID) -> bool:
        his = self.of_patient(patient)
        unpaid = [booking for booking in self.waiting() if booking in his]
        ran_out = [booking for booking, status in his.items() if status == "expired" or booking in self.overdue]
        return len(unpaid) >= MAX_UNPAID or len(ran_out) >= MAX_EXPIRED
