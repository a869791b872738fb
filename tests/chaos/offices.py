"""The real calendar of one doctor, reached by storage or by HTTP."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from uuid import UUID

import httpx

from amrutam.domain.availability import Availability, Slot, Span, bookings_outside
from amrutam.domain.common import Mode
from amrutam.domain.errors import DomainError
from amrutam.domain.exceptions import AddException, Kind
from amrutam.ids import new_id
from amrutam.storage import availability
from amrutam.storage.pool import Database
from tests.chaos.calendar import Book, Told
from tests.people import Person
from tests.storage.desk import Desk

# Of every exception that has room for one.
NOTE = "Not for patients"
# What is read around the dates that are asked for, and the dates themselves.
_AROUND = timedelta(days=7)


class Office(Protocol):
    """The real calendar of one doctor, reached in one way or another."""

    async def free(self, first: date, last: date) -> list[Slot]:
        """The slots that it offers."""
        ...

    async def replace(self, hours: Availability) -> set[UUID]:
        """Other hours; the bookings that lie outside them."""
        ...

    async def add(self, exception: AddException) -> tuple[UUID, set[UUID]]:
        """Its id, and the bookings within it."""
        ...

    async def remove(self, exception_id: UUID) -> None:
        """As if it had never been."""
        ...

    async def book(self, ask: Book) -> Told:
        """What came of it."""
        ...

    async def move(self, booking: UUID, ask: Book) -> str:
        """Have it at another time; its status, or the code of the refusal."""
        ...

    async def cancel(self, booking: UUID, patient: UUID) -> None:
        """Give the time back."""
        ...


class Storage:
    """By the functions that handlers and workflows call."""

    def __init__(self, db: Database, desk: Desk, doctor: Person, now: datetime) -> None:
        self._db, self._desk, self._doctor, self._now = db, desk, doctor.id, now

    async def free(self, first: date, last: date) -> list[Slot]:
        around = datetime(first.year, first.month, first.day, tzinfo=UTC)
        within = Span(around - _AROUND, around + (last - first) + _AROUND)
        async with self._db.connection() as db:
            doctor = await availability.bookable(db, self._doctor, within)
        assert doctor
        slots = doctor.open_slots(first, last, doctor.availability.zone, now=self._now)
        found = [shown(*slot, doctor.fees) for slot in slots]
        return [slot for slot in found if slot.modes]

    async def replace(self, hours: Availability) -> set[UUID]:
        async with self._db.transaction() as db:
            await availability.lock(db, self._doctor)
            await availability.replace(db, self._doctor, hours)
            ahead = await availability.bookings_between(db, self._doctor, self._now, None)
            extra = await availability.extra_hours(db, self._doctor, self._now)
        return set(bookings_outside(hours, ahead, extra=extra))

    async def add(self, exception: AddException) -> tuple[UUID, set[UUID]]:
        exception_id = new_id()
        async with self._db.transaction() as db:
            await availability.lock(db, self._doctor)
            await availability.add_exception(db, exception_id, self._doctor, exception)
            hit = await availability.bookings_between(db, self._doctor, exception.starts_at, exception.ends_at)
        return exception_id, set(hit) if exception.kind is not Kind.EXTRA else set()

    async def remove(self, exception_id: UUID) -> None:
        async with self._db.transaction() as db:
            await availability.lock(db, self._doctor)
            await availability.remove_exception(db, exception_id, self._doctor)

    async def book(self, ask: Book) -> Told:
        try:
            booking = await self._desk.book(ask.patient, self._doctor, ask.starts_at, ask.mode)
        except DomainError as refusal:
            return Told(ask, refusal.code, None)
        return Told(ask, booking.status, booking.id)

    async def move(self, booking: UUID, ask: Book) -> str:
        try:
            return (await self._desk.move(booking, ask.patient, ask.starts_at)).status
        except DomainError as refusal:
            return refusal.code

    async def cancel(self, booking: UUID, patient: UUID) -> None:
        await self._desk.cancel(booking, patient)


class OverHttp:
    """As the app does."""

    def __init__(self, api: httpx.AsyncClient, doctor: Person, patients: Sequence[Person]) -> None:
        self._api, self._doctor = api, doctor
        self._patients = {patient.id: patient for patient in patients}

    async def free(self, first: date, last: date) -> list[Slot]:
        dates = {"from": first.isoformat(), "to": last.isoformat()}
        answer = await self._api.get(f"/v1/doctors/{self._doctor.id}/slots", params=dates)
        assert NOTE not in answer.text
        return [
            Slot(
                datetime.fromisoformat(slot["starts_at"]),
                datetime.fromisoformat(slot["ends_at"]),
                tuple(map(Mode, slot["modes"])),
            )
            for slot in answer.json()["items"]
        ]

    async def replace(self, hours: Availability) -> set[UUID]:
        path, headers = "/v1/doctors/me/availability", self._doctor.headers
        etag = (await self._api.get(path, headers=headers)).headers["etag"]
        told = await self._api.put(path, json=hours.model_dump(mode="json"), headers={**headers, "If-Match": etag})
        return set(map(UUID, told.json()["bookings_outside"]))

    async def add(self, exception: AddException) -> tuple[UUID, set[UUID]]:
        body = exception.model_dump(mode="json", exclude_none=True)
        told = await self._api.post("/v1/doctors/me/exceptions", json=body, headers=self._doctor.headers)
        assert told.status_code == 201, told.text
        return UUID(told.json()["id"]), set(map(UUID, told.json()["bookings"]))

    async def remove(self, exception_id: UUID) -> None:
        await self._api.delete(f"/v1/doctors/me/exceptions/{exception_id}", headers=self._doctor.headers)

    async def book(self, ask: Book) -> Told:
        wish = {"doctor_id": str(self._doctor.id), "starts_at": ask.starts_at.isoformat(), "mode": ask.mode}
        told = await self._api.post("/v1/bookings", json=wish, headers=self._patients[ask.patient].writing())
        body = told.json()
        return Told(ask, body["code"], None) if told.is_error else Told(ask, body["status"], UUID(body["id"]))

    async def move(self, booking: UUID, ask: Book) -> str:
        wish, headers = {"starts_at": ask.starts_at.isoformat()}, self._patients[ask.patient].writing()
        told = await self._api.post(f"/v1/bookings/{booking}/reschedule", json=wish, headers=headers)
        return told.json()["code" if told.is_error else "status"]

    async def cancel(self, booking: UUID, patient: UUID) -> None:
        headers = self._patients[patient].writing()
        told = await self._api.post(f"/v1/bookings/{booking}/cancel", json={}, headers=headers)
        assert told.status_code == 200, told.text


def shown(starts_at: datetime, ends_at: datetime, modes: Iterable[Mode], fees: Collection[Mode]) -> Slot:
    """Without the modes that have no fee."""
    return Slot(starts_at, ends_at, tuple(mode for mode in modes if mode in fees))
