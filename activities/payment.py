"""The steps of a payment: a checkout is opened, what was captured is looked up, and what is to go back is sent back."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import paid
from activities.once import once, refusals_noted
from amrutam.crypto import SealingKeys
from amrutam.domain.errors import HoldExpired, NotFound, OperationInProgress, Unavailable
from amrutam.domain.payment import (
    AskPayment,
    Charge,
    CheckoutAnswer,
    Payment,
    PaymentNoticed,
    PaymentRequested,
    PaymentStatus,
    Refund,
    RefundStatus,
    Standing,
)
from amrutam.gateways.payments import GatewayRefused, Order, PaymentGateway, RefundState
from amrutam.reconciling import differences
from amrutam.storage import audit, events
from amrutam.storage import booking as bookings
from amrutam.storage import payment as payments
from amrutam.storage.pool import Database
from amrutam.telemetry import CHARGES_UNKNOWN, PAYMENTS, REFUNDS_FAILED
from amrutam.temporal import ANSWER

log = structlog.get_logger()

# A booking that has not said what a charge is for is asked again, and a refund on its way looked after.
ASK_AGAIN = timedelta(seconds=30)
LOOK_AGAIN = timedelta(hours=1)

_REFUND_STATUS: Mapping[RefundState, RefundStatus] = {
    RefundState.PENDING: RefundStatus.SENT,
    RefundState.DONE: RefundStatus.DONE,
    RefundState.FAILED: RefundStatus.FAILED,
}


class Terms(NamedTuple):
    """How long after a hold a gateway may still capture, and what the patient reads at the gateway."""

    late: timedelta
    description: str = "Visit to the doctor"


class PaymentActivities:
    """Needs PostgreSQL, the gateways, and Temporal to ask bookings."""

    def __init__(
        self,
        db: Database,
        temporal: Client,
        gateways: Mapping[str, PaymentGateway],
        operation_keys: SealingKeys,
        terms: Terms,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._temporal = temporal
        self._gateways = gateways
        self._keys = operation_keys
        self._terms = terms
        self._now = now

    @activity.defn(name="payment.open")
    async def open(self, ask: AskPayment) -> CheckoutAnswer:
        """Have the patient pay for a booking whose time is held: once, however often it is asked for.

        Where the booking has an open payment already its checkout is the answer. Raises the refusal, which is noted.
        """
        async with refusals_noted(self._db, self._keys, ask.payment_id):
            payment = await self._begin(ask)
            answer = payment.checkout() or await self._at_gateway(payment)
        return await once(self._db, self._keys, ask.payment_id, CheckoutAnswer, lambda _: _same(answer))

    @activity.defn(name="payment.look")
    async def look(self, payment_id: UUID, moment: datetime) -> Standing:
        """Ask the gateway what it has captured, have the booking decide, close what is not to be paid any more.

        It is `moment` or later, whatever this machine's clock says: else a workflow could be sent to look for ever.
        """
        now = max(self._now(), moment)
        async with self._db.connection() as db:
            payment = await payments.find(db, payment_id)
        if payment is None or payment.gateway_ref is None:
            return Standing(status=PaymentStatus.LAPSED)
        told = await self._gateways[payment.gateway].charges(payment.gateway_ref)
        async with self._db.transaction() as db:
            payment = await payments.lock(db, payment_id)
            for each in told:
                charge = Charge(
                    gateway=payment.gateway,
                    id=each.id,
                    payment_id=payment_id,
                    amount=each.amount,
                    captured_at=each.captured_at,
                    decision=None,
                )
                if await payments.record(db, payment, charge):
                    PAYMENTS.labels(payment.gateway, "captured").inc()
            undecided = any(charge.decision is None for charge in await payments.charges(db, payment_id))
        if undecided:
            await self._ask_booking(payment.booking_id)
        await self._close_if_over(payment, now)
        return await self._standing(payment_id, now)

    @activity.defn(name="payment.refund")
    async def refund(self, refund_id: UUID) -> RefundStatus:
        """Send money back, or see how far it is. One that the gateway refuses is left to support, and alerted on."""
        async with self._db.transaction() as db:
            refund = await payments.refund(db, refund_id)
        if refund.status not in {RefundStatus.DUE, RefundStatus.SENT}:
            return refund.status
        try:
            told = await self._gateways[refund.gateway].refund(refund.charge_id, refund.id, refund.amount)
        except GatewayRefused as refused:
            log.error("payment.refund_failed", refund_id=str(refund.id), code=str(refused))
            return await self._note(refund, RefundStatus.FAILED, None)
        return await self._note(refund, _REFUND_STATUS[told.state], told.ref)

    @activity.defn(name="payment.sweep")
    async def sweep(self, hours: int) -> int:
        """Have whatever gateways have captured in so many hours, and not told of, be looked at; returns how many."""
        now, found = self._now(), 0
        async for each in differences(self._db, self._gateways, now - timedelta(hours=hours), now):
            CHARGES_UNKNOWN.labels(each.gateway).inc()
            log.warning("payment.difference", gateway=each.gateway, charge_id=each.charge_id, words=each.words)
            if each.charge and each.charge.payment_id:
                async with self._db.transaction() as db:
                    if await payments.exist(db, [each.charge.payment_id]):
                        await events.append(db, PaymentNoticed(subject=each.charge.payment_id))
            found += 1
        return found

    async def _begin(self, ask: AskPayment) -> Payment:
        """The payment's row; that of another one where the booking has one that is open."""
        async with self._db.transaction() as db:
            if made := await payments.find(db, ask.payment_id):
                return made
            booking = await bookings.lock(db, ask.booking_id)
            booking.check_payable(self._now())
            expires_at = booking.expires_at or self._now()
            if other := await payments.open_of(db, booking.id):
                if other.checkout_url is None:
                    raise OperationInProgress
                return other
            await payments.insert(db, ask, booking.patient_id, booking.fee, expires_at, expires_at + self._terms.late)
            await bookings.await_payment(db, booking.id, ask.payment_id)
            fact = PaymentRequested(subject=ask.payment_id, booking_id=booking.id, doctor_id=booking.doctor_id)
            await events.append(db, fact)
            await audit.append(db, ask.actor, "payment.request", booking.id, patient_id=booking.patient_id)
            made = await payments.find(db, ask.payment_id)
            if made is None:
                raise NotFound
            return made

    async def _at_gateway(self, payment: Payment) -> CheckoutAnswer:
        """Open the order at the gateway. Raises HoldExpired, Unavailable; either way it is not to be paid any more."""
        if payment.expires_at <= self._now():
            await self._lapse(payment)
            raise HoldExpired
        # Not the hold's end, which may be put off: at that end the gateway is told to close the order.
        order = Order(payment.id, payment.amount, self._terms.description, payment.captures_until, payment.return_url)
        try:
            checkout = await self._gateways[payment.gateway].open(order)
        except GatewayRefused as refused:
            log.error("payment.refused", payment_id=str(payment.id), gateway=payment.gateway, code=str(refused))
            await self._lapse(payment)
            raise Unavailable from None
        async with self._db.transaction() as db:
            await payments.set_checkout(db, payment.id, checkout.ref, checkout.url)
        PAYMENTS.labels(payment.gateway, "opened").inc()
        answer = payment.model_copy(update={"checkout_url": checkout.url}).checkout()
        if answer is None:
            raise NotFound
        return answer

    async def _lapse(self, payment: Payment) -> None:
        async with self._db.transaction() as db:
            await payments.lapse(db, payment.id)

    async def _ask_booking(self, booking_id: UUID) -> None:
        """Have the booking's workflow say what was captured is for. Where it has ended, all of it goes back."""
        handle = self._temporal.get_workflow_handle(f"booking/{booking_id}")
        try:
            await handle.signal("paid", rpc_timeout=ANSWER)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            async with self._db.transaction() as db:
                booking = await bookings.lock(db, booking_id)
                await paid.return_all(db, booking)

    async def _close_if_over(self, payment: Payment, now: datetime) -> None:
        """Have the gateway take nothing more for a booking that is not to be paid any more."""
        async with self._db.connection() as db:
            booking = await bookings.find(db, payment.booking_id)
        if payment.closed_at or payment.gateway_ref is None or (booking and booking.is_payable(now)):
            return
        await self._gateways[payment.gateway].close(payment.gateway_ref)
        async with self._db.transaction() as db:
            await payments.set_closed(db, payment.id)

    async def _standing(self, payment_id: UUID, now: datetime) -> Standing:
        async with self._db.transaction() as db:
            payment = await payments.lock(db, payment_id)
            captures, back = await payments.charges(db, payment_id), await payments.refunds(db, payment_id)
            if not captures and now >= payment.captures_until:
                await payments.lapse(db, payment_id)
            payment = await payments.lock(db, payment_id)
        waiting = [refund for refund in back if refund.status in {RefundStatus.DUE, RefundStatus.SENT}]
        moments = [payment.captures_until]
        if any(charge.decision is None for charge in captures):
            moments.append(now + ASK_AGAIN)
        if not payment.closed_at:
            moments.append(payment.expires_at + timedelta(seconds=1))
        if waiting:
            moments.append(now + LOOK_AGAIN)
        return Standing(
            status=payment.status,
            refunds=[refund.id for refund in waiting],
            look_again_at=min((moment for moment in moments if moment > now), default=None),
        )

    async def _note(self, refund: Refund, status: RefundStatus, ref: str | None) -> RefundStatus:
        async with self._db.transaction() as db:
            payment = await payments.lock(db, refund.payment_id)
            await payments.note_refund(db, payment, refund, status, ref)
        if status is RefundStatus.FAILED:
            REFUNDS_FAILED.labels(refund.gateway).inc()
        return status


async def _same(answer: CheckoutAnswer) -> CheckoutAnswer:
    return answer
