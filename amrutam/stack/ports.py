"""Ports on 127.0.0.1: which ones are asked for, which are free, and who holds the others."""

import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import psutil

from amrutam.stack.errors import StackError

LOOPBACK = "127.0.0.1"
# Below the range that systems hand out for outgoing connections, so that a port found free stays free.
FREE_PORTS = range(20_000, 32_000)
# A part of them, as 20000-22999, for whoever starts servers beside others who do so at the same time: two who look in
# one range find the same free port now and then, before either has taken it.
SHARE = "AMRUTAM_FREE_PORTS"


_given = set[int]()


@dataclass(frozen=True)
class Ports:
    """The port of each server; 0 takes a free one."""

    postgres: int = 0
    valkey: int = 0
    temporal: int = 0
    temporal_ui: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Ports":
        """The ports of `make up`, each with its variable. Raises StackError for one that is no port."""
        return cls(
            postgres=port_of(environment, "POSTGRES_PORT", 15432),
            valkey=port_of(environment, "VALKEY_PORT", 16379),
            temporal=port_of(environment, "TEMPORAL_PORT", 7233),
            temporal_ui=port_of(environment, "TEMPORAL_UI_PORT", 8233),
        )


def port_of(environment: Mapping[str, str], variable: str, default: int) -> int:
    """The port that a variable names. Raises StackError when it is not a number from 1 to 65535."""
    text = environment.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise StackError(f"{variable}={text} is not a port: set it to a number from 1 to 65535.")
    return int(text)


def share_of_free_ports(number: int, of: int) -> str:
    """The `number`-th, from 0, of so many equal parts of them, as the variable `SHARE` takes it."""
    size = len(FREE_PORTS) // of
    first = FREE_PORTS.start + number * size
    return f"{first}-{first + size - 1}"


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and that this process was not given before.

    Whoever was given one may not listen yet: a Temporal server takes eight before it begins. Raises StackError when
    none is found.
    """
    share = os.environ.get(SHARE) or share_of_free_ports(0, of=1)
    first, _, last = share.partition("-")
    candidates = range(int(first), int(last) + 1)
    for port in random.sample(candidates, k=len(candidates)):
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise StackError(f"No free port was found in {share} on 127.0.0.1.")


def is_free(port: int) -> bool:
    """Whether a server could listen here now."""
    with socket.socket() as probe:
        # As servers do, so that connections which are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def is_open(port: int) -> bool:
    """Whether somebody answers here."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


async def answers_ok(url: str) -> bool:
    """Whether this address answers 200."""
    return await status_of(url) == httpx.codes.OK.value


async def status_of(url: str) -> int | None:
    """The HTTP status that this address answers with; None when it does not answer."""
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            return (await client.get(url)).status_code
    except httpx.HTTPError:
        return None


@dataclass(frozen=True)
class Wanted:
    """Which part wants which port, and the variable that chooses another one."""

    part: str
    variable: str
    port: int


def require_free(part: str, variable: str, port: int) -> int:
    """The port itself. Raises StackError that names part, variable and, where it can be seen, the holder."""
    if is_free(port):
        return port
    raise StackError(
        f"Port {port} is taken{_holder(port)}, and {part} wants it. "
        f"Stop that program, or choose another port: {variable}={port + 1000} make up"
    )


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
        holders = (c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port)
        pid = next(holders, None)
        return f" by {psutil.Process(pid).name()} (process {pid})" if pid else ""
    except psutil.Error:
        return ""  # other people's processes cannot be seen without their rights
