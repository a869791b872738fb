"""The demo's applicant: `doctor3`, who has submitted a registration that an administrator is to look at."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import httpx

from amrutam.seed import PASSWORD

APPLICANT = "doctor3@demo.amrutam.test"
_OWN = "/v1/doctors/me/verification"
_GOOD_FOR = timedelta(days=400)


async def submit(api_url: str) -> str:
    """Make sure that there was a submission; says where the applicant stands. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(base_url=api_url, timeout=20, trust_env=False) as client:
        answer = await client.post("/v1/auth/login", json={"email": APPLICANT, "password": PASSWORD})
        token = _body(answer)["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        practice = _body(await client.get(_OWN))
        if practice["standing"] != "unsubmitted":
            return str(practice["standing"])
        wish = {"registration_valid_until": _last_day().isoformat(), "note": "I moved here from Pune in May."}
        # One key for one day: two starts at once submit once.
        key = f"demo-{datetime.now(UTC).date()}"
        return str(_body(await client.post(_OWN, json=wish, headers={"Idempotency-Key": key}))["state"])


def _last_day() -> date:
    return (datetime.now(UTC) + _GOOD_FOR).date()


def _body(answer: httpx.Response) -> dict[str, Any]:
    answer.raise_for_status()
    return cast("dict[str, Any]", answer.json())
