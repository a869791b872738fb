"""A visit as an entry for a calendar: an invitation, and what takes it back (RFC 5545, RFC 5546).

It says no more than a mail does: what kind of visit, with whom, when. The reason for it is nobody else's to read, and a
calendar is often shared.
"""

from datetime import UTC
from email.utils import parseaddr

from icalendar import Calendar, Event, vCalAddress

from amrutam.domain.booking import Booking, Status
from amrutam.domain.common import Role
from amrutam.domain.errors import InvalidState

FILE_NAME = "visit.ics"
MEDIA_TYPE = "text/calendar"
_PRODUCT = "-//Amrutam//Amrutam//EN"


def check_has_one(booking: Booking) -> None:
    """Raises InvalidState for a booking that nobody was ever invited to, or whose visit has been."""
    if booking.confirmed_at is None:
        raise InvalidState("The booking was not confirmed; there is nothing to put into a calendar.")
    if booking.status not in {Status.CONFIRMED, Status.CANCELLED}:
        raise InvalidState("The visit is over; there is nothing to put into a calendar any more.")


def method(booking: Booking) -> str:
    """What a calendar is to do with it: REQUEST puts it in or changes it, CANCEL takes it out."""
    return "CANCEL" if booking.status is Status.CANCELLED else "REQUEST"


def content_type(booking: Booking) -> str:
    """With the parameter that has a mail program show it as an invitation (RFC 6047)."""
    return f"{MEDIA_TYPE}; method={method(booking)}; charset=utf-8"


def write(booking: Booking, side: Role, attendee: str, organizer: str, public_url: str) -> bytes:
    """The file for whoever stands on this side: the same bytes for the same version of the booking.

    `attendee` is their address, `organizer` the sender of mails, with or without a name. Raises InvalidState as
    `check_has_one` does.
    """
    check_has_one(booking)
    calendar = Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", method(booking))
    calendar.add_component(_event(booking, side, attendee, organizer, f"{public_url}/v1/bookings/{booking.id}"))
    return calendar.to_ical()


def _event(booking: Booking, side: Role, attendee: str, organizer: str, url: str) -> Event:
    is_off = booking.status is Status.CANCELLED
    kind = f"{booking.mode.capitalize()} visit"
    told_at = booking.cancellation.at if booking.cancellation else booking.confirmed_at or booking.created_at
    event = Event()
    event.add("uid", f"{booking.id}@amrutam")
    event.add("sequence", booking.version - 1)  # each change of a booking raises its version
    event.add("dtstamp", told_at.astimezone(UTC))  # a move is told apart by its sequence
    event.add("dtstart", booking.starts_at.astimezone(UTC))
    event.add("dtend", booking.ends_at.astimezone(UTC))
    event.add("summary", kind if side is Role.DOCTOR else f"{kind} with {booking.doctor_name}")
    event.add("status", "CANCELLED" if is_off else "CONFIRMED")
    event.add("class", "PRIVATE")
    event.add("location", url)
    event.add("url", url)
    name, address = parseaddr(organizer)
    event.add("organizer", vCalAddress.new(address, cn=name or None))
    event.add("attendee", vCalAddress.new(attendee, role="REQ-PARTICIPANT", partstat="ACCEPTED", rsvp=False))
    return event
