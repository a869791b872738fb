"""What `make up` refuses, and how it meets Ctrl-C under make."""

import asyncio
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from amrutam.stack.applications import Demo
from amrutam.stack.errors import StackError
from amrutam.stack.ports import Ports

FOREGROUND = """
import signal
from amrutam.stack.foreground import own_foreground_group

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
with own_foreground_group():
    print("ready", flush=True)
    signal.sigwait([signal.SIGINT])
"""
# Runs its arguments with the terminal of its standard input as their own.
ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_demo_is_not_shown_beyond_this_machine_unless_that_is_said() -> None:
    with pytest.raises(StackError, match="AMRUTAM_DEMO_EXPOSE=yes"):
        Demo.from_environment({"HOST": "0.0.0.0"})  # noqa: S104 - the address that must be refused
    assert Demo.from_environment({"HOST": "0.0.0.0", "AMRUTAM_DEMO_EXPOSE": "yes"}).port == 8000  # noqa: S104 - as above


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "\u0668"])
def test_a_port_that_is_none_is_said_with_its_variable(text: str) -> None:
    with pytest.raises(StackError, match=f"POSTGRES_PORT={text} is not a port"):
        Ports.from_environment({"POSTGRES_PORT": text})


def read_until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 1024)


def make_on_a_terminal(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """`make up` there, and our end of its terminal."""
    terminal, inside = pty.openpty()
    make = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", ON_TERMINAL, "make", "-C", str(folder), "up"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(inside)
    return make, terminal


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
async def test_ctrl_c_on_a_terminal_ends_make_with_status_0(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FOREGROUND)
    (tmp_path / "Makefile").write_text(f"up:\n\t@{sys.executable} {tmp_path}/program.py\n")
    make, terminal = make_on_a_terminal(tmp_path)
    try:
        await asyncio.wait_for(asyncio.to_thread(read_until, terminal, b"ready"), 20)
        os.write(terminal, b"\x03")
        assert await asyncio.to_thread(make.wait, 20) == 0
    finally:
        make.kill()
        make.wait()
        os.close(terminal)
