"""Whoever has written reads what they wrote: an answer to a write carries the primary's log position, as a token.

The client sends it back, as the header it came in or as the cookie, for as long as caches, memories and replicas may be
behind. What is older than that position is not served to it. Nobody can make a token: a position from the future would
have every read go to the primary.
"""

import asyncio
import base64
import binascii
import hmac
import re
import time
from collections.abc import Iterator
from typing import cast

import asyncpg
from sanic import HTTPResponse, Request

from amrutam.crypto import Keyring
from amrutam.storage.pool import DatabaseUnavailable
from web.context import Call
from web.parsing import header

HEADER = "X-Consistency-Token"
COOKIE = "amrutam_consistency"
# Where the token is given, and where a browser sends it: pages show nothing that may be behind.
SCOPE = "/v1"
# Over the longest that a cached answer, a memory or a replica that may be read is behind, in seconds.
LIFE = 60
# The write is done by then: its answer waits no longer for the token, in seconds.
TELL_SECONDS = 0.5

_POSITION = 8
_EXPIRY = 5
_MARK = 16
_TOKEN = re.compile(r"[A-Za-z0-9_-]{39}")  # 29 bytes as url-safe base64, without padding
_IN_COOKIES = re.compile(rf"(?:^|;\s*){COOKIE}=({_TOKEN.pattern})(?:;|$)")


def token(keyring: Keyring, position: int, now: float) -> str:
    """What says that its bearer knows the database up to `position`."""
    said = position.to_bytes(_POSITION) + int(now + LIFE).to_bytes(_EXPIRY)
    return base64.urlsafe_b64encode(said + _mark(keyring, said)).rstrip(b"=").decode("ascii")


def position_of(keyring: Keyring, given: str, now: float) -> int:
    """The position that a token tells; 0 for one that is not ours, or too old."""
    if not _TOKEN.fullmatch(given):
        return 0
    try:
        raw = base64.b64decode(given + "=", altchars=b"-_", validate=True)
    except binascii.Error:
        return 0
    said, mark = raw[:-_MARK], raw[-_MARK:]
    if not hmac.compare_digest(mark, _mark(keyring, said)) or int.from_bytes(said[_POSITION:]) < now:
        return 0
    return int.from_bytes(said[:_POSITION])


def at_least(call: Call) -> int:
    """The log position that this caller must be served from, at the least; 0 where they have not written lately."""
    keyring, now = call.services.keyring, time.time()
    return max((position_of(keyring, given, now) for given in _given(call.request)), default=0)


async def tell(call: Call, response: HTTPResponse) -> None:
    """Give the answer to a write its token. An answer is worth more than its token: without the primary it has none."""
    try:
        async with asyncio.timeout(TELL_SECONDS):
            position = await call.services.nodes.position()
    except (DatabaseUnavailable, asyncpg.PostgresError, TimeoutError):
        return
    given = token(call.services.keyring, position, time.time())
    secure = "; Secure" if call.services.settings.public_url.startswith("https://") else ""
    cookie = f"{COOKIE}={given}; Path={SCOPE}; Max-Age={LIFE}; HttpOnly; SameSite=Strict{secure}"
    response.headers.add(HEADER, given)
    response.headers.add("Set-Cookie", cookie)


def _given(request: Request) -> Iterator[str]:
    if given := header(request, HEADER):
        yield given
    for cookies in cast("list[str]", request.headers.getall("cookie", [])):
        if found := _IN_COOKIES.search(cookies):
            yield found[1]


def _mark(keyring: Keyring, said: bytes) -> bytes:
    return keyring.mark("consistency", said)[:_MARK]
