"""What a booking's patient and its doctor take along, over HTTP."""

import hashlib
from uuid import UUID

from amrutam.domain import errors, invitation
from amrutam.domain.booking import Booking
from amrutam.domain.common import Role
from amrutam.storage import audit, receipts
from amrutam.storage import auth as accounts
from amrutam.storage import booking as bookings
from web.context import Answer, Call
from web.quotas import PASSWORD
from web.routing import Feature

booking_papers = Feature("booking_papers")


@booking_papers.route(
    "GET",
    "/v1/bookings/{id}/calendar.ics",
    allow=[Role.PATIENT, Role.DOCTOR],
    owns="the booking's patient, whoever booked it, or its doctor",
    answers={200: None},
    errors=[errors.NotFound, errors.InvalidState],
    audited=True,
    sends=(invitation.MEDIA_TYPE,),
)
async def calendar(call: Call, id: UUID) -> Answer:
    """The visit for a calendar: an invitation, or what takes it out again once it is cancelled. Read anew, it follows
    the visit to another time.
    """
    async with call.services.db.connection() as db:
        booking = await bookings.find(db, id)
        person = await accounts.recipient(db, call.user_id, None)
        if booking is None or person is None:
            raise errors.NotFound
        side = _side(call, booking)
        invitation.check_has_one(booking)
        if call.user_id != booking.patient_id:
            actor = call.actor.model_copy(update={"role": side})
            await audit.append(db, actor, "booking.read", booking.id, patient_id=booking.patient_id)
    settings = call.services.settings
    content = invitation.write(booking, side, person.email, settings.mail_from, settings.public_url.rstrip("/"))
    headers = {
        "Content-Type": invitation.content_type(booking),
        "Content-Disposition": f'attachment; filename="{invitation.FILE_NAME}"',
    }
    return Answer(content, headers=headers, etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@booking_papers.route(
    "GET",
    "/v1/bookings/{id}/receipt.pdf",
    allow=[Role.PATIENT],
    owns="the booking's patient, or whoever booked it",
    answers={200: None},
    errors=[errors.NotFound, errors.InvalidState, errors.Unavailable],
    audited=True,
    limit=PASSWORD,  # it is typeset anew
    sends=("application/pdf",),
)
async def receipt(call: Call, id: UUID) -> Answer:
    """The receipt of what was paid for the visit, with what has gone back of it by now."""
    seller = call.services.settings.seller
    if seller is None:
        raise errors.Unavailable("This clinic has not set who its receipts are by.")
    async with call.services.db.connection() as db:
        booking = await bookings.find(db, id)
        if booking is None:
            raise errors.NotFound
        if _side(call, booking) is not Role.PATIENT:
            raise errors.NotYours(booking.patient_id)
        found = await receipts.of_booking(db, id, seller)
        if call.user_id != booking.patient_id:
            await audit.append(db, call.actor, "booking.receipt", booking.id, patient_id=booking.patient_id)
    if found is None:
        raise errors.InvalidState("Nothing was paid for this booking.")
    content = await call.services.papers.receipt(found)
    name = found.number.replace("/", "-")
    headers = {"Content-Type": "application/pdf", "Content-Disposition": f'attachment; filename="{name}.pdf"'}
    return Answer(content, headers=headers)


def _side(call: Call, booking: Booking) -> Role:
    """On which side of the booking the caller stands. Raises NotYours for support, too."""
    roles = call.principal.roles if call.principal else frozenset[Role]()
    side = booking.side_of(call.user_id, roles - {Role.SUPPORT})
    if side is None:
        raise errors.NotYours(booking.patient_id)
    return side
