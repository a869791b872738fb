"""Hours of doctors, and bookings, in short."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from amrutam.domain.availability import Availability
from amrutam.domain.booking import Booking, Status
from amrutam.domain.common import Mode, Money

BOOKING, DOCTOR, PATIENT = (UUID(int=number) for number in (2, 3, 4))
CONFIRMED_AT = datetime(2026, 3, 1, 9, 30, 15, 123456, tzinfo=UTC)
STARTS_AT = datetime(2026, 3, 1, 11, 45, tzinfo=UTC)


def rule(weekday: str, start: str, end: str, *modes: str, **validity: str) -> dict[str, Any]:
    return {"weekday": weekday, "start": start, "end": end, "modes": modes or ("video",), **validity}


def available(*rules: dict[str, Any], zone: str = "Asia/Kolkata", slot: int = 30, **rest: int) -> Availability:
    return Availability.model_validate({"time_zone": zone, "slot_minutes": slot, "rules": rules, **rest})


def a_booking(status: Status = Status.CONFIRMED, **fields: Any) -> Booking:
    """A visit of 15 minutes by video that was confirmed, unless told otherwise."""
    starts_at = fields.get("starts_at", STARTS_AT)
    said = {
        "id": BOOKING,
        "status": status,
        "doctor_id": DOCTOR,
        "doctor_name": "Dr Meera Iyer",
        "patient_id": PATIENT,
        "booked_by": PATIENT,
        "starts_at": starts_at,
        "ends_at": starts_at + timedelta(minutes=15),
        "mode": Mode.VIDEO,
        "reason": b"canary",
        "fee": Money(amount=0, currency="INR"),
        "expires_at": None,
        "confirmed_at": CONFIRMED_AT,
        "cancellation": None,
        "version": 1,
        "created_at": CONFIRMED_AT - timedelta(days=1),
    }
    return Booking.model_validate({**said, **fields})
