"""Bookings over HTTP."""

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from uuid import UUID

import structlog
from pydantic import Field

from amrutam.domain import errors
from amrutam.domain.booking import CANCELLERS, MOVERS, Booking, Status
from amrutam.domain.common import Instant, Role
from amrutam.domain.wallclock import CalendarDate
from amrutam.storage import audit, operations
from amrutam.storage import auth as accounts
from amrutam.storage import booking as bookings_storage
from amrutam.storage.booking import Filters
from amrutam.storage.operations import Operation
from web import commands, paging
from web.booking_commands import BookSlot, CancelRequest, RescheduleRequest, give_back, move, start
from web.booking_views import BookingAnswer, BookingPage, BookingView, Pending, outcome_time, refused, seen
from web.context import Answer, Call, version_tag
from web.routing import Feature, Idempotency

bookings = Feature("bookings")

log = structlog.get_logger()

A_PARTY = "the booking's patient, whoever booked it, its doctor, or support"


class BookingQuery(paging.Page):
    """Which bookings to list."""

    status: list[Status] = Field(default_factory=list, description="may be given repeatedly")
    starts_from: Instant | CalendarDate | None = Field(None, alias="from", description="starting then or later")
    starts_to: Instant | CalendarDate | None = Field(
        None, alias="to", description="starting before then; a date (UTC) is included"
    )
    side: Literal["patient", "doctor"] | None = Field(None, alias="as", description="default: by your role")


@bookings.route(
    "POST",
    "/v1/bookings",
    allow=[Role.PATIENT, Role.SUPPORT],
    owns="the caller books for themselves, support for a patient",
    answers={201: BookingView, 202: Pending},
    errors=[
        errors.SlotTaken,
        errors.PatientBusy,
        errors.TooManyHolds,
        errors.NotASlot,
        errors.DoctorUnavailable,
        errors.OperationInProgress,
        errors.Unavailable,
    ],
    idempotency=Idempotency.REQUIRED,
    audited=True,
)
async def create(call: Call, command: BookSlot) -> Answer:
    """Book a doctor's time. A free one is confirmed at once; a priced one is held until `expires_at` for payment.

    Support names the patient for whom it books, who then pays, moves or cancels as for any booking of theirs.
    """
    patient_id, role = await _for_whom(call, command)
    try:
        booking = await start(call, command, patient_id, role)
    except (commands.Unknown, commands.WorkflowGone):
        booking_id = call.required_operation.id
        return Answer(Pending(id=booking_id), 202, {"Location": f"/v1/bookings/{booking_id}", "Retry-After": "1"})
    view = await seen(call, booking, role, now=outcome_time(booking))
    return Answer(view, 201, {"Location": f"/v1/bookings/{booking.id}"}, etag=version_tag(booking.version))


@bookings.route(
    "GET",
    "/v1/bookings/{id}",
    allow=[Role.PATIENT, Role.DOCTOR, Role.SUPPORT],
    owns=A_PARTY,
    answers={200: BookingAnswer, 202: Pending},
    errors=[errors.NotFound],
    audited=True,
)
async def read(call: Call, id: UUID) -> Answer:
    """One booking. Until its outcome is known: 202 and `pending`, or `refused` with the problem."""
    async with call.services.db.connection() as db:
        booking = await bookings_storage.find(db, id)
    if booking is None:
        return await _not_there_yet(call, id)
    side = _side(call, booking)
    if call.user_id != booking.patient_id:
        actor = call.actor.model_copy(update={"role": side})
        async with call.services.db.connection() as db:
            await audit.append(db, actor, "booking.read", booking.id, patient_id=booking.patient_id)
    return Answer(await seen(call, booking, side, now=call.now), etag=version_tag(booking.version))


@bookings.route(
    "GET",
    "/v1/bookings",
    allow=[Role.PATIENT, Role.DOCTOR],
    owns="the caller's own, as patient or as doctor",
    answers={200: BookingPage},
    errors=[errors.InvalidCursor],
    audited=True,
)
async def list_own(call: Call, query: BookingQuery) -> Answer:
    """The caller's bookings, the newest first."""
    side = Role(query.side) if query.side else call.actor.role
    since, until = _moment(query.starts_from), _moment(query.starts_to, days=1)
    filters = Filters(call.user_id, side is Role.DOCTOR, query.status, since, until)
    after = paging.position(call, query)
    async with call.services.db.connection() as db:
        rows = await bookings_storage.page(db, filters, after, query.limit + 1)
        shown = rows[: query.limit]
        others = {each.patient_id for each in shown} - {call.user_id}
        await audit.append_reads(db, call.actor, "booking.list", call.user_id, others)
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(rows) > query.limit else None
    return Answer(
        BookingPage(items=[await seen(call, each, side, now=call.now) for each in shown], next_cursor=next_cursor)
    )


@bookings.route(
    "POST",
    "/v1/bookings/{id}/cancel",
    allow=[Role.PATIENT, Role.DOCTOR, Role.SUPPORT],
    owns=A_PARTY,
    answers={200: BookingAnswer},
    errors=[errors.NotFound, errors.InvalidState, errors.OperationInProgress, errors.Unavailable],
    idempotency=Idempotency.OPTIONAL,
    audited=True,
)
async def cancel(call: Call, id: UUID, command: CancelRequest) -> Answer:
    """Give the time back; it can be booked again at once."""
    return await changed(call, id, CANCELLERS, lambda booking, side: give_back(call, booking, side, command))


