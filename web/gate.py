"""One at a time for the same thing, within this process, so that a storm meets what its first request has done."""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

# Longer than a booking takes, also where the machine is crowded: there, what a storm asks of Temporal is worst. Past it
# the wait is worth less than the try.
WAIT_SECONDS = 3.0


class Gate:
    """`async with gate(key):`. Shortens a queue and protects nothing: who has waited for long goes on regardless."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def __call__(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Be the only one with this key, if that can be had soon."""
        lock = self._locks.setdefault(key, asyncio.Lock())  # kept alive by those who hold or wait
        held = True
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await lock.acquire()
        except TimeoutError:
            held = False
        try:
            yield
        finally:
            if held:
                lock.release()
