"""Receipts as rows: issued in the transaction that lets a charge pay for a visit, and never changed."""

from datetime import datetime
from uuid import UUID

from amrutam.domain.booking import Booking
from amrutam.domain.payment import Charge
from amrutam.domain.receipt import PaidBack, Receipt, ReceiptLine, Seller, Totals, financial_year, receipt_number
from amrutam.storage.pool import Connection


async def issue(db: Connection, booking: Booking, charge: Charge, tax_permille: int, now: datetime) -> None:
    """Number and keep the receipt of what was paid. Whoever confirms at the same time waits for this transaction."""
    year = financial_year(now)
    serial = await db.fetchval(
        """INSERT INTO receipt_years AS year (year, last) VALUES ($1, 1)
           ON CONFLICT (year) DO UPDATE SET last = year.last + 1 RETURNING last""",
        year,
    )
    await db.execute(
        """INSERT INTO receipts (payment_id, booking_id, year, serial, gateway, charge_id, visit_at, visit_minutes,
                                 mode, doctor_name, registration, tax_permille, issued_at)
           SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, full_name,
                  concat_ws(', ', registration_number, registration_council), $10, $11
           FROM doctors WHERE id = $12""",
        charge.payment_id, booking.id, year, serial, charge.gateway, charge.id, booking.starts_at,
        int((booking.ends_at - booking.starts_at).total_seconds() // 60), booking.mode, tax_permille, now,
        booking.doctor_id,
    )  # fmt: skip


async def of_booking(db: Connection, booking_id: UUID, seller: Seller) -> Receipt | None:
    """The receipt of what paid for a booking, with what has gone back since; None where nothing did."""
    row = await db.fetchrow(
        """SELECT r.*, c.amount, c.currency, u.full_name AS buyer_name, u.time_zone
           FROM receipts r JOIN charges c ON c.gateway = r.gateway AND c.id = r.charge_id
                JOIN payments p ON p.id = r.payment_id JOIN users u ON u.id = p.patient_id
           WHERE r.booking_id = $1""",
        booking_id,
    )
    if row is None:
        return None
    back = await db.fetch(
        """SELECT amount, (updated_at AT TIME ZONE 'Asia/Kolkata')::date AS on FROM refunds
           WHERE gateway = $1 AND charge_id = $2 AND status = 'done' ORDER BY updated_at, id""",
        row["gateway"], row["charge_id"],
    )  # fmt: skip
    words = f"{row['mode'].capitalize()} visit, {row['visit_minutes']} minutes"
    lines = [ReceiptLine.of_price(words, row["amount"], row["tax_permille"])]
    return Receipt(
        number=receipt_number(row["issued_at"], row["serial"]),
        issued_at=row["issued_at"],
        seller=seller,
        buyer_name=row["buyer_name"],
        doctor_name=row["doctor_name"],
        registration_number=row["registration"] or "not known",
        visit_at=row["visit_at"],
        time_zone=row["time_zone"],
        lines=lines,
        totals=Totals.of(lines),
        currency=row["currency"],
        paid_via=row["gateway"].capitalize(),
        charge_id=row["charge_id"],
        refunds=[PaidBack(on=each["on"], amount=each["amount"]) for each in back],
    )
