"""Joins what is asked in one turn of the event loop into one call, as a busy process asks much the same all the time.

Nobody waits for others to come: the call leaves at the end of the turn, and nothing that is asked later joins it. So an
answer is never older than its question.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

MOST = 64


class Together(Generic[Question, Answer]):
    """Asks by `call`, which answers each question in its place. More than `most` at once are several calls."""

    def __init__(self, call: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, most: int = MOST) -> None:
        self._call = call
        self._most = most
        self._asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question) -> Answer:
        """The answer. Raises what the call raises. Who gives up waiting does not disturb the others."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._asked.append((question, future))
        if len(self._asked) == 1:
            loop.call_soon(self._leave)
        return await future

    def _leave(self) -> None:
        asked, self._asked = self._asked, []
        for start in range(0, len(asked), self._most):
            call = asyncio.create_task(self._answer(asked[start : start + self._most]))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _answer(self, asked: Sequence[tuple[Question, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._call([question for question, _ in asked])
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(asked, answers, strict=True):
            if not future.done():
                future.set_result(answer)
