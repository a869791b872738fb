"""As much of S3's protocol as the gateway speaks, over real HTTP: objects by key, listings by page, signed requests.

It refuses what is not signed by `ACCESS`, and can be told to fail.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

BUCKET, REGION, ACCESS, HIDDEN = "papers", "ap-south-1", "access", "hidden"
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=(\S+?)/(.+?), SignedHeaders=(\S+?), Signature=([0-9a-f]{64})")


class Object(NamedTuple):
    """What lies under a key."""

    content: bytes
    content_type: str
    modified: datetime


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class S3Server:
    """The store's state."""

    url: str = ""
    objects: dict[str, Object] = field(default_factory=dict[str, Object])
    fails: int = 0  # so many of the next requests meet an error of the server's
    page: int = 2  # objects of one answer of a listing
    asked: list[str] = field(default_factory=list[str])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while asked := await _read(reader):
                self.asked.append(asked.method)
                status, headers, body = self._answer(asked)
                lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, asked: Asked) -> tuple[HTTPStatus, dict[str, str], bytes]:
        if self.fails:
            self.fails -= 1
            return HTTPStatus.SERVICE_UNAVAILABLE, {}, b"<Error><Code>SlowDown</Code></Error>"
        if not _is_signed(asked):
            return HTTPStatus.FORBIDDEN, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        return self._done(asked)

    def _done(self, asked: Asked) -> tuple[HTTPStatus, dict[str, str], bytes]:
        key = unquote(asked.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        match asked.method:
            case "GET" if not key:
                return HTTPStatus.OK, {"Content-Type": "application/xml"}, self._listing(dict(parse_qsl(asked.query)))
            case "PUT":
                kind = asked.headers.get("content-type", "binary/octet-stream")
                self.objects[key] = Object(asked.body, kind, datetime.now(UTC))
                return HTTPStatus.OK, {"ETag": _tag(asked.body)}, b""
            case "DELETE":
                self.objects.pop(key, None)
                return HTTPStatus.NO_CONTENT, {}, b""
            case _ if key in self.objects:
                found = self.objects[key]
                modified = found.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
                headers = {"ETag": _tag(found.content), "Content-Type": found.content_type, "Last-Modified": modified}
                return HTTPStatus.OK, headers, found.content
            case _:
                return HTTPStatus.NOT_FOUND, {}, b"<Error><Code>NoSuchKey</Code></Error>"

    def _listing(self, query: dict[str, str]) -> bytes:
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")) and key > after)
        shown = keys[: self.page]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key].content)}</Size>"
            f"<LastModified>{self.objects[key].modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for key in shown
        )
        more = f"<NextContinuationToken>{shown[-1]}</NextContinuationToken>" if len(shown) < len(keys) else ""
        truncated = str(bool(more)).lower()
        return f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{items}</ListBucketResult>".encode()


@asynccontextmanager
async def s3_server() -> AsyncGenerator[S3Server]:
    """A running store with one empty bucket."""
    store = S3Server()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield store


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    path, _, query = target.partition("?")
    return Asked(method, path, query, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _is_signed(asked: Asked) -> bool:
    """AWS Signature Version 4, as its documentation has it."""
    found = _SIGNED.fullmatch(asked.headers.get("authorization", ""))
    payload = asked.headers.get("x-amz-content-sha256", "")
    if not found or found[1] != ACCESS or payload not in {hashlib.sha256(asked.body).hexdigest(), "UNSIGNED-PAYLOAD"}:
        return False
    names = found[3].split(";")
    pairs = sorted(parse_qsl(asked.query, keep_blank_values=True))
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    canonical = [asked.method, asked.path, query, *(f"{name}:{asked.headers[name]}" for name in names)]
    digest = hashlib.sha256("\n".join([*canonical, "", found[3], payload]).encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", asked.headers["x-amz-date"], found[2], digest])
    key = f"AWS4{HIDDEN}".encode()
    for part in found[2].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), found[4])


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
