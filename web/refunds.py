"""Money that support gives back, above a limit with a second person."""

from uuid import UUID

from pydantic import Field

from amrutam.domain import errors
from amrutam.domain.common import Line, Message, Money, Role
from amrutam.domain.payment import Account, Charge, Payment, Refund, RefundStatus, given_back
from amrutam.storage import audit, ledger
from amrutam.storage import payment as storage
from amrutam.storage.pool import Connection
from web import idempotency
from web.context import Answer, Call
from web.payment import RefundView, shown
from web.routing import Feature, Idempotency

refunds = Feature("refunds")


class RefundRequest(Message):
    """Give back some of a payment."""

    amount: int = Field(gt=0, le=10**12, description="in minor units of the payment's currency")
    reason: Line = Field(max_length=200, description="why, for whoever is to agree; no word of the patient's health")


@refunds.route(
    "POST",
    "/v1/payments/{id}/refunds",
    allow=[Role.SUPPORT],
    owns="every payment; a second person agrees above a limit",
    answers={201: RefundView},
    errors=[errors.NotFound, errors.InvalidState],
    idempotency=Idempotency.REQUIRED,
    audited=True,
    step_up=True,
)
async def refund(call: Call, id: UUID, command: RefundRequest) -> Answer:
    """Give money back. Above the clinic's limit it is `proposed` until somebody else of support approves it."""

    async def propose(db: Connection) -> bytes:
        payment = await _locked(call, db, id)
        charge = await _applied(db, payment)
        await _source(db, payment, command.amount)
        given = await storage.given_alone(db, payment.id)
        alone = given + command.amount <= call.services.settings.refund_alone_most
        status = RefundStatus.DUE if alone else RefundStatus.PROPOSED
        amount = Money(amount=command.amount, currency=payment.amount.currency)
        made = await storage.propose_refund(
            db, call.required_operation.id, charge, amount, call.user_id, command.reason, status
        )
        if alone:
            await _make_due(db, payment, made)
        await audit.append(db, call.actor, "payment.refund", payment.id, patient_id=payment.patient_id)
        return shown(made, to_support=True).model_dump_json().encode()

    return Answer(RefundView.model_validate_json(await idempotency.once(call, propose)), 201)


@refunds.route(
    "POST",
    "/v1/payments/{id}/refunds/{refund_id}/approve",
    allow=[Role.SUPPORT],
    owns="every payment, but not what the caller proposed",
    answers={200: RefundView},
    errors=[errors.NotFound, errors.InvalidState],
    idempotency=Idempotency.OPTIONAL,
    audited=True,
    step_up=True,
)
async def approve(call: Call, id: UUID, refund_id: UUID) -> Answer:
    """Agree to what somebody else proposed to give back."""

    async def agree(db: Connection) -> bytes:
        payment = await _locked(call, db, id)
        found = await storage.refund(db, refund_id)
        if found.payment_id != payment.id:
            raise errors.NotFound
        if found.status is not RefundStatus.PROPOSED:
            raise errors.InvalidState(f"This refund is {found.status} already.")
        if found.asked_by == call.user_id:
            raise errors.Forbidden("Somebody else is to approve what you proposed.")
        await storage.approve_refund(db, refund_id, call.user_id)
        await _make_due(db, payment, found)
        await audit.append(db, call.actor, "payment.approve_refund", payment.id, patient_id=payment.patient_id)
        return shown(await storage.refund(db, refund_id), to_support=True).model_dump_json().encode()

    return Answer(RefundView.model_validate_json(await idempotency.once(call, agree)))


async def _locked(call: Call, db: Connection, payment_id: UUID) -> Payment:
    """The payment, kept from others. Raises NotFound, Forbidden for the caller's own."""
    payment = await storage.lock(db, payment_id)
    if payment.patient_id == call.user_id:
        raise errors.Forbidden("Somebody else is to give back what you paid.")
    return payment


async def _source(db: Connection, payment: Payment, amount: int) -> Account:
    """Where so much lies that can go back: what pays for the visit, or what was kept of it. Raises InvalidState."""
    for account in (Account.VISIT, Account.KEPT):
        if await ledger.balance(db, payment.id, account) >= amount:
            return account
    raise errors.InvalidState("There is not so much left of this payment that can go back.")


async def _applied(db: Connection, payment: Payment) -> Charge:
    """The charge that paid. Raises InvalidState."""
    for charge in await storage.charges(db, payment.id):
        if charge.decision == "applied":
            return charge
    raise errors.InvalidState("This payment paid for nothing.")


async def _make_due(db: Connection, payment: Payment, refund: Refund) -> None:
    source = await _source(db, payment, refund.amount.amount)
    await ledger.write(db, payment.id, given_back(refund, source), refund.amount.currency)
    await storage.owe(db, payment, refund)
