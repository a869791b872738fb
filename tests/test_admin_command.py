"""`python -m amrutam admin create`, as an operator runs it on a new installation."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple

import httpx
import pytest

from amrutam.stack.servers import Servers
from tests.audit_trails import OwnTrail, make_template
from tests.beside import api_beside
from tests.conftest import System
from tests.web.accounts import PASSWORD, bearer, log_in

FIRST, SECOND = "first@clinic.amrutam.test", "second@clinic.amrutam.test"


class Said(NamedTuple):
    """How the command ended."""

    status: int | None
    out: str


class Installation(NamedTuple):
    """A database with nobody in it, and how a command is told of it."""

    trail: OwnTrail
    environment: Mapping[str, str]

    async def create(self, email: str, *more: str, typed: str = "") -> Said:
        """Run the command."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "amrutam", "admin", "create", "--email", email, "--name", "Ada Rao", *more),
            env={**os.environ, **self.environment},
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        out, error = await process.communicate(typed.encode())
        return Said(process.returncode, (out + error).decode())

    async def audited(self) -> list[tuple[str, str]]:
        """Who did what."""
        async with self.trail.app.connection() as db:
            rows = await db.fetch("SELECT actor_role, action FROM audit ORDER BY id")
        return [(row["actor_role"], row["action"]) for row in rows]


@pytest.fixture
async def installation(servers: Servers, environment: Mapping[str, str]) -> AsyncGenerator[Installation, None]:
    """Just set up."""
    trail = OwnTrail(servers, await make_template(servers))
    await trail.open()
    yield Installation(trail, {**environment, "DATABASE_URL": trail.url})
    await trail.close()


async def test_the_first_administrator_opens_the_link_and_signs_in(installation: Installation, system: System) -> None:
    said = await installation.create(FIRST.upper())
    assert said.status == 0, said.out
    found = re.search(r"/invitation\?token=([\w-]+)$", said.out.strip())
    assert found, said.out
    assert await installation.audited() == [("system", "staff.invite")]
    async with api_beside(system, DATABASE_URL=installation.trail.url) as api:
        answer = await _accept(api, found[1])
        assert answer.status_code == 200, answer.text
        assert (await _accept(api, found[1])).status_code == 422
        headers = bearer((await log_in(api, FIRST)).json())
        [only] = (await api.get("/v1/admin/users", headers=headers)).json()["items"]
    assert (only["email"], only["roles"]) == (FIRST, ["admin"])

    again = await installation.create(SECOND)
    assert again.status == 2
    assert "there is an administrator" in again.out
    assert (await installation.create(SECOND, "--another")).status == 0
    assert (await installation.create(FIRST, "--another")).out.startswith("--email: has an account already")


async def _accept(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post("/v1/auth/invitations/accept", json={"token": token, "password": PASSWORD})


async def test_with_a_password_from_standard_input_the_account_is_there_at_once(installation: Installation) -> None:
    said = await installation.create(FIRST, "--password", typed=f"{PASSWORD}\n")
    assert (said.status, said.out) == (0, f"{FIRST} is an administrator, and can sign in\n")
    assert await installation.audited() == [("system", "staff.create_admin")]


async def test_what_does_not_do_is_said_in_a_line_and_makes_nobody(installation: Installation) -> None:
    for email, typed, words in (
        ("nobody", PASSWORD, "--email: should be an email address"),
        (FIRST, "short", "the password should have 8 to 256 characters"),
        (FIRST, "password1", "the password is"),
    ):
        said = await installation.create(email, "--password", typed=typed)
        assert said.status == 2
        assert said.out.startswith(words)
        assert len(said.out.splitlines()) == 1
    assert await installation.audited() == []


async def test_two_who_create_the_first_at_once_make_one(installation: Installation) -> None:
    ended = await asyncio.gather(
        *(installation.create(email, "--password", typed=PASSWORD) for email in (FIRST, SECOND))
    )
    assert sorted(str(said.status) for said in ended) == ["0", "2"]