@bookings.route(
    "POST",
    "/v1/bookings/{id}/reschedule",
    allow=[Role.PATIENT],
    owns=A_PARTY,
    answers={200: BookingAnswer},
    errors=[
        errors.NotFound,
        errors.InvalidState,
        errors.NotASlot,
        errors.SlotTaken,
        errors.PatientBusy,
        errors.HoldExpired,
        errors.DoctorUnavailable,
        errors.OperationInProgress,
        errors.Unavailable,
    ],
    idempotency=Idempotency.REQUIRED,
    audited=True,
)
async def reschedule(call: Call, id: UUID, command: RescheduleRequest) -> Answer:
    """Have it at another time of the same doctor, in the same mode and at the fee that it was booked for.

    It is moved or stays where it is: the old time is given up only together with the new one being yours. A hold ends
    when it would have ended.
    """
    return await changed(call, id, MOVERS, lambda booking, side: move(call, booking, side, command))


async def party(call: Call, id: UUID) -> tuple[Booking, Role]:
    """The booking, and the side of it on which the caller stands. Raises NotYours, or why there is no row."""
    async with call.services.db.connection() as db:
        booking = await bookings_storage.find(db, id)
    if booking is None:
        raise await _no_row_yet(call, id)
    return booking, _side(call, booking)


async def changed(
    call: Call, id: UUID, sides: Collection[Role], change: Callable[[Booking, Role], Awaitable[Booking]]
) -> Answer:
    """The booking as its workflow has changed it, for those who stand on one of these sides of it."""
    booking, side = await party(call, id)
    if side not in sides:  # who has several roles may stand elsewhere than where the route lets them in
        raise errors.Forbidden
    try:
        booking = await change(booking, side)
    except commands.Unknown:
        raise errors.OperationInProgress from None
    except commands.WorkflowGone:
        raise await _over(call, id) from None
    view = await seen(call, booking, side, now=outcome_time(booking))
    return Answer(view, etag=version_tag(booking.version))


async def _for_whom(call: Call, command: BookSlot) -> tuple[UUID, Role]:
    """Whose booking it is to be, and as whom the caller books it. Raises Forbidden, ValidationFailed."""
    roles = call.principal.roles if call.principal else frozenset[Role]()
    wanted = command.patient_id or call.user_id
    if wanted == call.user_id and Role.PATIENT in roles:
        return wanted, Role.PATIENT
    if Role.SUPPORT not in roles:
        raise errors.Forbidden("You can book for yourself only.", pointer="/patient_id")
    async with call.services.db.connection() as db:
        account = await accounts.find(db, wanted)
    if account is None or Role.PATIENT not in account.roles or not account.verified or account.suspended:
        detail = "Name a patient who has confirmed the account."
        raise errors.ValidationFailed(faults=[errors.Fault(pointer="/patient_id", code="no_patient", detail=detail)])
    return wanted, Role.SUPPORT


def _moment(given: date | None, days: int = 0) -> datetime | None:
    """The moment itself; of a date the midnight (UTC) with which it begins, or `days` later."""
    if given is None or isinstance(given, datetime):
        return given
    return datetime.combine(given, time(), UTC) + timedelta(days=days)


def _side(call: Call, booking: Booking) -> Role:
    """In which role the caller may see this booking. Raises NotYours."""
    side = booking.side_of(call.user_id, call.principal.roles if call.principal else frozenset())
    if side is None:
        raise errors.NotYours(booking.patient_id)
    return side


async def _not_there_yet(call: Call, booking_id: UUID) -> Answer:
    """What the one who asked for it may know of a booking that has no row. Raises NotFound."""
    record = await _record(call, booking_id)
    if record is None:
        raise errors.NotFound
    if record.refusal:
        return Answer(refused(call, booking_id, record.refusal.error()))
    return Answer(Pending(id=booking_id), 202, {"Retry-After": "1"})


async def _no_row_yet(call: Call, booking_id: UUID) -> errors.DomainError:
    """Why a booking without a row cannot be cancelled."""
    record = await _record(call, booking_id)
    if record is None:
        return errors.NotFound()
    return record.refusal.error() if record.refusal else errors.OperationInProgress()


async def _record(call: Call, booking_id: UUID) -> Operation | None:
    """The caller's own request for this booking."""
    async with call.services.db.connection() as db:
        record = await operations.find(db, call.services.operation_keys, call.user_id, booking_id)
    return record if record and record.action == "bookings_create" else None


async def _over(call: Call, booking_id: UUID) -> errors.DomainError:
    """Why a booking whose workflow has ended cannot be changed."""
    async with call.services.db.connection() as db:
        booking = await bookings_storage.find(db, booking_id)
    try:
        if booking:
            booking.check_cancellable(call.now)
    except errors.InvalidState as over:
        return over
    log.error("booking.without_workflow", booking_id=str(booking_id))
    return errors.Unavailable()
