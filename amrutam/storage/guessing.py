"""Failed guesses at a secret, counted in Redis by its own clock, and in this process while Redis is away.

A guess is counted before it is known whether it is right, so that many at once are many; a right one is taken back. A
guess that is not heard is not counted: nobody prolongs another's wait.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from amrutam.domain.limits import MILLISECOND, Guesses, Patience, guess, most_over, taken_back
from amrutam.storage.breaker import RedisAway
from amrutam.storage.scripts import Scripts
from amrutam.telemetry import LOCAL_LIMITS

# As `amrutam.domain.limits.guess` has it, for every counter or none. Answers the longest wait, 0 for what is counted.
TAKE = f"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found, wait = {{}}, 0
for i, key in ipairs(KEYS) do
  found[i] = redis.call('HMGET', key, 'failures', 'at', 'closed_until')
  wait = math.max(wait, tonumber(found[i][3] or 0) - now)
end
if wait > 0 then return wait end
for i, key in ipairs(KEYS) do
  local first_argument = (i - 1) * 5
  local allowance, forget = tonumber(ARGV[first_argument + 1]), tonumber(ARGV[first_argument + 2])
  local first, longest = tonumber(ARGV[first_argument + 3]), tonumber(ARGV[first_argument + 4])
  local most = tonumber(ARGV[first_argument + 5])
  local ago = math.max(0, now - tonumber(found[i][2] or now))
  local failures = math.max(0, tonumber(found[i][1] or 0) - ago / forget) + 1
  local over, delay = math.floor(failures - allowance + 0.5), 0
  if over >= 1 then delay = math.min(longest, first * 2 ^ math.min(over - 1, 40)) end
  failures = math.min(failures, allowance + most)
  redis.call('HSET', key, 'failures', string.format('%.9f', failures), 'at', string.format('%.0f', now),
    'closed_until', string.format('%.0f', now + delay))
  redis.call('PEXPIRE', key, math.ceil((failures * forget + delay) / {MILLISECOND}))
end
return 0
"""
# As `amrutam.domain.limits.taken_back` has it, or forgets the whole counter where its argument is 1.
SETTLE = """
for i, key in ipairs(KEYS) do
  if ARGV[i] == '1' then
    redis.call('DEL', key)
  else
    local failures = redis.call('HGET', key, 'failures')
    if failures then
      redis.call('HSET', key, 'failures', string.format('%.9f', math.max(0, failures - 1)), 'closed_until', 0)
    end
  end
end
return 0
"""
# So many counters are remembered by one process while Redis is away.
MOST_LOCAL = 10_000


class Counter(NamedTuple):
    """Where guesses of one kind are counted. `clears`: a right guess makes those before it forgotten."""

    name: str
    patience: Patience
    clears: bool


class Guessing:
    """Counts guesses."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._local: OrderedDict[str, Guesses] = OrderedDict()

    async def take(self, counters: Sequence[Counter]) -> int:
        """Count a guess everywhere. Answers 0, or the µs to wait until one is heard; then nothing is counted."""
        try:
            return await self._scripts.run(TAKE, _keys(counters), *_numbers(counters))
        except RedisAway:
            LOCAL_LIMITS.inc()
            return self._take_locally(counters)

    async def settle(self, counters: Sequence[Counter], *, right: bool) -> None:
        """Take the guess back: it was `right`, or nobody could tell."""
        clears = [int(right and counter.clears) for counter in counters]
        try:
            await self._scripts.run(SETTLE, _keys(counters), *clears)
        except RedisAway:
            self._settle_locally(counters, clears)

    def _take_locally(self, counters: Sequence[Counter]) -> int:
        now = time.monotonic_ns() // 1000
        found = [self._local.get(counter.name, Guesses()) for counter in counters]
        wait = max(guesses.closed_until - now for guesses in found)
        if wait > 0:
            return wait
        for counter, guesses in zip(counters, found, strict=True):
            self._local[counter.name] = guess(guesses, counter.patience, now)
            self._local.move_to_end(counter.name)
        while len(self._local) > MOST_LOCAL:
            self._local.popitem(last=False)
        return 0

    def _settle_locally(self, counters: Sequence[Counter], clears: Sequence[int]) -> None:
        for counter, cleared in zip(counters, clears, strict=True):
            guesses = self._local.pop(counter.name, None)
            if guesses and not cleared:
                self._local[counter.name] = taken_back(guesses)


def _keys(counters: Sequence[Counter]) -> list[str]:
    return [f"guesses/{counter.name}" for counter in counters]


def _numbers(counters: Sequence[Counter]) -> list[int]:
    return [
        number
        for counter in counters
        for number in (
            counter.patience.allowance,
            counter.patience.forget,
            counter.patience.first,
            counter.patience.longest,
            most_over(counter.patience),
        )
    ]
