"""Accounts for tests of signing in: registered over HTTP, or made with a password that is known."""

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

import httpx
from argon2 import PasswordHasher

from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import Person

Outbox = Callable[..., Awaitable[list[dict[str, Any]]]]
MakePatient = Callable[[], Awaitable[Person]]

OF_THE_REQUEST = {"request_id", "instance"}
PASSWORD = "correct horse battery staple"  # noqa: S105 - of accounts that live as long as the test


def new_address() -> str:
    """One that nobody has."""
    return f"{new_id().hex}@registered.amrutam.test"


async def register(api: httpx.AsyncClient, email: str, **changed: Any) -> httpx.Response:
    """Ask for an account."""
    said = {"email": email, "password": PASSWORD, "full_name": "Asha Rao", "role": "patient"}
    return await api.post("/v1/auth/register", json={**said, **changed})


async def log_in(api: httpx.AsyncClient, email: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
    """Try to sign in."""
    return await api.post("/v1/auth/login", json={"email": email, "password": password, **more})


async def verify(api: httpx.AsyncClient, token: str) -> httpx.Response:
    """Try to confirm an address."""
    return await api.post("/v1/auth/verify-email", json={"token": token})


async def refresh(api: httpx.AsyncClient, refresh_token: str) -> httpx.Response:
    """Try to stay signed in."""
    return await api.post("/v1/auth/refresh", json={"refresh_token": refresh_token})


def bearer(signed_in: dict[str, Any]) -> dict[str, str]:
    """The header of somebody who has just signed in."""
    return {"Authorization": f"Bearer {signed_in['access_token']}"}


def said(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    """An answer without what names the request."""
    return answer.status_code, {name: value for name, value in answer.json().items() if name not in OF_THE_REQUEST}


def token_in(mail: dict[str, Any]) -> str:
    """The token of the link in a mail."""
    found = re.search(r"/verify-email\?token=([\w-]+)", mail["text"])
    assert found, mail
    return found[1]


@lru_cache(maxsize=1)
def _hash() -> str:
    return PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)


async def with_password(db: Database, make_patient: MakePatient) -> Person:
    """A patient who signs in with PASSWORD."""
    patient = await make_patient()
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", patient.id, _hash())
    return patient


async def signed_in(api: httpx.AsyncClient, db: Database, make_patient: MakePatient) -> dict[str, Any]:
    """What a patient got by signing in."""
    answer = await log_in(api, (await with_password(db, make_patient)).email)
    assert answer.status_code == 200, answer.text
    return answer.json()
