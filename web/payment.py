"""Payments over HTTP: what a patient pays and gets back, and what gateways tell."""

from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field

from amrutam.domain import errors
from amrutam.domain.booking import PAYERS, Booking
from amrutam.domain.common import Instant, Message, Money, Role
from amrutam.domain.payment import (
    AskPayment,
    CheckoutAnswer,
    Payment,
    PaymentNoticed,
    PaymentStatus,
    Pursue,
    Quote,
    Refund,
    RefundStatus,
)
from amrutam.domain.receipt import written
from amrutam.gateways.payments import NotSigned
from amrutam.storage import audit, events
from amrutam.storage import payment as storage
from amrutam.telemetry import WEBHOOKS
from amrutam.temporal import PAYMENTS_QUEUE
from web import commands, paging
from web.booking import A_PARTY, party
from web.context import Answer, Call
from web.parsing import header
from web.quotas import NOTHING
from web.routing import Feature, Idempotency
from workflows.payment import PaymentWorkflow

payments = Feature("payments")

_PROVEN = ("x-razorpay-signature", "x-razorpay-event-id", "x-sandbox-signature", "x-sandbox-event-id")


class PayRequest(Message):
    """Pay for a booking."""

    gateway: str | None = Field(None, max_length=40, description="default: the first that this clinic uses")
    return_url: str | None = Field(
        None, max_length=500, description="where the browser goes afterwards; of an origin that this clinic allows"
    )


class CancelQuote(Quote):
    """What cancelling now gives back of what was paid, and what is kept of it."""

    paid: Money
    as_of: Instant


class RefundView(Message):
    """Money that goes back."""

    id: UUID
    status: RefundStatus
    amount: Money
    asked_by: UUID | None = Field(default=None, description="who of support; told to support alone")
    reason: str | None = Field(default=None, description="support's words; told to support alone")
    created_at: Instant


class PaymentView(Message):
    """A payment, with what was captured and what goes back."""

    id: UUID
    booking_id: UUID
    status: PaymentStatus
    gateway: str
    amount: Money
    captured: Money
    refunds: list[RefundView]
    checkout_url: str | None = Field(description="while it is to be paid")
    expires_at: Instant = Field(description="until when the time is held for it")
    created_at: Instant


class PaymentPage(Message):
    """A page of payments."""

    items: list[PaymentView]
    next_cursor: str | None


