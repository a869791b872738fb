"""A hold that its patient keeps for longer, because paying takes time."""

from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.booking import PAYERS, Booking, ExtendHold
from amrutam.domain.common import Role
from web import commands
from web.booking import A_PARTY, changed
from web.booking_views import BookingAnswer
from web.context import Answer, Call
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
    return await changed(call, id, PAYERS, lambda booking, side: _extended(call, booking, side))


async def _extended(call: Call, booking: Booking, side: Role) -> Booking:
    """Ask the booking's workflow for it. Raises as `commands.outcome` does, HoldExpired where that has ended."""
    if call.required_operation.fresh:
        booking.check_payable(call.now)
    command = ExtendHold(
        operation_id=call.required_operation.id,
        booking_id=booking.id,
        actor=await commands.carried(call, side, booking.patient_id),
    )
    try:
        return await commands.update(call, Booking, f"booking/{booking.id}", BookingWorkflow.extend, command)
    except commands.WorkflowGone:
        raise errors.HoldExpired from None
