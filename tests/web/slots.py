"""Free times of a doctor, by the API itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.people import Person


async def free_times(api: httpx.AsyncClient, doctor: Person, *, days_ahead: int = 2) -> list[str]:
    """When the doctor's free slots of that day begin, in order."""
    day = (datetime.now(UTC) + timedelta(days=days_ahead)).date().isoformat()
    answer = await api.get(f"/v1/doctors/{doctor.id}/slots", params={"from": day, "to": day, "tz": "UTC"})
    assert answer.status_code == 200, answer.text
    return [slot["starts_at"] for slot in answer.json()["items"]]


def wish(doctor: Person, starts_at: str, **more: Any) -> dict[str, Any]:
    """The body of a booking by video."""
    return {"doctor_id": str(doctor.id), "starts_at": starts_at, "mode": "video", **more}


async def book(
    api: httpx.AsyncClient, patient: Person, doctor: Person, starts_at: str, key: str | None = None, **more: Any
) -> httpx.Response:
    """Ask for a time."""
    return await api.post("/v1/bookings", json=wish(doctor, starts_at, **more), headers=patient.writing(key))
