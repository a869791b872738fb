"""Payments, charges and refunds as rows, each change with its movement in the ledger and its fact."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from amrutam.domain.common import Money
from amrutam.domain.errors import NotFound
from amrutam.domain.payment import (
    Account,
    AskPayment,
    Cause,
    Charge,
    Payment,
    PaymentCaptured,
    Quote,
    Refund,
    RefundDone,
    RefundDue,
    RefundStatus,
    applied,
    captured,
    refunded,
    released,
    settled_status,
)
from amrutam.storage import events, ledger
from amrutam.storage.pool import Connection, Row

_PAYMENT = """
SELECT id, booking_id, patient_id, gateway, status, amount, currency, return_url, gateway_ref, checkout_url, expires_at,
       captures_until, closed_at, created_at
FROM payments"""
_CHARGE = "SELECT gateway, id, payment_id, amount, currency, captured_at, decision FROM charges"
_REFUND = """
SELECT id, payment_id, gateway, charge_id, cause, amount, currency, status, gateway_ref, asked_by, reason, created_at
FROM refunds"""


async def insert(
    db: Connection, ask: AskPayment, patient_id: UUID, amount: Money, expires_at: datetime, captures_until: datetime
) -> None:
    """The new row; one that is there stays as it is."""
    await db.execute(
        """INSERT INTO payments (id, booking_id, patient_id, gateway, amount, currency, return_url, expires_at,
                                 captures_until)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING""",
        ask.payment_id, ask.booking_id, patient_id, ask.gateway, amount.amount, amount.currency, ask.return_url,
        expires_at, captures_until,
    )  # fmt: skip


async def find(db: Connection, payment_id: UUID) -> Payment | None:
    """The payment as it stands."""
    row = await db.fetchrow(f"{_PAYMENT} WHERE id = $1", payment_id)
    return _payment(row) if row else None


async def lock(db: Connection, payment_id: UUID) -> Payment:
    """The payment, kept from other transactions until this one ends. Raises NotFound."""
    row = await db.fetchrow(f"{_PAYMENT} WHERE id = $1 FOR UPDATE", payment_id)
    if row is None:
        raise NotFound
    return _payment(row)


async def open_of(db: Connection, booking_id: UUID) -> Payment | None:
    """The payment of a booking that the patient is still to make."""
    row = await db.fetchrow(f"{_PAYMENT} WHERE booking_id = $1 AND status = 'requires_action'", booking_id)
    return _payment(row) if row else None


async def page(db: Connection, patient_id: UUID | None, before: UUID | None, limit: int) -> list[Payment]:
    """Up to `limit` payments of a patient, or of everybody, the newest first, made before the one with this id."""
    rows = await db.fetch(
        f"""{_PAYMENT} WHERE ($1::uuid IS NULL OR patient_id = $1) AND ($2::uuid IS NULL OR id < $2)
            ORDER BY id DESC LIMIT $3""",
        patient_id, before, limit,
    )  # fmt: skip
    return [_payment(row) for row in rows]


async def set_checkout(db: Connection, payment_id: UUID, ref: str, url: str) -> None:
    """The gateway has answered."""
    await db.execute(
        "UPDATE payments SET gateway_ref = $2, checkout_url = $3, updated_at = now() WHERE id = $1",
        payment_id, ref, url,
    )  # fmt: skip


async def set_closed(db: Connection, payment_id: UUID) -> None:
    """The gateway takes nothing more for it."""
    await db.execute("UPDATE payments SET closed_at = now(), updated_at = now() WHERE id = $1", payment_id)


async def lapse(db: Connection, payment_id: UUID) -> None:
    """Nothing was captured, and nothing will be."""
    await db.execute(
        "UPDATE payments SET status = 'lapsed', updated_at = now() WHERE id = $1 AND status = 'requires_action'",
        payment_id,
    )


async def charges(db: Connection, payment_id: UUID) -> list[Charge]:
    """All that was captured, the earliest first."""
    rows = await db.fetch(f"{_CHARGE} WHERE payment_id = $1 ORDER BY captured_at, id", payment_id)
    return [_charge(row) for row in rows]


async def charges_of_booking(db: Connection, booking_id: UUID) -> list[tuple[Payment, Charge]]:
    """All that was captured for a booking, by whichever of its payments, kept from other transactions."""
    payments = await db.fetch(f"{_PAYMENT} WHERE booking_id = $1 ORDER BY id FOR UPDATE", booking_id)
    return [(payment, charge) for payment in map(_payment, payments) for charge in await charges(db, payment.id)]


async def record(db: Connection, payment: Payment, charge: Charge) -> bool:
    """Note what was captured; false where it is known."""
    new = await db.fetchval(
        """INSERT INTO charges (gateway, id, payment_id, amount, currency, captured_at)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true""",
        charge.gateway, charge.id, payment.id, charge.amount.amount, charge.amount.currency, charge.captured_at,
    )  # fmt: skip
    if new:
        await ledger.write(db, payment.id, captured(charge), charge.amount.currency)
        fact = PaymentCaptured(
            subject=payment.id,
            booking_id=payment.booking_id,
            amount=charge.amount.amount,
            currency=charge.amount.currency,
        )
        await events.append(db, fact)
    return bool(new)


async def apply(db: Connection, payment: Payment, charge: Charge) -> None:
    """The charge pays for the booking."""
    await _decide(db, charge, "applied")
    await ledger.write(db, payment.id, applied(charge), charge.amount.currency)
    await db.execute("UPDATE payments SET status = 'paid', updated_at = now() WHERE id = $1", payment.id)
    await db.execute("UPDATE bookings SET payment_id = $2 WHERE id = $1", payment.booking_id, payment.id)


async def return_(db: Connection, payment: Payment, charge: Charge, cause: Cause) -> None:
    """The whole charge goes back: it pays for nothing."""
    await _decide(db, charge, "returned")
    await _owe(db, payment, charge, cause, charge.amount)


async def release(db: Connection, payment: Payment, charge: Charge, quote: Quote) -> None:
    """The booking that the charge paid for is off: some goes back, the rest is kept."""
    if quote.refund.amount or quote.kept.amount:
        await ledger.write(db, payment.id, released(charge, quote), charge.amount.currency)
    if quote.refund.amount:
        await _owe(db, payment, charge, Cause.CANCELLED, quote.refund)


async def owe(db: Connection, payment: Payment, refund: Refund) -> None:
    """Tell that a refund is to be made."""
    fact = RefundDue(
        subject=payment.id,
        booking_id=payment.booking_id,
        refund_id=refund.id,
        amount=refund.amount.amount,
        currency=refund.amount.currency,
        cause=refund.cause.partition("/")[0],
    )
    await events.append(db, fact)
    await restate(db, payment.id)


async def _owe(db: Connection, payment: Payment, charge: Charge, cause: Cause, amount: Money) -> None:
    refund_id = await db.fetchval(
        """INSERT INTO refunds (payment_id, gateway, charge_id, cause, amount, currency)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (gateway, charge_id, cause) DO NOTHING RETURNING id""",
        payment.id, charge.gateway, charge.id, cause, amount.amount, amount.currency,
    )  # fmt: skip
    if refund_id:
        await owe(db, payment, await refund(db, refund_id))


async def refund(db: Connection, refund_id: UUID) -> Refund:
    """The refund, kept from other transactions until this one ends. Raises NotFound."""
    row = await db.fetchrow(f"{_REFUND} WHERE id = $1 FOR UPDATE", refund_id)
    if row is None:
        raise NotFound
    return _refund(row)


async def refunds(db: Connection, payment_id: UUID) -> list[Refund]:
    """All of a payment, the earliest first."""
    return [_refund(row) for row in await db.fetch(f"{_REFUND} WHERE payment_id = $1 ORDER BY id", payment_id)]


async def note_refund(db: Connection, payment: Payment, refund: Refund, status: RefundStatus, ref: str | None) -> None:
    """How far the gateway is with it. Once it is done it stays so, with its movement."""
    changed = await db.fetchval(
        """UPDATE refunds SET status = $2, gateway_ref = COALESCE($3, gateway_ref), updated_at = now()
           WHERE id = $1 AND status <> 'done' AND status <> $2 RETURNING true""",
        refund.id, status, ref,
    )  # fmt: skip
    if changed and status is RefundStatus.DONE:
        await ledger.write(db, payment.id, refunded(refund), refund.amount.currency)
        fact = RefundDone(
            subject=payment.id,
            booking_id=payment.booking_id,
            refund_id=refund.id,
            amount=refund.amount.amount,
            currency=refund.amount.currency,
        )
        await events.append(db, fact)
    if changed:
        await restate(db, payment.id)


async def restate(db: Connection, payment_id: UUID) -> None:
    """Bring a payment's status in line with what was captured and what goes back."""
    captures, back = await charges(db, payment_id), await refunds(db, payment_id)
    due = [each for each in back if each.status is not RefundStatus.PROPOSED]
    if captures and all(charge.decision for charge in captures):
        await db.execute(
            "UPDATE payments SET status = $2, updated_at = now() WHERE id = $1 AND status <> $2",
            payment_id, settled_status(captures, due),
        )  # fmt: skip


