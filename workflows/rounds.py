"""Asking many bookings, so that one that cannot answer keeps none of the others waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

T = TypeVar("T")

# So many bookings are asked at once.
AT_ONCE = 10
# Between two rounds, while somebody did not answer: doubled each time.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)


async def ask_all(asks: Mapping[UUID, Callable[[], Awaitable[T]]]) -> dict[UUID, T]:
    """What each one answered. Those that did not within their policy's time are left out, to be asked again."""
    gate = asyncio.Semaphore(AT_ONCE)
    answers: dict[UUID, T] = {}

    async def one(booking_id: UUID, ask: Callable[[], Awaitable[T]]) -> None:
        async with gate:
            try:
                answers[booking_id] = await ask()
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                workflow.logger.warning("booking %s does not answer", booking_id)

    await asyncio.gather(*(one(booking_id, ask) for booking_id, ask in asks.items()))
    return answers


def longer(pause: timedelta) -> timedelta:
    """The pause after this one."""
    return min(2 * pause, LONGEST_PAUSE)
