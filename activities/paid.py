"""What becomes of a booking's money: a charge pays for it or goes back, and a cancellation releases what paid."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from amrutam.domain.booking import UNPAID, Booking, Status
from amrutam.domain.common import Role
from amrutam.domain.payment import Account, Cause, RefundRules
from amrutam.storage import booking as bookings
from amrutam.storage import claims, ledger, receipts
from amrutam.storage import payment as payments
from amrutam.storage.pool import Connection

Retake = Callable[[], Awaitable[bool]]
"""Takes the time of a booking whose hold has run out for good, if it is still free; tells whether it is."""


async def decide(db: Connection, booking: Booking, retake: Retake, tax_permille: int, now: datetime) -> bool:
    """Say of each charge that is not decided what it is for. True where one of them has confirmed the booking.

    The booking is locked, and `retake` is asked at most once.
    """
    confirmed = False
    for payment, charge in await payments.charges_of_booking(db, booking.id):
        if charge.decision is not None:
            continue
        if charge.amount != booking.fee:
            await payments.return_(db, payment, charge, Cause.AMOUNT)
        elif confirmed or booking.status is Status.CONFIRMED:
            await payments.return_(db, payment, charge, Cause.DUPLICATE)
        elif now < booking.starts_at and await _is_to_be_had(db, booking, retake):
            await bookings.confirm(db, booking.id)
            await payments.apply(db, payment, charge)
            await receipts.issue(db, booking, charge, tax_permille, now)
            confirmed = True
        else:
            await payments.return_(db, payment, charge, Cause.LATE)
    return confirmed


async def return_all(db: Connection, booking: Booking) -> None:
    """The booking, locked, has no workflow any more: what nobody has decided goes back."""
    cause = Cause.DUPLICATE if booking.confirmed_at else Cause.LATE
    for payment, charge in await payments.charges_of_booking(db, booking.id):
        if charge.decision is None:
            await payments.return_(db, payment, charge, cause)


async def _is_to_be_had(db: Connection, booking: Booking, retake: Retake) -> bool:
    """Whether the booking's time is its patient's for good now."""
    if booking.status in UNPAID and await claims.confirm(db, booking.id):
        return True
    return booking.status in {*UNPAID, Status.EXPIRED} and await retake()


async def release(db: Connection, booking: Booking, by: Role, rules: RefundRules, now: datetime) -> None:
    """The booking, locked, is off: what paid for it goes back as the rules have it, and all else whole."""
    for payment, charge in await payments.charges_of_booking(db, booking.id):
        match charge.decision:
            case "applied":
                left = await ledger.balance(db, payment.id, Account.VISIT)  # less what support gave back before
                paid = charge.amount.model_copy(update={"amount": left})
                await payments.release(db, payment, charge, rules.quote(paid, by, booking.notice_from, now))
            case None:
                await payments.return_(db, payment, charge, Cause.CANCELLED)
            case _:
                pass