async def _decide(db: Connection, charge: Charge, decision: str) -> None:
    await db.execute(
        "UPDATE charges SET decision = $3 WHERE gateway = $1 AND id = $2 AND decision IS NULL",
        charge.gateway, charge.id, decision,
    )  # fmt: skip


def _money(row: Row) -> Money:
    return Money(amount=row["amount"], currency=row["currency"])


def _payment(row: Row) -> Payment:
    values = {key: value for key, value in row.items() if key not in {"amount", "currency"}}
    return Payment.model_validate({**values, "amount": _money(row)})


def _charge(row: Row) -> Charge:
    values = {key: value for key, value in row.items() if key not in {"amount", "currency"}}
    return Charge.model_validate({**values, "amount": _money(row)})


def _refund(row: Row) -> Refund:
    values = {key: value for key, value in row.items() if key not in {"amount", "currency"}}
    return Refund.model_validate({**values, "amount": _money(row)})


async def keep_webhook(db: Connection, gateway: str, event_id: str, payment_id: UUID | None, body: bytes) -> bool:
    """Put what a gateway told into the inbox; false where it is there. `body` is sealed."""
    new = await db.fetchval(
        """INSERT INTO webhooks (gateway, event_id, payment_id, body) VALUES ($1, $2, $3, $4)
           ON CONFLICT DO NOTHING RETURNING true""",
        gateway, event_id, payment_id, body,
    )  # fmt: skip
    return bool(new)


