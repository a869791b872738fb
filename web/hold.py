"""A hold that its patient keeps for longer, because paying takes time."""

from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.booking import PAYERS, Booking, ExtendHold
from amrutam.domain.common import Role
from web import commands
from web.booking import A_PARTY, party
from web.booking_views import BookingAnswer, outcome_time, seen
from web.context import Answer, Call, version_tag
from web.routing import Feature, Idempotency
from workflows.booking import BookingWorkflow

holds = Feature("holds")


@holds.route(
    "POST",
    "/v1/bookings/{id}/extend-hold",
    allow=[Role.PATIENT],
    owns=A_PARTY,
    answers={200: BookingAnswer},
    errors=[
        errors.NotFound,
        errors.InvalidState,
        errors.HoldExpired,
        errors.OperationInProgress,
        errors.Unavailable,
    ],
    idempotency=Idempotency.REQUIRED,
    audited=True,
)
async def extend(call: Call, id: UUID) -> Answer:
    """Hold the time for as long again from now on; in all for half an hour, or as long as the clinic has set."""
    booking, side = await party(call, id)
    if side not in PAYERS:
        raise errors.Forbidden
    if call.required_operation.fresh:
        booking.check_payable(call.now)
    command = ExtendHold(
        operation_id=call.required_operation.id,
        booking_id=id,
        actor=await commands.carried(call, side, booking.patient_id),
    )
    try:
        held = await commands.update(call, Booking, f"booking/{id}", BookingWorkflow.extend, command)
    except commands.Unknown:
        raise errors.OperationInProgress from None
    except commands.WorkflowGone:
        raise errors.HoldExpired from None
    view = await seen(call, held, side, now=outcome_time(held))
    return Answer(view, etag=version_tag(held.version))
