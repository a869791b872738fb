"""Visits that are over, for tests of what comes after one."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from amrutam.ids import new_id
from amrutam.storage import audit
from amrutam.storage.pool import Database

_BOOKING = """
INSERT INTO bookings (id, status, doctor_id, patient_id, booked_by, starts_at, ends_at, mode, fee_amount, fee_currency,
                      confirmed_at)
VALUES ($1, $4, $2, $3, $3, $5, $6, 'video', 0, 'INR', now())"""
_CONSULTATION = "INSERT INTO consultations (id, status, doctor_id, patient_id) VALUES ($1, 'completed', $2, $3)"


async def completed_visit(db: Database, patient_id: UUID, doctor_id: UUID, status: str = "completed") -> UUID:
    """The id of a booking whose visit ended an hour ago; no workflow has it any more."""
    visit_id, ended_at = new_id(), datetime.now(UTC) - timedelta(hours=1)
    async with db.transaction() as connection:
        times = (ended_at - timedelta(minutes=15), ended_at)
        await connection.execute(_BOOKING, visit_id, doctor_id, patient_id, status, *times)
        await connection.execute(_CONSULTATION, visit_id, doctor_id, patient_id)
        await audit.append_system(connection, "booking.create", visit_id, patient_id=patient_id)
    return visit_id
