"""Bookings as rows. Only a booking's own workflow changes its status."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.booking import Booking, CancelBooking, Cancellation, ClaimTime, Status
from amrutam.domain.calling_off import Ahead, CallOff
from amrutam.domain.cancel_day import Appointment
from amrutam.domain.common import Money, Role
from amrutam.domain.errors import NotFound
from amrutam.domain.payment import PaymentRef
from amrutam.storage.pool import Connection, Row

_BOOKING = """
SELECT b.id, b.status, b.doctor_id, d.full_name AS doctor_name, b.patient_id, b.booked_by, b.starts_at, b.ends_at,
       b.mode, b.reason, b.fee_amount, b.fee_currency, b.expires_at, b.confirmed_at, b.cancelled_at,
       b.cancelled_role, b.cancellation_reason, b.move_by, b.version, b.created_at, b.payment_id,
       p.status AS payment_status, p.captures_until AS money_until, b.refund_from
FROM bookings b JOIN doctors d ON d.id = b.doctor_id LEFT JOIN payments p ON p.id = b.payment_id"""


class Filters(NamedTuple):
    """Whose bookings a list shows, and which. `as_doctor` chooses the side on which the user stands."""

    user_id: UUID
    as_doctor: bool
    statuses: Sequence[Status]
    starts_from: datetime | None
    starts_to: datetime | None


async def insert(
    db: Connection, claim: ClaimTime, status: Status, ends_at: datetime, fee: Money, expires_at: datetime | None
) -> None:
    """The new row."""
    await db.execute(
        """INSERT INTO bookings (id, status, doctor_id, patient_id, booked_by, starts_at, ends_at, mode, reason,
                                 fee_amount, fee_currency, expires_at, confirmed_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $2 = 'confirmed' THEN now() END)""",
        claim.booking_id, status, claim.doctor_id, claim.patient_id, claim.actor.id, claim.starts_at, ends_at,
        claim.mode, claim.reason, fee.amount, fee.currency, expires_at,
    )  # fmt: skip


async def insert_consultation(db: Connection, booking_id: UUID, doctor_id: UUID, patient_id: UUID) -> None:
    """The visit that a confirmed booking leads to; it has the booking's id."""
    await db.execute(
        "INSERT INTO consultations (id, status, doctor_id, patient_id) VALUES ($1, 'scheduled', $2, $3)",
        booking_id, doctor_id, patient_id,
    )  # fmt: skip


async def find(db: Connection, booking_id: UUID) -> Booking | None:
    """The booking as it stands."""
    row = await db.fetchrow(f"{_BOOKING} WHERE b.id = $1", booking_id)
    return booking_of(row) if row else None


async def lock(db: Connection, booking_id: UUID) -> Booking:
    """The booking, kept from other transactions until this one ends. Raises NotFound."""
    row = await db.fetchrow(f"{_BOOKING} WHERE b.id = $1 FOR UPDATE OF b", booking_id)
    if row is None:
        raise NotFound
    return booking_of(row)


async def await_payment(db: Connection, booking_id: UUID, payment_id: UUID) -> None:
    """The patient was sent to pay. What is held stays held until it would have ended."""
    await db.execute(
        """UPDATE bookings SET status = 'awaiting_payment', payment_id = $2, version = version + 1, updated_at = now()
           WHERE id = $1""",
        booking_id, payment_id,
    )  # fmt: skip


async def extend(db: Connection, booking_id: UUID, expires_at: datetime) -> None:
    """It is held until then, and can be paid for as long."""
    await db.execute(
        "UPDATE bookings SET expires_at = $2, version = version + 1, updated_at = now() WHERE id = $1",
        booking_id, expires_at,
    )  # fmt: skip
    await db.execute(
        """UPDATE payments SET captures_until = captures_until + ($2 - expires_at), expires_at = $2, updated_at = now()
           WHERE booking_id = $1 AND status = 'requires_action'""",
        booking_id, expires_at,
    )  # fmt: skip


