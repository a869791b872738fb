"""An authenticator app for tests, and what people do with it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import jwt
from pyotp.hotp import HOTP

from amrutam.domain.mfa import STEP_SECONDS
from amrutam.storage.pool import Database
from tests.people import Person
from tests.web.accounts import bearer, log_in


def code(secret: str | None, ahead: int = 0) -> str:
    """What the app shows now, or so many steps ahead. One step ahead is taken too, and is another code."""
    assert secret
    return HOTP(secret).at(int(datetime.now(UTC).timestamp()) // STEP_SECONDS + ahead)


def wrong_code(secret: str | None) -> str:
    """Six digits that no step near now has."""
    near = {code(secret, ahead) for ahead in range(-3, 4)}
    return next(digits for digits in map("{:06}".format, range(10)) if digits not in near)


async def let_a_minute_pass(db: Database, user_id: UUID) -> None:
    """As far as codes that were taken are concerned."""
    async with db.connection() as connection:
        await connection.execute("UPDATE factors SET last_step = last_step - 3 WHERE user_id = $1", user_id)


async def enroll(api: httpx.AsyncClient, headers: dict[str, str], **said: Any) -> httpx.Response:
    """Ask for a secret."""
    return await api.post("/v1/auth/mfa/enroll", json=said, headers=headers)


async def confirm(api: httpx.AsyncClient, headers: dict[str, str], given: str) -> httpx.Response:
    """Show that the app works."""
    return await api.post("/v1/auth/mfa/confirm", json={"code": given}, headers=headers)


async def verify(api: httpx.AsyncClient, mfa_token: str, given: str, factor: str = "totp") -> httpx.Response:
    """The second half of signing in."""
    return await api.post("/v1/auth/mfa/verify", json={"mfa_token": mfa_token, "factor": factor, "code": given})


async def step_up(api: httpx.AsyncClient, headers: dict[str, str], given: str) -> httpx.Response:
    """Show the factor once more."""
    return await api.post("/v1/auth/step-up", json={"code": given}, headers=headers)


async def turn_on(api: httpx.AsyncClient, db: Database, person: Person) -> tuple[str, list[str], dict[str, str]]:
    """A second factor for somebody with a password, over HTTP: secret, recovery codes, and a session without it."""
    headers = bearer((await log_in(api, person.email)).json())
    secret = (await enroll(api, headers)).json()["secret"]
    answer = await confirm(api, headers, code(secret))
    assert answer.status_code == 200, answer.text
    await let_a_minute_pass(db, person.id)
    return secret, answer.json()["recovery_codes"], headers


async def challenged(api: httpx.AsyncClient, person: Person) -> str:
    """The token that the password gives."""
    answer = await log_in(api, person.email)
    assert answer.json()["status"] == "mfa_required", answer.text
    return answer.json()["mfa_token"]


def claims_of(token: str) -> dict[str, Any]:
    """What an access token says."""
    return jwt.decode(token, options={"verify_signature": False})


async def standing(api: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    """How somebody's second factor stands."""
    answer = await api.get("/v1/auth/mfa", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()
