"""Which Temporal is taken, and that the choice stays."""

import json
from io import StringIO
from pathlib import Path

import pytest

from amrutam.stack.console import Console
from amrutam.stack.engine import choose, newest_cli
from amrutam.stack.errors import StackError


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No CLI and nothing in the cache; the answer is a folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def install_cli(folder: Path, server: str) -> None:
    cli = folder / "temporal"
    cli.write_text(f"#!/bin/sh\necho 'temporal version 1.9.0 (Server {server}, UI 2.50.0)'\n")
    cli.chmod(0o755)


def test_a_cli_with_an_older_server_is_passed_over(bare_machine: Path) -> None:
    install_cli(bare_machine, "1.31.2")
    assert newest_cli() is None


async def test_a_cli_with_a_new_server_is_taken_and_recorded(bare_machine: Path) -> None:
    install_cli(bare_machine, "1.32.0")
    chosen = await choose(bare_machine / "engine.json", Console(StringIO()), ui=False)
    assert chosen.program == bare_machine / "temporal"
    assert json.loads((bare_machine / "engine.json").read_text()) == {"kind": "cli", "version": "1.32.0"}


@pytest.mark.parametrize("recorded", [{"kind": "cli", "version": "1.33.0"}, {"kind": "server", "version": "9.0.0"}])
async def test_a_recorded_engine_that_is_gone_is_asked_for_and_never_replaced(
    bare_machine: Path, recorded: dict[str, str]
) -> None:
    install_cli(bare_machine, "1.32.0")
    record = bare_machine / "engine.json"
    record.write_text(json.dumps(recorded))
    with pytest.raises(StackError, match=recorded["version"]):
        await choose(record, Console(StringIO()), ui=False)
    assert json.loads(record.read_text()) == recorded


async def test_a_newer_cli_takes_over_the_data_of_an_older_one(bare_machine: Path) -> None:
    install_cli(bare_machine, "1.33.0")
    record = bare_machine / "engine.json"
    record.write_text(json.dumps({"kind": "cli", "version": "1.32.0"}))
    await choose(record, Console(StringIO()), ui=False)
    assert json.loads(record.read_text())["version"] == "1.33.0"
