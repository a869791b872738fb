"""The keyring's file while it changes: whole, private, and read by the processes that run."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from amrutam import keyring_file
from amrutam.crypto import Keyring, KeyringError, random_key
from amrutam.stack.applications import CHECKOUT
from tests.beside import api_beside
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.accounts import MakePatient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A keyring of its own."""
    path = tmp_path / "keys" / "keyring.json"
    keyring_file.write_new(path, Keyring.generate("demo"))
    return path


def _add(path: Path, name: str) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["codec"]["keys"][name] = random_key()

    keyring_file.change(path, edit)


def test_the_file_stays_readable_by_its_owner_alone(path: Path) -> None:
    _add(path, "codec-2")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "codec-2" in Keyring.load(path).codec.keys
    assert [each.name for each in path.parent.iterdir()] == ["keyring.json"]


def test_changes_at_the_same_time_lose_nothing(path: Path) -> None:
    names = [f"codec-{number}" for number in range(2, 12)]
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(partial(_add, path), names))
    assert Keyring.load(path).codec.keys.keys() == {"codec-1", *names}


def test_a_change_that_makes_no_keyring_leaves_the_file_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(KeyringError):
        keyring_file.change(path, lambda content: content.pop("master"))
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["keyring.json"]


def test_what_a_killed_change_left_behind_is_in_nobodys_way(path: Path) -> None:
    (path.parent / ".keyring.json.new").write_text("half", "utf-8")
    _add(path, "codec-2")
    assert "codec-2" in Keyring.load(path).codec.keys


@asynccontextmanager
async def _following(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[list[Keyring]]:
    monkeypatch.setattr(keyring_file, "LOOK_SECONDS", 0.01)
    used: list[Keyring] = []
    task = asyncio.create_task(keyring_file.follow(path, Keyring.load(path), used.append))
    try:
        await until(lambda: _reached(used, 1))
        yield used
    finally:
        task.cancel()


async def _reached(used: list[Keyring], count: int) -> bool:
    return len(used) >= count


async def test_a_process_takes_what_the_file_says_now(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _following(path, monkeypatch) as used:
        _add(path, "codec-2")
        await until(lambda: _reached(used, 2))
        assert "codec-2" in used[-1].codec.keys


@pytest.mark.parametrize("bad", ["", "{", Keyring.generate("demo"), None])
async def test_a_file_that_is_broken_foreign_or_gone_changes_nothing_and_is_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch, bad: str | None
) -> None:
    async with _following(path, monkeypatch) as used:
        good = _exchange(path, bad)
        with capture_logs() as logs:

            async def passed_over() -> bool:
                return any(line["event"] == "keyring.not_taken" for line in logs)

            await until(passed_over)
        assert len(used) == 1
        _exchange(path, good)
        _add(path, "codec-2")
        await until(lambda: _reached(used, 2))
        assert "codec-2" in used[-1].codec.keys


def _exchange(path: Path, text: str | None) -> str:
    """Put another file in its place, or none; returns what it said before."""
    before = path.read_text("utf-8") if path.exists() else ""
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text, "utf-8")
    return before


class Done(NamedTuple):
    """What a command said."""

    status: int | None
    stdout: str
    stderr: str


async def _run(environment: Mapping[str, str], path: Path, *arguments: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "amrutam", "keys", *arguments,
        cwd=CHECKOUT, env={**environment, "AMRUTAM_KEYRING": str(path)}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        stdout, stderr = await process.communicate()
    return Done(process.returncode, stdout.decode(), stderr.decode())


@pytest.fixture
def copied(system: System, tmp_path: Path) -> Path:
    """The system's keyring, for processes beside it."""
    path = tmp_path / "keyring.json"
    keyring_file.write_new(path, Path(system.environment["AMRUTAM_KEYRING"]).read_text("utf-8"))
    return path


async def test_signing_keys_rotate_while_the_api_runs_and_nobody_is_logged_out(
    system: System, copied: Path, make_patient: MakePatient
) -> None:
    before: Person = await make_patient()
    async with api_beside(system, AMRUTAM_KEYRING=str(copied)) as api:

        async def kids() -> list[str]:
            return [key["kid"] for key in (await api.get("/.well-known/jwks.json")).json()["keys"]]

        assert await kids() == ["signing-1"]
        done = await _run(system.environment, copied, "rotate-signing")
        assert (done.status, done.stderr) == (0, "")
        assert "signing-2 is published now, and signs from" in done.stdout

        async def published() -> bool:
            return await kids() == ["signing-1", "signing-2"]

        await until(published)
        again = await _run(system.environment, copied, "rotate-signing")
        assert again.status == 2
        assert "the last rotation is under way until" in again.stderr
        assert (await api.get("/v1/me", headers=before.headers)).status_code == 200

        _let_it_be_over(copied)

        async def withdrawn() -> bool:
            return await kids() == ["signing-2"]

        await until(withdrawn)
        assert (await api.get("/v1/me", headers=before.headers)).status_code == 401  # it has expired by then


def _let_it_be_over(path: Path) -> None:
    """As if the rotation had been an hour ago."""

    def edit(content: dict[str, Any]) -> None:
        content["signing"]["next_from"] = "2026-01-01T00:00:00Z"

    keyring_file.change(path, edit)


async def test_a_key_in_other_hands_is_gone_at_once(system: System, copied: Path) -> None:
    done = await _run(system.environment, copied, "rotate-signing", "--at-once")
    assert (done.status, done.stderr) == (0, "")
    signing = Keyring.load(copied).signing
    assert (signing.current, signing.keys.keys()) == ("signing-2", {"signing-2"})


async def test_a_keyring_is_made_once(system: System, tmp_path: Path) -> None:
    path = tmp_path / "new" / "keyring.json"
    first, second = [await _run(system.environment, path, "init") for _ in range(2)]
    assert (first.status, second.status) == (0, 0)
    assert "written" in first.stdout
    assert "is there already" in second.stdout


async def test_a_keyring_that_cannot_be_read_is_named_and_not_replaced(system: System, tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    _exchange(path, "{}")
    failed = await _run(system.environment, path, "init")
    assert failed.status == 2
    assert str(path) in failed.stderr
    assert _exchange(path, None) == "{}"


@pytest.mark.parametrize("bad", ["", "{"])
def test_what_is_no_keyring_is_not_changed_and_is_named(path: Path, bad: str) -> None:
    _exchange(path, bad)
    with pytest.raises(KeyringError, match=str(path)):
        _add(path, "codec-2")
    assert _exchange(path, None) == bad