async def confirm(db: Connection, booking_id: UUID) -> None:
    """It is paid for: doctor and patient will meet."""
    await db.execute(
        """UPDATE bookings SET status = 'confirmed', expires_at = NULL, confirmed_at = now(),
                  version = version + 1, updated_at = now()
           WHERE id = $1""",
        booking_id,
    )  # fmt: skip
    await db.execute(
        """INSERT INTO consultations (id, status, doctor_id, patient_id)
           SELECT id, 'scheduled', doctor_id, patient_id FROM bookings WHERE id = $1""",
        booking_id,
    )  # fmt: skip


async def expire(db: Connection, booking_id: UUID) -> None:
    """The time for paying has passed."""
    await db.execute(
        """UPDATE bookings SET status = 'expired', expires_at = NULL, move_by = NULL, move_for = NULL,
                  version = version + 1, updated_at = now()
           WHERE id = $1""",
        booking_id,
    )  # fmt: skip


async def cancel(db: Connection, command: CancelBooking) -> None:
    """The booking and its visit are off."""
    await _cancel(db, command.booking_id, command.actor.id, command.actor.role, command.reason)


async def withdraw(db: Connection, booking_id: UUID) -> None:
    """An operator ended the booking's workflow."""
    await _cancel(db, booking_id, None, Role.SUPPORT, None)


async def call_off(db: Connection, command: CallOff) -> None:
    """The clinic ends it."""
    await _cancel(db, command.booking_id, command.actor.id, command.actor.role, None)


async def move(
    db: Connection, booking_id: UUID, starts_at: datetime, ends_at: datetime, refund_from: datetime | None
) -> None:
    """The booking is for another time, and nobody is asked to move it any more."""
    await db.execute(
        """UPDATE bookings SET starts_at = $2, ends_at = $3, refund_from = $4, move_by = NULL, move_for = NULL,
                  reminded_at = NULL, version = version + 1, updated_at = now()
           WHERE id = $1""",
        booking_id, starts_at, ends_at, refund_from,
    )  # fmt: skip


async def remind(db: Connection, booking_id: UUID, moment: datetime) -> bool:
    """Note that its patient is reminded, at this moment or later; false where that was done."""
    done = await db.execute(
        "UPDATE bookings SET reminded_at = $2 WHERE id = $1 AND (reminded_at IS NULL OR reminded_at < $2)",
        booking_id, moment,
    )  # fmt: skip
    return done == "UPDATE 1"


async def ask_to_move(db: Connection, booking_id: UUID, answer_by: datetime, exception_id: UUID) -> None:
    """Until then the patient is to choose another time, because of this leave."""
    await db.execute(
        "UPDATE bookings SET move_by = $2, move_for = $3, version = version + 1, updated_at = now() WHERE id = $1",
        booking_id, answer_by, exception_id,
    )  # fmt: skip


async def ask_to_move_no_more(db: Connection, exception_id: UUID, doctor_id: UUID) -> list[Booking]:
    """Those whose patients were asked to move out of a doctor's leave: they stand as they were."""
    rows = await db.fetch(
        """UPDATE bookings b SET move_by = NULL, move_for = NULL, version = version + 1, updated_at = now()
           FROM availability_exceptions e JOIN claims c ON c.resource_id = e.doctor_id AND c.during && e.during
           WHERE e.id = $1 AND e.doctor_id = $2 AND b.id = c.booking_id AND b.doctor_id = $2
             AND b.move_for = $1 AND b.starts_at <@ e.during RETURNING b.id""",
        exception_id, doctor_id,
    )  # fmt: skip
    return [await lock(db, row["id"]) for row in rows]


async def on_closed_day(db: Connection, exception_id: UUID, now: datetime) -> list[Appointment]:
    """What stands within a doctor's leave and begins later than `now`, the earliest first; nothing without the leave.

    Found by what they hold: one that holds nothing has ended.
    """
    rows = await db.fetch(
        """SELECT b.id, b.status, b.starts_at
           FROM availability_exceptions e JOIN claims c ON c.resource_id = e.doctor_id AND c.during && e.during
                JOIN bookings b ON b.id = c.booking_id AND b.doctor_id = e.doctor_id
           WHERE e.id = $1 AND b.starts_at <@ e.during AND b.starts_at > $2
             AND b.status IN ('held', 'awaiting_payment', 'confirmed')
           ORDER BY b.starts_at, b.id""",
        exception_id, now,
    )  # fmt: skip
    return [Appointment(id=row["id"], status=row["status"], starts_at=row["starts_at"]) for row in rows]


