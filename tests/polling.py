"""Waiting for a state, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], seconds: float = 40) -> T:
    """What `look` finds, as soon as it finds something. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing after {seconds} s, last seen: {found!r}")
        await asyncio.sleep(0.05)
