"""The line: news that Redis tells every process, so that a process may remember what Redis holds and stay right.

Whoever changes what others remember publishes it in the very script that changes it. A process that listens hears it
some milliseconds later. It asks over the same connection, in turn with the news, whether the line still stands: while
an answer to a question that was asked less than `TRUSTED_SECONDS` ago has come, whatever was published before that
question has been heard. Otherwise the line is lost, and everything that was remembered by it is forgotten.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from amrutam.storage.breaker import SOCKET_SECONDS

CHANNEL = "amrutam.news"
# So often a process asks whether the line stands, in seconds.
ASK_SECONDS = 0.5
# And for so long after a question that was answered it relies on it. Memory is never staler than this.
TRUSTED_SECONDS = 2.0
# A line that was lost is tried again after this, in seconds.
RETRY_SECONDS = 0.5

Hear = Callable[[bytes], None]
"""Takes what follows the kind in a message."""
Forget = Callable[[], None]

log = structlog.get_logger()


class Line:
    """Listens from `start` to `close`. One never started does not stand, and nobody remembers by it."""

    def __init__(self, redis: Redis, *, ask_seconds: float = ASK_SECONDS, trusted: float = TRUSTED_SECONDS) -> None:
        self._redis = redis
        self._ask_seconds = ask_seconds
        self._trusted = trusted
        self._listeners: dict[bytes, tuple[Hear, Forget]] = {}
        self._trusted_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def listen(self, kind: str, hear: Hear, forget: Forget) -> None:
        """Call `hear` with each message of this kind, and `forget` when news may have been missed."""
        self._listeners[kind.encode()] = (hear, forget)

    @property
    def stands(self) -> bool:
        """Whether all that was published until `TRUSTED_SECONDS` ago has been heard."""
        return time.monotonic() < self._trusted_until

    def start(self) -> None:
        """Begin to listen. The line stands a moment later, or once Redis is there."""
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def _keep(self) -> None:
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(CHANNEL)
                await self._follow(pubsub)
            except (RedisError, OSError) as error:
                if self._trusted_until:
                    log.warning("line.lost", error=type(error).__name__)
            finally:
                self._lose()
                await _put_down(pubsub)
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, pubsub: PubSub) -> None:
        """Hear the news until the line is lost. Raises RedisError, OSError."""
        asked_at, answered, joined = time.monotonic(), False, False
        await pubsub.ping()
        while True:
            now = time.monotonic()
            if answered and now >= asked_at + self._ask_seconds:
                asked_at, answered = now, False
                await pubsub.ping()
            elif now >= asked_at + self._trusted:
                raise TimeoutError
            wait = asked_at + (self._ask_seconds if answered else self._trusted) - now
            message = cast("dict[str, Any] | None", await pubsub.get_message(timeout=max(wait, 0.01)))
            match message:
                case {"type": "pong"}:
                    if not self._trusted_until:
                        log.info("line.stands")
                    answered, self._trusted_until = True, asked_at + self._trusted
                case {"type": "message", "data": bytes(news)}:
                    self._tell(news)
                case {"type": "subscribe"} if joined:
                    raise RedisConnectionError("the client joined anew: news may have been missed meanwhile")
                case {"type": "subscribe"}:
                    joined = True
                case _:
                    continue

    def _tell(self, news: bytes) -> None:
        kind, _, rest = news.partition(b" ")
        if listener := self._listeners.get(kind):
            listener[0](rest)

    def _lose(self) -> None:
        self._trusted_until = 0.0
        for _, forget in self._listeners.values():
            forget()


async def _put_down(pubsub: PubSub) -> None:
    """Close what may be broken already, without waiting long for it."""
    try:
        async with asyncio.timeout(SOCKET_SECONDS):
            await pubsub.aclose()
    except (RedisError, OSError):  # TimeoutError is one
        return