async def ahead(db: Connection, which: Ahead, limit: int) -> list[UUID]:
    """The ids of up to `limit` bookings of a doctor that stand and are to come, in their order.

    Found by what they hold: one that holds nothing has ended.
    """
    rows = await db.fetch(
        """SELECT b.id FROM claims c JOIN bookings b ON b.id = c.booking_id
           WHERE c.resource_id = $1 AND c.during && tstzrange($2, NULL) AND b.doctor_id = $1
             AND b.status IN ('held', 'awaiting_payment', 'confirmed')
             AND b.starts_at >= $2 AND ($3::uuid IS NULL OR b.id > $3)
           ORDER BY b.id LIMIT $4""",
        which.doctor_id, which.since, which.after, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def _cancel(db: Connection, booking_id: UUID, by: UUID | None, role: Role, reason: bytes | None) -> None:
    await db.execute(
        """UPDATE bookings SET status = 'cancelled', expires_at = NULL, move_by = NULL, move_for = NULL,
                  cancelled_at = now(), cancelled_by = $2, cancelled_role = $3, cancellation_reason = $4,
                  version = version + 1, updated_at = now()
           WHERE id = $1""",
        booking_id, by, role, reason,
    )  # fmt: skip
    await db.execute(
        "UPDATE consultations SET status = 'cancelled', updated_at = now() WHERE id = $1 AND status = 'scheduled'",
        booking_id,
    )


async def unpaid_and_expired(db: Connection, patient_id: UUID, since: UUID) -> tuple[int, int]:
    """How many unpaid times the patient holds now, and how many holds made after the id `since` ran out."""
    row = await db.fetchrow(
        """SELECT count(*) FILTER (WHERE status IN ('held', 'awaiting_payment') AND expires_at > now()) AS unpaid,
                  count(*) FILTER (WHERE status = 'expired'
                                   OR status IN ('held', 'awaiting_payment') AND expires_at <= now()) AS expired
           FROM bookings WHERE patient_id = $1 AND id >= $2""",
        patient_id, since,
    )  # fmt: skip
    return (row["unpaid"], row["expired"]) if row else (0, 0)


async def page(db: Connection, filters: Filters, before: UUID | None, limit: int) -> list[Booking]:
    """Up to `limit` bookings, newest first, made before the one with the id `before`."""
    side = "doctor_id" if filters.as_doctor else "patient_id"
    rows = await db.fetch(
        f"""{_BOOKING}
           WHERE b.{side} = $1 AND ($2::uuid IS NULL OR b.id < $2)
             AND (cardinality($3::text[]) = 0 OR b.status = ANY ($3))
             AND ($4::timestamptz IS NULL OR b.starts_at >= $4) AND ($5::timestamptz IS NULL OR b.starts_at < $5)
           ORDER BY b.id DESC LIMIT $6""",
        filters.user_id, before, [str(status) for status in filters.statuses], filters.starts_from, filters.starts_to,
        limit,
    )  # fmt: skip
    return [booking_of(row) for row in rows]


def booking_of(row: Row) -> Booking:
    """A row of the query above as a value."""
    return Booking(
        id=row["id"],
        status=row["status"],
        doctor_id=row["doctor_id"],
        doctor_name=row["doctor_name"],
        patient_id=row["patient_id"],
        booked_by=row["booked_by"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        mode=row["mode"],
        reason=row["reason"],
        fee=Money(amount=row["fee_amount"], currency=row["fee_currency"]),
        expires_at=row["expires_at"],
        confirmed_at=row["confirmed_at"],
        cancellation=Cancellation(by=row["cancelled_role"], at=row["cancelled_at"], reason=row["cancellation_reason"])
        if row["cancelled_at"]
        else None,
        move_by=row["move_by"],
        payment=PaymentRef(id=row["payment_id"], status=row["payment_status"]) if row["payment_id"] else None,
        money_until=row["money_until"],
        refund_from=row["refund_from"],
        version=row["version"],
        created_at=row["created_at"],
    )
