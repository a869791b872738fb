"""Which Temporal runs: the `temporal` CLI's server if it is new enough, else the official server.

The choice is recorded beside the data, because each keeps its data in its own way, and is never switched silently.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from amrutam.stack.build import SCHEMA_TOOL, SERVER, SERVER_VERSION, WEB_UI, build, cache_folder
from amrutam.stack.console import Console
from amrutam.stack.errors import StackError
from amrutam.stack.folders import write_private

# The first server that can skip time, which the tests of reminders and holds rely on.
OLDEST_SERVER = (1, 32)
# A reachable download shows its first bytes by then; a name that does not resolve may hang much longer.
FIRST_BYTES_SECONDS = 5
DOWNLOAD_SECONDS = 300


class Kind(StrEnum):
    """How the server is packaged, and with it where its data lies."""

    CLI = "cli"  # SQLite in the data folder
    SERVER = "server"  # our PostgreSQL


@dataclass(frozen=True)
class Engine:
    """The chosen engine and the version of its server."""

    kind: Kind
    version: str


@dataclass(frozen=True)
class Chosen:
    """The engine, and its program."""

    engine: Engine
    program: Path


async def choose(record: Path, console: Console, *, ui: bool) -> Chosen:
    """The recorded engine, or the first that works, which is then recorded. Raises StackError when there is none."""
    recorded = _read(record)
    chosen = await _again(recorded, record, console, ui=ui) if recorded else await _first(console, ui=ui)
    if chosen.engine != recorded:
        write_private(record, json.dumps(asdict(chosen.engine)))
    return chosen


async def _again(recorded: Engine, record: Path, console: Console, *, ui: bool) -> Chosen:
    if recorded.kind is Kind.SERVER and _numbers(recorded.version) <= _numbers(SERVER_VERSION):
        return await _official(console, ui=ui)
    cli = await asyncio.to_thread(newest_cli) if recorded.kind is Kind.CLI else None
    if cli and _numbers(cli.engine.version) >= _numbers(recorded.version):
        return cli
    name = "`temporal` CLI with server" if recorded.kind is Kind.CLI else "Temporal server"
    raise StackError(
        f"The data in {record.parent} was made by the {name} {recorded.version}, which is not to be had here any more. "
        "Install it again, or start with empty data: make clean"
    )


async def _first(console: Console, *, ui: bool) -> Chosen:
    if cli := await asyncio.to_thread(newest_cli):
        return cli
    if not SERVER.path().exists() and (cli := await _download(console)):
        return cli
    return await _official(console, ui=ui)


async def _official(console: Console, *, ui: bool) -> Chosen:
    await build([SERVER, SCHEMA_TOOL, *([WEB_UI] if ui else [])], console)
    return Chosen(Engine(Kind.SERVER, SERVER_VERSION), SERVER.path())


def newest_cli() -> Chosen | None:
    """The CLI on PATH, else one that was downloaded before, if its server is new enough."""
    on_path = shutil.which("temporal")
    candidates = [Path(on_path)] if on_path else []
    candidates += [path for path in sorted(_downloads().glob("temporal-cli-*")) if os.access(path, os.X_OK)]
    for program in candidates:
        version = server_version(program)
        if version and _numbers(version)[:2] >= OLDEST_SERVER:
            return Chosen(Engine(Kind.CLI, version), program)
    return None


def server_version(program: Path) -> str | None:
    """The server inside this CLI, from `temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)`; None if it says none."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own CLI
            [str(program), "--version"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Server (\d+\.\d+\.\d+)", done.stdout)
    return found.group(1) if found else None


async def _download(console: Console) -> Chosen | None:
    """Let the SDK fetch the CLI into the cache folder. None, within seconds, where it cannot be reached."""
    console.progress("Looking for the `temporal` CLI")
    folder = _downloads()
    folder.mkdir(parents=True, exist_ok=True)
    # Apart from this process: the SDK's download cannot be interrupted.
    fetch = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "amrutam.stack.download", str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    began = time.monotonic()
    try:
        while fetch.returncode is None and (seconds := time.monotonic() - began) < DOWNLOAD_SECONDS:
            if seconds > FIRST_BYTES_SECONDS and not any(folder.iterdir()):
                break
            console.progress(f"Downloading the `temporal` CLI: {seconds:.0f} s")
            await asyncio.sleep(0.1)
    finally:
        if fetch.returncode is None:
            fetch.kill()
            await fetch.wait()
            for half in folder.glob("*.downloading"):
                half.unlink()  # else the next download would wait for this one
    return await asyncio.to_thread(newest_cli)


def _downloads() -> Path:
    return cache_folder() / "temporal-cli"


def _read(record: Path) -> Engine | None:
    if not record.exists():
        return None
    try:
        noted = json.loads(record.read_text())
        return Engine(Kind(noted["kind"]), noted["version"])
    except (ValueError, KeyError) as fault:
        raise StackError(
            f"{record} cannot be read ({fault}). Put it back, or start with empty data: make clean"
        ) from fault


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
