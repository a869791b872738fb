"""A doctor who is verified, as the doctor and an administrator do it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx

from tests.people import Person

NEXT_YEAR = (datetime.now(UTC) + timedelta(days=400)).date()
LICENCE = {"number": "KMC-48213", "council": "Karnataka Medical Council"}


async def edit(api: httpx.AsyncClient, doctor: Person, **changed: Any) -> dict[str, Any]:
    """The profile with something else in it."""
    before = await api.get("/v1/doctors/me", headers=doctor.headers)
    answer = await api.put(
        "/v1/doctors/me",
        json={**before.json(), **changed},
        headers={**doctor.headers, "If-Match": before.headers["etag"]},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def submit(
    api: httpx.AsyncClient, doctor: Person, *, key: str | None = None, until: date = NEXT_YEAR, **more: Any
) -> httpx.Response:
    """Have name and registration checked."""
    body = {"registration_valid_until": until.isoformat(), **more}
    return await api.post("/v1/doctors/me/verification", json=body, headers=doctor.writing(key))


async def decide(api: httpx.AsyncClient, admin: Person, doctor: Person, decision: str, **more: Any) -> httpx.Response:
    """As an administrator."""
    path = f"/v1/admin/doctors/{doctor.id}/verification"
    return await api.post(path, json={"decision": decision, **more}, headers=admin.writing())


async def standing(api: httpx.AsyncClient, doctor: Person) -> str:
    """Where the doctor stands, by their own look."""
    answer = await api.get("/v1/doctors/me/verification", headers=doctor.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["standing"]