async def amounts_of(db: Connection, gateway: str, charge_ids: Sequence[str]) -> dict[str, Money]:
    """What was captured by those of a gateway's charges that are here."""
    rows = await db.fetch(
        "SELECT id, amount, currency FROM charges WHERE gateway = $1 AND id = ANY ($2)", gateway, charge_ids
    )
    return {row["id"]: _money(row) for row in rows}


async def charges_within(db: Connection, gateway: str, since: datetime, until: datetime) -> list[str]:
    """A gateway's charges from `since` until before `until`, as they are here."""
    rows = await db.fetch(
        "SELECT id FROM charges WHERE gateway = $1 AND captured_at >= $2 AND captured_at < $3", gateway, since, until
    )
    return [row["id"] for row in rows]


async def paid_for(db: Connection, booking_id: UUID) -> int:
    """What pays for a booking now, in minor units: less than was captured where support gave some back."""
    rows = await db.fetch("SELECT id FROM payments WHERE booking_id = $1", booking_id)
    return sum([await ledger.balance(db, row["id"], Account.VISIT) for row in rows])


async def given_alone(db: Connection, payment_id: UUID) -> int:
    """What support gave back of a payment with nobody agreeing, in minor units."""
    return await db.fetchval(
        """SELECT COALESCE(sum(amount), 0)::bigint FROM refunds
           WHERE payment_id = $1 AND asked_by IS NOT NULL AND approved_by IS NULL AND status <> 'proposed'""",
        payment_id,
    )


async def forget_webhooks_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` of what gateways told before then; returns how many."""
    gone = await db.fetch(
        """DELETE FROM webhooks WHERE (gateway, event_id) IN
           (SELECT gateway, event_id FROM webhooks WHERE received_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)


async def exist(db: Connection, payment_ids: Sequence[UUID]) -> set[UUID]:
    """Those of them that are ours."""
    rows = await db.fetch("SELECT id FROM payments WHERE id = ANY ($1)", payment_ids)
    return {row["id"] for row in rows}


async def propose_refund(
    db: Connection, refund_id: UUID, charge: Charge, amount: Money, asked_by: UUID, reason: str, status: RefundStatus
) -> Refund:
    """A refund that support asks for; `status` is `due`, or `proposed` where a second person is to agree."""
    await db.execute(
        """INSERT INTO refunds (id, payment_id, gateway, charge_id, cause, amount, currency, status, asked_by, reason)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING""",
        refund_id, charge.payment_id, charge.gateway, charge.id, f"support/{refund_id}", amount.amount,
        amount.currency, status, asked_by, reason,
    )  # fmt: skip
    return await refund(db, refund_id)


async def approve_refund(db: Connection, refund_id: UUID, approved_by: UUID) -> None:
    """A second person agrees."""
    await db.execute(
        "UPDATE refunds SET status = 'due', approved_by = $2, updated_at = now() WHERE id = $1 AND status = 'proposed'",
        refund_id,
        approved_by,
    )
