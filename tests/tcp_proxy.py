"""A TCP proxy before a part, so that a test can make its network slow, silent or broken. Chance comes from a seed."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import Enum

from amrutam.stack.ports import LOOPBACK, free_port

_CHUNK = 64 * 1024


class Behaviour(Enum):
    """What becomes of connections, the old and the new ones."""

    OPEN = "what comes goes on"
    DELAY = "what comes goes on later, in its order"
    REFUSE = "nobody listens, and who is connected is cut off"
    HANG = "connections are accepted, and nothing moves on them"
    CUT = "a connection breaks in the middle of what comes next"


class TcpProxy:
    """Listens on `port` of loopback and passes on to another port there, as `behaviour` says.

    `broken` counts the connections that CUT has broken.
    """

    def __init__(self, upstream: int, seed: int) -> None:
        self.port = free_port()
        self.behaviour = Behaviour.OPEN
        self.broken = 0
        self._upstream = upstream
        self._random = random.Random(seed)  # noqa: S311 - a repeatable fault
        self._seconds = 0.0
        self._moving = asyncio.Event()
        self._moving.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def turn(self, behaviour: Behaviour, seconds: float = 0) -> None:
        """Behave so from now on; with DELAY, about `seconds` in each direction."""
        self.behaviour, self._seconds = behaviour, seconds
        (self._moving.clear if behaviour is Behaviour.HANG else self._moving.set)()
        if behaviour is Behaviour.REFUSE:
            self._stop_listening()
            self._cut(*self._open)
        elif self._server is None:
            self._server = await asyncio.start_server(self._accepted, LOOPBACK, self.port, reuse_address=True)

    async def close(self) -> None:
        """Stop, and end every connection."""
        self._stop_listening()
        self._cut(*self._open)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stop_listening(self) -> None:
        if self._server:
            self._server.close()
        self._server = None

    def _cut(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            writer.transport.abort()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._moving.wait()
            there, back = await asyncio.open_connection(LOOPBACK, self._upstream)
        except OSError:
            self._cut(writer)
            self._open.discard(writer)
            return
        self._open.add(back)
        pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._cut(writer, back)
            self._open -= {writer, back}
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one side ends."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            delivering = group.create_task(self._deliver(late, writer))
            while data := await reader.read(_CHUNK):
                late.put_nowait((asyncio.get_running_loop().time() + self._lateness(), data))
            delivering.cancel()

    def _lateness(self) -> float:
        return self._seconds * self._random.uniform(0.8, 1.2) if self.behaviour is Behaviour.DELAY else 0

    async def _deliver(self, late: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        """Each piece when it is due. Raises ConnectionError when the connection is to break."""
        while True:
            due, data = await late.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._moving.wait()
            if self.behaviour is Behaviour.CUT:
                writer.write(data[: self._random.randrange(len(data))])
                await writer.drain()
                self.broken += 1
                raise ConnectionAbortedError
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy_to(
    upstream: int, seed: int = 0, behaviour: Behaviour = Behaviour.OPEN
) -> AsyncGenerator[TcpProxy, None]:
    """A proxy that listens."""
    proxy = TcpProxy(upstream, seed)
    await proxy.turn(behaviour)
    try:
        yield proxy
    finally:
        await proxy.close()
