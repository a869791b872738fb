"""`python -m amrutam mfa remove`, for who has lost both app and recovery codes."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping

import httpx

from amrutam.storage import mfa
from amrutam.storage.pool import Database
from tests.people import People
from tests.polling import until
from tests.web.accounts import Outbox


async def _remove(environment: Mapping[str, str], email: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "amrutam", "mfa", "remove", email, env={**os.environ, **environment}, stdout=PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_an_operator_takes_a_factor_off_and_its_person_is_told_and_signed_out(
    api: httpx.AsyncClient, environment: Mapping[str, str], db: Database, people: People, outbox: Outbox
) -> None:
    patient = await people.with_factor(await people.patient())
    assert (await api.get("/v1/me", headers=patient.headers)).status_code == 200
    assert await _remove(environment, patient.email.upper()) == (
        0,
        f"{patient.email.upper()}: the second factor is off\n",
    )
    assert await _remove(environment, patient.email) == (1, f"{patient.email}: no account with a second factor\n")
    async with db.connection() as connection:
        assert not await mfa.is_on(connection, patient.id)
        noted = await connection.fetchval(
            "SELECT actor_role FROM audit WHERE subject = $1 AND action = 'mfa.remove'", patient.id
        )
    assert noted == "system"
    assert [mail["subject"] for mail in await outbox(patient.email)] == ["Two-step sign-in is off"]

    async def signed_out() -> bool | None:
        return (await api.get("/v1/me", headers=patient.headers)).status_code == 401 or None

    assert await until(signed_out)
