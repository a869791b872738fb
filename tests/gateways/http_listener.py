"""A small HTTP server that hears requests and answers each as it is told, or not at all."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

from amrutam.stack.ports import LOOPBACK, free_port


class Heard(NamedTuple):
    """A request, and the moment at which it was whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        """Its body."""
        return json.loads(self.body)


class Answer(NamedTuple):
    """What a request is answered with. `location` goes with a redirect."""

    status: int = 200
    body: bytes = b"{}"
    location: str = ""


class Listener:
    """On one port of loopback, there or not. `answers` are given first, one after another, then `answer`.

    With `silent` set, requests are heard and never answered.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[Heard] = []
        self.answers: list[Answer] = []
        self.answer = Answer()
        self.silent = False
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://{LOOPBACK}:{self.port}"

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, reuse_address=True)

    async def close(self) -> None:
        """Be gone; the port stays ours."""
        if self._server:
            self._server.close()
        self._server = None

    def events(self, reference: str) -> list[dict[str, Any]]:
        """What was told of an order, in the order in which it came."""
        return [each.event for each in self.heard if each.body and each.event["reference"] == reference]

    def kinds(self, reference: str) -> list[str]:
        """The types of these."""
        return [event["type"] for event in self.events(reference)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heard.append(await read_request(reader))
            if self.silent:
                await reader.read()  # until the other side has had enough
                return
            status, body, location = self.answers.pop(0) if self.answers else self.answer
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}"]
            lines += [f"Location: {location}"] if location else []
            writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Heard:
    """One whole request. Raises asyncio.IncompleteReadError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(method, path, headers, body, time.monotonic())


@asynccontextmanager
async def listening() -> AsyncGenerator[Listener]:
    """One that is there."""
    listener = Listener()
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def losing_answers(upstream: int) -> AsyncGenerator[str]:
    """The address of somebody who passes requests on to a port, and keeps every answer to himself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_request(reader)
        there, back = await asyncio.open_connection(LOOPBACK, upstream)
        lines = [
            f"{asked.method} {asked.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in asked.headers.items()),
        ]
        back.write("\r\n".join([*lines, "", ""]).encode() + asked.body)
        await there.readuntil(b"\r\n\r\n")
        back.close()
        writer.transport.abort()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
