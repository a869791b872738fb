"""Load in three shapes, and what came of it."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Ask = Callable[[], Awaitable[str]]
"""Does one thing; answers how it ended, such as `201`."""


@dataclass
class Sample:
    """Latencies and the wall time in seconds, and how each request ended."""

    seconds: list[float] = field(default_factory=list[float])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    wall: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.seconds) / self.wall

    def percentile(self, share: float) -> float:
        """Of the latencies, in milliseconds: the smallest that at least this share does not exceed."""
        ordered = sorted(self.seconds)
        return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] * 1000

    async def timed(self, ask: Ask, began: float) -> None:
        """Ask once; the latency counts from `began`, on the performance counter."""
        outcome = await ask()
        self.seconds.append(time.perf_counter() - began)
        self.outcomes[outcome] += 1

    def add(self, other: "Sample") -> None:
        """Take another round of the same load in."""
        self.seconds += other.seconds
        self.outcomes += other.outcomes
        self.wall += other.wall


async def in_flight(ask: Ask, count: int, width: int) -> Sample:
    """`count` requests, `width` at any moment."""
    sample, left = Sample(), iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            await sample.timed(ask, time.perf_counter())

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(width)))
    sample.wall = time.perf_counter() - began
    return sample


async def open_loop(ask: Ask, rate: float, seconds: float) -> Sample:
    """`rate` a second, whatever becomes of those before; latency from the moment that was intended."""
    sample, began = Sample(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            group.create_task(sample.timed(ask, due))
    sample.wall = time.perf_counter() - began
    return sample
