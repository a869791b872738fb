"""What a mail says beside its recipient's name: looked up when it is sent, as its workflow carries ids alone."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from amrutam.crypto import place
from amrutam.domain.errors import NotFound
from amrutam.domain.notification import SendMail, Template
from amrutam.storage import booking as bookings
from amrutam.storage import reviews, sessions
from amrutam.storage import verification as verifications
from amrutam.storage.auth import Recipient
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection

Values = Mapping[str, str]


async def particulars(db: Connection, keys: PersonKeys, message: SendMail, person: Recipient) -> Values | None:
    """The values of the mail's template; None when there is nothing to tell any more."""
    match message:
        case SendMail(session_id=UUID() as session_id):
            return await _sighting(db, session_id, person)
        case SendMail(review_id=UUID() as review_id):
            return await _rejection(db, keys, review_id)
        case SendMail(submission_id=UUID() as submission_id):
            return await _submission(db, keys, submission_id, person)
        case SendMail(booking_id=UUID() as booking_id):
            return await _booking(db, booking_id, person)
        case SendMail(template=Template.PRACTICE_SUSPENDED, user_id=doctor_id):
            return await _suspension(db, keys, doctor_id)
        case _:
            return {}


def wall_clock(moment: datetime, time_zone: str) -> str:
    """A moment as somebody in this zone reads it."""
    return f"{moment.astimezone(ZoneInfo(time_zone)):%d %B %Y, %H:%M} ({time_zone})"


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


async def _booking(db: Connection, booking_id: UUID, person: Recipient) -> Values | None:
    booking = await bookings.find(db, booking_id)
    if booking is None:
        return None
    return {"doctor_name": booking.doctor_name, "starts_at": wall_clock(booking.starts_at, person.time_zone)}
