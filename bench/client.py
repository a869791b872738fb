"""HTTP/1.1 over kept-alive sockets, with next to no cost of its own: a generator must not take the time it measures."""

import asyncio
import json
from collections.abc import Mapping
from typing import NamedTuple

from amrutam.stack.ports import LOOPBACK

ANSWER_SECONDS = 30.0


class Reply(NamedTuple):
    """Status and body."""

    status: int
    body: bytes


class Api:
    """Requests to one port of loopback. Each open request has a socket of its own; idle ones are kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, count: int) -> None:
        """Keep at least so many sockets open and idle."""
        while len(self._idle) < count:
            self._idle.append(await asyncio.open_connection(LOOPBACK, self._port))

    async def get(self, path: str) -> Reply:
        """Raises OSError, TimeoutError or EOFError where no whole answer comes."""
        return await self._send(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())

    async def post(self, path: str, headers: Mapping[str, str], body: object) -> Reply:
        """Send `body` as JSON. Raises as `get` does."""
        content = json.dumps(body).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\n{lines}"
        return await self._send(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    async def close(self) -> None:
        """Close what is open."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """An idle socket that the server has not closed meanwhile, as it does after a while."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _send(self, request: bytes) -> Reply:
        reader, writer = self._kept() or await asyncio.open_connection(LOOPBACK, self._port)
        try:
            writer.write(request)
            async with asyncio.timeout(ANSWER_SECONDS):
                reply = await _read(reader)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return reply


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
    return Reply(int(head[9:12]), await reader.readexactly(length))