@payments.route(
    "POST",
    "/v1/bookings/{id}/pay",
    allow=[Role.PATIENT],
    owns=A_PARTY,
    answers={201: CheckoutAnswer},
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
async def pay(call: Call, id: UUID, command: PayRequest) -> Answer:
    """Pay for a held time: send the browser to `checkout_url`. The booking is confirmed once the money is there.

    Whoever asks again while the checkout is open is sent to the same one.
    """
    ask = AskPayment(
        payment_id=call.required_operation.id,
        booking_id=id,
        gateway=_gateway(call, command.gateway),
        return_url=_return_url(call, command.return_url),
        actor=call.actor,
    )
    booking, side = await party(call, id)
    if side not in PAYERS:
        raise errors.Forbidden
    if call.required_operation.fresh:
        booking.check_payable(call.now)
    return Answer(await _checkout(call, booking, ask), 201)


async def _checkout(call: Call, booking: Booking, ask: AskPayment) -> CheckoutAnswer:
    actor = await commands.carried(call, Role.PATIENT, booking.patient_id)
    start = commands.Start(
        PaymentWorkflow.run,
        Pursue(payment_id=ask.payment_id, ask=ask.model_copy(update={"actor": actor})),
        f"payment/{ask.payment_id}",
        PAYMENTS_QUEUE,
        f"{written(booking.fee.amount, booking.fee.currency)} by {ask.gateway}",
    )
    try:
        return await commands.start(call, CheckoutAnswer, start, PaymentWorkflow.checkout)
    except (commands.Unknown, commands.WorkflowGone):
        raise errors.OperationInProgress from None


@payments.route(
    "GET",
    "/v1/bookings/{id}/cancel-quote",
    allow=[Role.PATIENT, Role.DOCTOR, Role.SUPPORT],
    owns=A_PARTY,
    answers={200: CancelQuote},
    errors=[errors.NotFound, errors.InvalidState],
    audited=True,
)
async def cancel_quote(call: Call, id: UUID) -> Answer:
    """What you would get back, and what is kept, if you cancelled now."""
    booking, side = await party(call, id)
    booking.check_cancellable(call.now)
    async with call.services.db.connection() as db:
        if call.user_id != booking.patient_id:
            actor = call.acting(call.user_id, side)
            await audit.append(db, actor, "booking.quote", booking.id, patient_id=booking.patient_id)
        paid = await storage.paid_for(db, booking.id)
    money = Money(amount=paid, currency=booking.fee.currency)
    quote = call.services.settings.refund_rules.quote(money, booking.cancelled_as(side), booking.notice_from, call.now)
    return Answer(CancelQuote(refund=quote.refund, kept=quote.kept, paid=money, as_of=call.now))


@payments.route(
    "POST",
    "/v1/payments/webhooks/{gateway}",
    allow=[],
    owns="open: a gateway, by its signature on the body",
    answers={200: None},
    errors=[errors.NotFound, errors.Unauthenticated],
    audited=True,
    limit=NOTHING,  # a gateway sends all of a clinic's from one address; a signature costs less to check than a quota
)
async def webhook(call: Call, gateway: str) -> Answer:
    """What a gateway tells. It is kept and answered at once; what is true of it is asked of the gateway afterwards."""
    found = call.services.gateways.get(gateway)
    if found is None:
        raise errors.NotFound
    body = call.request.body
    try:
        notice = found.notice(body, {name: header(call.request, name) for name in _PROVEN})
    except NotSigned:
        WEBHOOKS.labels(gateway, "not_signed").inc()
        raise errors.Unauthenticated("The signature is not that of this gateway.") from None
    sealed = call.services.operation_keys.seal(body, f"webhooks/{gateway}/{notice.event_id}".encode())
    async with call.services.db.transaction() as db:
        is_ours = notice.payment_id and await storage.exist(db, [notice.payment_id])
        payment_id = notice.payment_id if is_ours else None
        if not await storage.keep_webhook(db, gateway, notice.event_id, payment_id, sealed):
            WEBHOOKS.labels(gateway, "repeated").inc()
        elif payment_id:
            await events.append(db, PaymentNoticed(subject=payment_id))
            await audit.append_system(db, "payment.notice", payment_id)
            WEBHOOKS.labels(gateway, "taken").inc()
        else:
            WEBHOOKS.labels(gateway, "not_ours").inc()
    return Answer(None, 200)


@payments.route(
    "GET",
    "/v1/payments",
    allow=[Role.PATIENT],
    owns="the caller's own",
    answers={200: PaymentPage},
    errors=[errors.InvalidCursor],
)
async def list_own(call: Call, query: paging.Page) -> Answer:
    """The caller's payments, the newest first."""
    before = paging.position(call, query)
    async with call.services.db.connection() as db:
        rows = await storage.page(db, call.user_id, before, query.limit + 1)
        items = [await _seen(call, payment, db) for payment in rows[: query.limit]]
    next_cursor = paging.cursor(call, query, items[-1].id) if len(rows) > query.limit else None
    return Answer(PaymentPage(items=items, next_cursor=next_cursor))


@payments.route(
    "GET",
    "/v1/payments/{id}",
    allow=[Role.PATIENT, Role.SUPPORT],
    owns="who pays, or support",
    answers={200: PaymentView},
    errors=[errors.NotFound],
    audited=True,
)
async def read(call: Call, id: UUID) -> Answer:
    """One payment."""
    async with call.services.db.connection() as db:
        payment = await storage.find(db, id)
        if payment is None:
            raise errors.NotFound
        if payment.patient_id != call.user_id:
            if call.actor.role is not Role.SUPPORT:
                raise errors.NotYours(payment.patient_id)
            await audit.append(db, call.actor, "payment.read", payment.id, patient_id=payment.patient_id)
        return Answer(await _seen(call, payment, db))


async def _seen(call: Call, payment: Payment, db: storage.Connection) -> PaymentView:
    captures, back = await storage.charges(db, payment.id), await storage.refunds(db, payment.id)
    is_open = payment.status is PaymentStatus.REQUIRES_ACTION and call.now < payment.expires_at
    return PaymentView(
        id=payment.id,
        booking_id=payment.booking_id,
        status=payment.status,
        gateway=payment.gateway,
        amount=payment.amount,
        captured=Money(amount=sum(each.amount.amount for each in captures), currency=payment.amount.currency),
        refunds=[shown(each, to_support=payment.patient_id != call.user_id) for each in back],
        checkout_url=payment.checkout_url if is_open and payment.patient_id == call.user_id else None,
        expires_at=payment.expires_at,
        created_at=payment.created_at,
    )


def shown(refund: Refund, *, to_support: bool) -> RefundView:
    """A refund as its patient sees it, or support."""
    return RefundView(
        id=refund.id,
        status=refund.status,
        amount=refund.amount,
        asked_by=refund.asked_by if to_support else None,
        reason=refund.reason if to_support else None,
        created_at=refund.created_at,
    )


def _gateway(call: Call, asked: str | None) -> str:
    """The gateway's name. Raises ValidationFailed for one that is not used here, Unavailable where none is."""
    names = list(call.services.gateways)
    if not names:
        raise errors.Unavailable("Nothing can be paid here: no gateway is set up.")
    if asked is None or asked in names:
        return asked or names[0]
    fault = errors.Fault(pointer="/gateway", code="unknown", detail=f"One of: {', '.join(names)}.")
    raise errors.ValidationFailed(faults=[fault])


def _return_url(call: Call, asked: str | None) -> str:
    """Where the browser goes afterwards: our page, or one of an origin that may call us. Raises ValidationFailed."""
    settings = call.services.settings
    if asked is None:
        return settings.public_url
    parts = urlsplit(asked)
    if f"{parts.scheme}://{parts.netloc}" in {settings.public_url.rstrip("/"), *settings.cors_origins}:
        return asked
    detail = "An address of an origin that this clinic allows."
    raise errors.ValidationFailed(faults=[errors.Fault(pointer="/return_url", code="not_allowed", detail=detail)])
