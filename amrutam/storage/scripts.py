"""Lua scripts in Redis, behind a breaker: whoever asks goes on without Redis while it is away."""

from collections.abc import Sequence
from typing import Any

from redis.commands.core import AsyncScript

from amrutam.storage.breaker import Breaker, redis_client

# Few, as those who ask much ask together.
CONNECTIONS = 8
# Longer than the cache waits: a limit that this process keeps alone is a weaker one.
ANSWER_SECONDS = 0.25


class Scripts:
    """Runs scripts, by their hash once the server knows them. It connects when the first is run."""

    def __init__(self, url: str) -> None:
        self._redis = redis_client(url, connections=CONNECTIONS, seconds=ANSWER_SECONDS)
        self._breaker = Breaker()
        self._known: dict[str, AsyncScript] = {}

    async def run(self, text: str, keys: Sequence[str], *arguments: bytes | str | float) -> Any:
        """The script's answer. Raises RedisAway, also where Redis is there and cannot serve."""
        script = self._known.get(text) or self._known.setdefault(text, self._redis.register_script(text))
        return await self._breaker.ask(lambda: script(keys=keys, args=arguments))

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
