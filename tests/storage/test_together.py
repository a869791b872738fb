"""What is asked in one turn of the event loop leaves as one call."""

import asyncio
from collections.abc import Sequence

import pytest

from amrutam.storage.together import Together


class Oracle:
    """Doubles numbers; remembers what it was asked together."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.left: asyncio.Queue[None] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.calls.append(list(questions))
        self.left.put_nowait(None)
        await self.open.wait()
        if 13 in questions:
            raise LookupError(13)
        return [2 * question for question in questions]


async def test_what_is_asked_in_one_turn_is_one_call_and_each_gets_its_own_answer() -> None:
    oracle = Oracle()
    together = Together(oracle)
    assert await asyncio.gather(*(together.ask(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert oracle.calls == [[0, 1, 2, 3, 4]]


async def test_more_than_the_most_are_several_calls() -> None:
    oracle = Oracle()
    together = Together(oracle, most=2)
    assert await asyncio.gather(*(together.ask(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert sorted(oracle.calls) == [[0, 1], [2, 3], [4]]


async def test_nobody_joins_a_call_that_has_left() -> None:
    oracle = Oracle()
    oracle.open.clear()
    together = Together(oracle)
    early = asyncio.create_task(together.ask(1))
    await oracle.left.get()
    late = asyncio.create_task(together.ask(1))
    await oracle.left.get()
    oracle.open.set()
    assert (await early, await late) == (2, 2)
    assert oracle.calls == [[1], [1]]


async def test_a_failure_is_everyones_who_asked_in_that_call_and_nobody_elses() -> None:
    together = Together(Oracle())
    answers = await asyncio.gather(together.ask(13), together.ask(1), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LookupError, LookupError]
    assert await together.ask(1) == 2


async def test_who_gives_up_waiting_does_not_disturb_the_others() -> None:
    oracle = Oracle()
    oracle.open.clear()
    together = Together(oracle)
    leaving, staying = (asyncio.create_task(together.ask(number)) for number in (1, 2))
    await oracle.left.get()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    oracle.open.set()
    assert await staying == 4
