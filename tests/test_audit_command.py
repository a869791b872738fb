"""`python -m amrutam audit verify`, as an operator runs it: its words and its exit status."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from activities.audit import AuditActivities
from amrutam.crypto import Keyring
from amrutam.gateways.checkpoints import CheckpointFolder
from amrutam.stack.servers import Servers
from tests.audit_trails import OwnTrail, make_template


class Said(NamedTuple):
    """How the command ended."""

    status: int | None
    out: str


async def _verify(environment: Mapping[str, str]) -> Said:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "amrutam", "audit", "verify", env={**os.environ, **environment}, stdout=PIPE, stderr=PIPE
    )
    out, error = await process.communicate()
    return Said(process.returncode, (out + error).decode())


@pytest.fixture
async def trail(servers: Servers) -> AsyncGenerator[OwnTrail, None]:
    """Three rows."""
    trail = OwnTrail(servers, await make_template(servers))
    await trail.open()
    await trail.write(3)
    yield trail
    await trail.close()


async def test_it_says_what_is_whole_and_names_what_is_not(
    trail: OwnTrail, environment: Mapping[str, str], keyring: Keyring, tmp_path: Path
) -> None:
    told = {**environment, "DATABASE_URL": trail.url, "AUDIT_CHECKPOINT_FOLDER": str(tmp_path)}
    sealing = AuditActivities(trail.app, CheckpointFolder(tmp_path, keyring))

    waiting = await _verify(told)
    await sealing.seal()
    whole = await _verify(told)
    unvouched = await _verify({name: value for name, value in told.items() if name != "AUDIT_CHECKPOINT_FOLDER"})
    [_, changed, _] = await trail.ids()
    await trail.tamper("UPDATE audit SET actor_role = 'admin' WHERE id = $1", changed)
    broken = await _verify(told)

    assert waiting.status == whole.status == unvouched.status == 0
    assert waiting.out.startswith("ok      0 rows, sealed up to seal 0,")
    assert "3 newer rows wait for their seal" in waiting.out
    assert whole.out == (
        "ok      3 rows, sealed up to seal 1, are as they were written; checkpoints vouch for them up to seal 1; "
        "no row waits for its seal\n"
    )
    assert "nothing outside the database vouches" in unvouched.out
    assert broken.status == 1
    assert broken.out.startswith(f"BROKEN  row {changed} was changed ")
