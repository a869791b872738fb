"""A lock in Redis that shortens the queue in front of a busy doctor. It protects nothing: the claims' constraint does.

SET NX PX with a random token; released by Lua, only by its owner. The wait is bounded, and then the work goes on
without the lock. Redis away: the same, at once.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from amrutam.telemetry import LOCK_SECONDS

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
# Longer than a transaction may last, so that a lock outlives its work, and a dead owner delays others by little.
LIFE_MS = 7_000
# Past this the database's own queue is the better place to wait.
WAIT_SECONDS = 0.5

log = structlog.get_logger()


class Lock:
    """Locks by name: `async with lock("doctor/…"):`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._release = redis.register_script(_RELEASE)

    @asynccontextmanager
    async def __call__(self, name: str) -> AsyncGenerator[bool, None]:
        """Hold `lock/<name>` for the block if it can be had soon; yields whether it was."""
        key, token = f"lock/{name}", secrets.token_hex(16)
        started = time.perf_counter()
        held = await self._take(key, token)
        LOCK_SECONDS.labels("held" if held else "without").observe(time.perf_counter() - started)
        try:
            yield held
        finally:
            if held:
                await self._give_back(key, token)

    async def _take(self, key: str, token: str) -> bool:
        deadline = time.monotonic() + WAIT_SECONDS
        pause = 0.002
        try:
            while not await self._redis.set(key, token, nx=True, px=LIFE_MS):
                if time.monotonic() + pause > deadline:
                    return False
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads waiters, guards nothing
                pause = min(pause * 2, 0.05)
        except (RedisError, OSError) as error:
            log.warning("lock.redis_away", error=type(error).__name__)
            return False
        return True

    async def _give_back(self, key: str, token: str) -> None:
        try:
            await self._release(keys=[key], args=[token])
        except (RedisError, OSError) as error:
            log.warning("lock.not_released", error=type(error).__name__, expires_in_ms=LIFE_MS)
