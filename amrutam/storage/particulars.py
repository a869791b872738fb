"""What a mail says beside its recipient's name: looked up when it is sent, as its workflow carries ids alone."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from heapq import nsmallest
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import place
from amrutam.domain.availability import Span
from amrutam.domain.booking import Booking
from amrutam.domain.common import Role
from amrutam.domain.errors import NotFound
from amrutam.domain.notification import SendMail, Template
from amrutam.domain.wallclock import wall_clock
from amrutam.storage import availability, notifications, reviews, sessions
from amrutam.storage import booking as bookings
from amrutam.storage import verification as verifications
from amrutam.storage.auth import Recipient
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection

Values = Mapping[str, str]


class Particulars(NamedTuple):
    """The values of a mail's template, and the visit that goes with it as an entry for a calendar."""

    values: Values
    visit: Booking | None = None


# Free times that a mail proposes, and how far after the visit they are looked for.
_TIMES, _LOOK_AHEAD = 5, timedelta(days=14)
# Mails that bring the visit for a calendar, or take it out again.
_FOR_CALENDARS = {
    Template.BOOKING_CONFIRMED,
    Template.BOOKING_MOVED,
    Template.BOOKING_CANCELLED,
    Template.BOOKING_CALLED_OFF,
}


async def particulars(db: Connection, keys: PersonKeys, message: SendMail, person: Recipient) -> Particulars | None:
    """What the mail says; None when there is nothing to tell any more."""
    if message.booking_id:
        return await _booking(db, message, message.booking_id, person)
    values = await _values(db, keys, message, person)
    return None if values is None else Particulars(values)


async def _values(db: Connection, keys: PersonKeys, message: SendMail, person: Recipient) -> Values | None:
    match message:
        case SendMail(session_id=UUID() as session_id):
            return await _sighting(db, session_id, person)
        case SendMail(review_id=UUID() as review_id):
            return await _rejection(db, keys, review_id)
        case SendMail(submission_id=UUID() as submission_id):
            return await _submission(db, keys, submission_id, person)
        case SendMail(template=Template.PRACTICE_SUSPENDED, user_id=doctor_id):
            return await _suspension(db, keys, doctor_id)
        case _:
            return {}


async def _sighting(db: Connection, session_id: UUID, person: Recipient) -> Values:
    seen = await sessions.sighting(db, session_id)
    return {"device": seen.family, "seen_at": wall_clock(seen.at, person.time_zone)} if seen else {}


async def _rejection(db: Connection, keys: PersonKeys, review_id: UUID) -> Values | None:
    rejection = await reviews.rejection(db, keys, review_id)
    return {"doctor_name": rejection.doctor_name, "reason": rejection.reason or ""} if rejection else None


async def _submission(db: Connection, keys: PersonKeys, submission_id: UUID, person: Recipient) -> Values | None:
    """The reason is the doctor's to read; to administrators the mail names the doctor."""
    try:
        submission = await verifications.find(db, submission_id)
    except NotFound:
        return None
    key = await keys.of(db, submission.doctor_id)
    sealed = submission.reason
    return {
        "doctor_name": submission.who.full_name,
        "registration_number": submission.who.registration_number,
        "registration_council": submission.who.registration_council,
        "registration_valid_until": f"{submission.registration_valid_until:%d %B %Y}",
        "reason": key.open(sealed, place("verifications", submission.id, "reason")) if sealed else "",
        "answer_by": wall_clock(submission.answer_by, person.time_zone) if submission.answer_by else "",
    }


async def _suspension(db: Connection, keys: PersonKeys, doctor_id: UUID) -> Values:
    practice = await verifications.practice(db, doctor_id)
    sealed = practice.suspension_reason
    if sealed is None:
        return {"reason": ""}
    key = await keys.of(db, doctor_id)
    return {"reason": key.open(sealed, place("doctors", doctor_id, "suspension_reason"))}


async def _booking(db: Connection, message: SendMail, booking_id: UUID, person: Recipient) -> Particulars | None:
    booking = await bookings.find(db, booking_id)
    if booking is None or not message.is_news_of(booking, datetime.now(UTC)):
        return None
    if message.minutes is not None and not await _wants_reminder(db, message.user_id, message.minutes):
        return None
    is_for_calendar = message.template in _FOR_CALENDARS and booking.confirmed_at is not None
    values: dict[str, str] = {
        "side": Role.DOCTOR if message.to_doctor else Role.PATIENT,
        "doctor_name": booking.doctor_name,
        "mode": booking.mode,
        "starts_at": wall_clock(booking.starts_at, person.time_zone),
        "was_at": wall_clock(message.was_at, person.time_zone) if message.was_at else "",
        "called_off_by": booking.cancellation.by if booking.cancellation else "",
        "in_calendar": "yes" if is_for_calendar else "",
    }
    if message.template is Template.BOOKING_MOVE_OFFERED and booking.move_by:
        free = await _next_free(db, booking)
        values["move_by"] = wall_clock(booking.move_by, person.time_zone)
        values["times"] = "\n".join(f"- {wall_clock(each, person.time_zone)}" for each in free)
    return Particulars(values, booking if is_for_calendar else None)


async def _wants_reminder(db: Connection, user_id: UUID, minutes: int) -> bool:
    said = (await notifications.wanted(db, user_id)).reminder_minutes
    return said is None or minutes in said


async def _next_free(db: Connection, booking: Booking) -> list[datetime]:
    """The times nearest to the one that is lost at which the doctor is free in the same mode, in order."""
    now = datetime.now(UTC)
    first = max(now, booking.starts_at - timedelta(days=1)).date()
    last = first + _LOOK_AHEAD
    opens, closes = (datetime.combine(each, time(), UTC) for each in (first, last))
    within = Span(opens - timedelta(days=2), closes + timedelta(days=3))
    doctor = await availability.bookable(db, booking.doctor_id, within)
    if doctor is None:
        return []
    slots = doctor.open_slots(first, last, doctor.availability.zone, now=now)
    free = (slot.starts_at for slot in slots if booking.mode in slot.modes)
    return sorted(nsmallest(_TIMES, free, key=lambda each: abs(each - booking.starts_at)))
