"""A doctor gives up a day."""

from pydantic import Field

from amrutam.domain import errors
from amrutam.domain.cancel_day import CancelDay, DayCancelled, Way, check_date
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import InvalidState
from amrutam.domain.wallclock import CalendarDate
from amrutam.storage import audit
from amrutam.storage import availability as storage
from amrutam.storage.cache import slots_group
from amrutam.temporal import BACKGROUND_QUEUE
from web import commands
from web.context import Answer, Call
from web.routing import Feature, Idempotency
from workflows.cancel_day import CancelDayWorkflow

cancel_day = Feature("cancel_day")


class CancelDayRequest(Message):
    """Give up a day."""

    date: CalendarDate = Field(description="on your own calendar, today or later")
    bookings: Way = Field(
        Way.CANCEL,
        description=(
            "what becomes of those on the day: `cancel` calls them off at once; `offer_to_move` has their patients"
            " choose another time of yours within two days, and no later than two hours before the visit, and calls off"
            " what was not moved then"
        ),
    )


@cancel_day.route(
    "POST",
    "/v1/doctors/me/cancel-day",
    allow=[Role.DOCTOR],
    owns="the caller's own day",
    answers={201: DayCancelled},
    errors=[errors.NotFound, errors.InvalidState, errors.OperationInProgress, errors.Unavailable],
    idempotency=Idempotency.REQUIRED,
    audited=True,
)
async def create(call: Call, command: CancelDayRequest) -> Answer:
    """Be away on a day: it offers no time from now on, and its bookings are called off or moved; patients are told.

    The answer names the bookings that stood. The day becomes an exception with the answer's id: who deletes that opens
    the day again, and what was not called off by then stands.
    """
    operation = call.required_operation
    if operation.outcome is None:
        async with call.services.db.connection() as db:
            calendar = await storage.find(db, call.user_id)
        check_date(command.date, call.now.astimezone(calendar.availability.zone).date())
    try:
        day = await _start(call, command)
    except commands.Unknown:
        raise errors.OperationInProgress from None
    except commands.WorkflowGone:
        raise InvalidState("This day was given up before; send it again with a new key.") from None
    return Answer(day, 201, {"Location": f"/v1/doctors/me/exceptions/{day.id}"})


async def _start(call: Call, command: CancelDayRequest) -> DayCancelled:
    operation = call.required_operation
    async with call.services.db.connection() as db:
        actor = await audit.carried(db, call.actor, call.user_id)
    order = CancelDay(id=operation.id, doctor_id=call.user_id, date=command.date, way=command.bookings, actor=actor)
    start = commands.Start(
        CancelDayWorkflow.run,
        order,
        f"cancel-day/{order.id}",
        BACKGROUND_QUEUE,
        f"A doctor gives up {command.date}",
    )
    try:
        return await commands.start(call, DayCancelled, start, CancelDayWorkflow.outcome)
    finally:
        call.services.cache.forget(slots_group(call.user_id))
