"""Hours, exceptions and slots over HTTP."""

from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.availability import Availability, bookings_outside
from amrutam.domain.cancel_day import MoveWithdrawn
from amrutam.domain.common import Role
from amrutam.domain.exceptions import AddException, AvailabilityChanged, ExceptionAdded, Kind
from amrutam.domain.verification import kept_for
from amrutam.storage import audit, events
from amrutam.storage import availability as storage
from amrutam.storage import booking as bookings
from amrutam.storage.cache import SEARCH_GROUP, doctor_group, slots_group
from amrutam.storage.pool import Connection
from web import paging
from web.availability_views import AvailabilityKept, ExceptionPage, SlotList, SlotQuery, rendered
from web.consistency import at_least
from web.context import Answer, Call, version_tag
from web.doctor import public
from web.idempotency import once
from web.quotas import SEARCH
from web.routing import EVERYONE, Feature, Idempotency

availability = Feature("availability")

# How old the answer with a doctor's slots may be, in seconds.
SLOTS_TTL = 20.0


@availability.route(
    "GET",
    "/v1/doctors/me/availability",
    allow=[Role.DOCTOR],
    owns="the caller's own hours",
    answers={200: Availability},
    errors=[errors.NotFound],
)
async def read_own(call: Call) -> Answer:
    """The caller's weekly hours."""
    async with call.services.db.connection() as db:
        calendar = await storage.find(db, call.user_id)
    return Answer(calendar.availability, etag=version_tag(calendar.version))


@availability.route(
    "PUT",
    "/v1/doctors/me/availability",
    allow=[Role.DOCTOR],
    owns="the caller's own hours",
    answers={200: AvailabilityKept},
    errors=[errors.NotFound, errors.Stale],
    audited=True,
)
async def replace_own(call: Call, command: Availability) -> Answer:
    """Replace the caller's weekly hours. Bookings stand; those that lie outside the new hours are named."""
    async with call.services.db.transaction() as db:
        before = await storage.lock(db, call.user_id)
        call.check_if_match(version_tag(before.version))
        version = await storage.replace(db, call.user_id, command)
        ahead = await storage.bookings_between(db, call.user_id, call.now, None)
        extra = await storage.extra_hours(db, call.user_id, call.now)
        await audit.append(db, call.actor, "availability.edit", call.user_id)
        await events.append(db, AvailabilityChanged(subject=call.user_id))
    await _forget(call)
    kept = AvailabilityKept(**dict(command), bookings_outside=bookings_outside(command, ahead, extra=extra))
    return Answer(kept, etag=version_tag(version))


@availability.route(
    "GET",
    "/v1/doctors/me/exceptions",
    allow=[Role.DOCTOR],
    owns="the caller's own exceptions",
    answers={200: ExceptionPage},
    errors=[errors.InvalidCursor],
)
async def list_exceptions(call: Call, query: paging.Page) -> Answer:
    """The caller's exceptions that are not over, in the order in which they were made."""
    after = paging.position(call, query)
    async with call.services.db.connection() as db:
        found = await storage.exceptions_page(db, call.user_id, call.now, after, query.limit + 1)
    shown = found[: query.limit]
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
    return Answer(ExceptionPage(items=shown, next_cursor=next_cursor))


@availability.route(
    "POST",
    "/v1/doctors/me/exceptions",
    allow=[Role.DOCTOR],
    owns="the caller's own hours",
    answers={201: ExceptionAdded},
    errors=[errors.NotFound, errors.InvalidState],
    idempotency=Idempotency.OPTIONAL,
    audited=True,
)
async def add_exception(call: Call, command: AddException) -> Answer:
    """Take a time back, or offer more. No slot is offered that touches a leave or a block.

    Bookings within it stand and are named.
    """
    exception_id = call.required_operation.id

    async def edit(db: Connection) -> bytes:
        calendar = await storage.lock(db, call.user_id)
        ahead = await storage.exceptions_ahead(db, call.user_id, call.now)
        command.check(call.now, calendar.availability.slot_minutes, ahead)
        await storage.add_exception(db, exception_id, call.user_id, command)
        away = command.kind is not Kind.EXTRA
        hit = await storage.bookings_between(db, call.user_id, command.starts_at, command.ends_at) if away else ()
        await audit.append(db, call.actor, "availability.exception_added", exception_id)
        await events.append(db, AvailabilityChanged(subject=call.user_id))
        return ExceptionAdded(id=exception_id, **dict(command), bookings=list(hit)).model_dump_json().encode()

    body = await once(call, edit)
    await _forget(call)
    return Answer(body, 201, {"Location": f"/v1/doctors/me/exceptions/{exception_id}"})


@availability.route(
    "DELETE",
    "/v1/doctors/me/exceptions/{id}",
    allow=[Role.DOCTOR],
    owns="the caller's own exceptions",
    answers={204: None},
    errors=[errors.NotFound],
    audited=True,
)
async def remove_exception(call: Call, id: UUID) -> Answer:
    """Offer the time again, or extra hours no more. Bookings stand, also those whose patients were asked to move."""
    async with call.services.db.transaction() as db:
        await storage.lock(db, call.user_id)
        await _ask_to_move_no_more(db, call.user_id, id)
        await storage.remove_exception(db, id, call.user_id)
        await audit.append(db, call.actor, "availability.exception_removed", id)
        await events.append(db, AvailabilityChanged(subject=call.user_id))
    await _forget(call)
    return Answer(status=204)


@availability.route(
    "GET",
    "/v1/doctors/{id}/slots",
    allow=EVERYONE,
    owns="public; verified doctors only",
    answers={200: SlotList},
    errors=[errors.NotFound],
    limit=SEARCH,
)
async def slots(call: Call, id: UUID, query: SlotQuery) -> Answer:
    """A doctor's free times, at most 31 days at once.

    The answer may be 20 seconds old: a time whose notice has run out since, or that was just taken, may still be in it,
    and is refused when it is booked.
    """

    async def fill(db: Connection) -> bytes | None:
        doctor = await storage.bookable(db, id, query.reach(call.now))
        return rendered(doctor, query.asked_of(doctor, call.now), call.now) if doctor else None

    key = f"{query.first}/{query.last}/{query.tz}/{query.mode}"
    ttl = kept_for(SLOTS_TTL, call.now)
    return public(await call.services.cache.get(slots_group(id), key, ttl, fill, at_least(call)))


async def _ask_to_move_no_more(db: Connection, doctor_id: UUID, exception_id: UUID) -> None:
    """The patients are told. The day's workflow finds nothing to call off without its exception."""
    for booking in await bookings.ask_to_move_no_more(db, exception_id, doctor_id):
        stands = MoveWithdrawn(subject=booking.id, doctor_id=doctor_id, patient_id=booking.patient_id)
        await events.append(db, stands)


async def _forget(call: Call) -> None:
    """What shows the caller's hours or zone. Only shortens the wait for the relay."""
    groups = (slots_group(call.user_id), doctor_group(call.user_id), SEARCH_GROUP)
    await call.services.cache.invalidate(*groups)
