"""Redis may be away, and nothing here waits for it: every use of it has another way."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")

# While Redis is away one call in this time, in seconds, finds out whether it is back.
RETRY_SECONDS = 1.0
# So many answers in a row that do not come in time mean that it is away.
SLOW_ANSWERS = 3
# Longer means that Redis is not worth the wait, in seconds: whoever asks can go on without it sooner.
SOCKET_SECONDS = 0.1

# For `Redis.from_url`: short waits; once more, at once, where a kept connection turns out to be closed.
CONNECTION: dict[str, Any] = {
    "socket_timeout": SOCKET_SECONDS,
    "socket_connect_timeout": SOCKET_SECONDS,
    "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
}

# So many connections of one client. Whoever finds none waits for one; a storm is not Redis being away.
MOST_CONNECTIONS = 32

log = structlog.get_logger()


class RedisAway(Exception):
    """Redis does not answer, or did not a moment ago."""


def redis_client(url: str, *, connections: int = MOST_CONNECTIONS, seconds: float = SOCKET_SECONDS) -> Redis:
    """A client that connects when it is used, and waits no longer than `seconds` for an answer."""
    brief = CONNECTION | {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    pool = BlockingConnectionPool.from_url(url, max_connections=connections, timeout=1, **brief)
    return Redis.from_pool(pool)  # which it closes


class Breaker:
    """Remembers that Redis is away, so that it costs one call a second, and one line in the log."""

    def __init__(self) -> None:
        self._open = False
        self._retry_at = 0.0
        self._slow_answers = 0

    async def ask(self, command: Callable[[], Awaitable[T]]) -> T:
        """Raises RedisAway; at once, while the breaker is open."""
        if not self._lets_pass():
            raise RedisAway
        try:
            answer = await command()
        except (RedisError, OSError) as error:
            self._note_failure(error)
            raise RedisAway from error
        self._note_answer()
        return answer

    def _lets_pass(self) -> bool:
        """While Redis is away one caller at a time finds out."""
        if not self._open:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_SECONDS
        return True

    def _note_failure(self, error: Exception) -> None:
        """Stop asking. One slow answer is not enough: without Redis a busy process would get busier still."""
        self._slow_answers += 1
        if isinstance(error, RedisTimeoutError) and self._slow_answers < SLOW_ANSWERS:
            return
        if not self._open:
            log.warning("redis.away", error=type(error).__name__)
        self._open, self._retry_at = True, time.monotonic() + RETRY_SECONDS

    def _note_answer(self) -> None:
        if self._open:
            log.info("redis.back")
        self._open, self._slow_answers = False, 0
