"""The demo's next visit: `patient` with `doctor2`, some minutes ahead, booked over HTTP as anybody would."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx

from amrutam.seed import PASSWORD

PATIENT, DOCTOR = "patient@demo.amrutam.test", "doctor2@demo.amrutam.test"
# Far enough to look at it first, near enough to be there for the visit.
SOONEST, LATEST = timedelta(minutes=5), timedelta(hours=1)


async def renew(api_url: str) -> str:
    """Make sure that there is one; says when it is. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(base_url=api_url, timeout=20, trust_env=False) as client:
        headers = await _sign_in(client, PATIENT)
        now = datetime.now(UTC)
        soonest, latest = now + SOONEST, now + LATEST
        window = {"from": soonest.isoformat(), "to": latest.isoformat(), "status": "confirmed"}
        booked = await _get(client, "/v1/bookings", headers, window)
        if booked["items"]:
            return str(booked["items"][-1]["starts_at"])
        doctor = await _get(client, "/v1/doctors/me", await _sign_in(client, DOCTOR), {})
        starts_at = await _first_slot(client, doctor["id"], soonest, latest)
        wish = {"doctor_id": doctor["id"], "starts_at": starts_at, "mode": "video", "reason": "A cough since Monday"}
        # One key for one time: two starts at once book it once.
        answer = await client.post("/v1/bookings", json=wish, headers={**headers, "Idempotency-Key": starts_at})
        answer.raise_for_status()
        return starts_at


async def _first_slot(client: httpx.AsyncClient, doctor_id: str, soonest: datetime, latest: datetime) -> str:
    days = {"from": soonest.date().isoformat(), "to": latest.date().isoformat(), "tz": "UTC"}
    slots = await _get(client, f"/v1/doctors/{doctor_id}/slots", {}, days)
    times = (str(slot["starts_at"]) for slot in slots["items"])
    return min(time for time in times if datetime.fromisoformat(time) >= soonest)


async def _sign_in(client: httpx.AsyncClient, email: str) -> dict[str, str]:
    answer = await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


async def _get(client: httpx.AsyncClient, path: str, headers: dict[str, str], query: dict[str, str]) -> dict[str, Any]:
    answer = await client.get(path, params=query, headers=headers)
    return cast("dict[str, Any]", answer.raise_for_status().json())
