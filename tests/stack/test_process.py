"""One supervised process, with small programs in the place of servers."""

import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from amrutam.stack.errors import StackError
from amrutam.stack.process import Process, Program, stop_leftovers

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def program(folder: Path, code: str, patience: float = 8) -> Program:
    return Program(
        name="Example",
        command=[sys.executable, "-c", code],
        log=folder / "example.log",
        pid_file=folder / "example.json",
        stop_signals=(signal.SIGTERM,),
        patience=patience,
    )


async def started(folder: Path, code: str, patience: float = 8) -> Process:
    process = Process(program(folder, code, patience))
    process.spawn()

    async def said_something() -> bool:
        return bool(process.program.log.read_text())

    await process.until(said_something, 10)
    return process


async def test_a_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    process = await started(tmp_path, STUBBORN, patience=0.1)
    await process.stop()
    assert process.exit_status == -signal.SIGKILL


async def test_a_process_that_ends_by_itself_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = Process(program(tmp_path, "raise SystemExit('out of paper')"))
    process.spawn()

    async def never() -> bool:
        return False

    with pytest.raises(StackError, match=r"(?s)Example ended by itself \(status 1\).*out of paper"):
        await process.until(never, 10)


async def test_what_an_earlier_run_logged_is_not_shown_as_the_reason(tmp_path: Path) -> None:
    (tmp_path / "example.log").write_text("an old misfortune\n")
    process = Process(program(tmp_path, "print('a new one')"))
    process.spawn()
    await process.finished(10)
    assert "a new one" in process.obituary()
    assert "an old misfortune" not in process.obituary()


async def test_a_left_over_process_is_known_again_and_stopped(tmp_path: Path) -> None:
    process = await started(tmp_path, SLEEP)
    assert await stop_leftovers(tmp_path) == ["Example"]
    assert process.exit_status == -signal.SIGTERM
    assert await stop_leftovers(tmp_path) == []


async def test_a_strangers_process_that_has_got_the_number_is_left_alone(tmp_path: Path) -> None:
    process = await started(tmp_path, SLEEP)
    note = json.loads((tmp_path / "example.json").read_text())
    (tmp_path / "example.json").write_text(json.dumps(note | {"started": note["started"] - 60}))
    assert await stop_leftovers(tmp_path) == []
    assert process.alive
    await process.stop()


async def test_a_kill_takes_the_children_too(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).wait()"
    process = await started(tmp_path, code)
    children = psutil.Process(process.pid).children()
    await process.kill()
    assert children
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
