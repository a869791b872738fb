"""Whether a request is admitted: one round trip that spends from its caller's quota and reads its session's marker.

Redis keeps the quotas, by its own clock. While it is away each process keeps them for itself, so that nobody finds an
open door; they start full, and the session's state is then unknown.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.limits import MILLISECOND, Decision, Quota, admit
from amrutam.storage.breaker import RedisAway
from amrutam.storage.scripts import Scripts
from amrutam.storage.together import Together
from amrutam.telemetry import LOCAL_LIMITS

# The key holds the moment at which everything that was spent is back. GCRA, as `amrutam.domain.limits.admit` has it.
ADMIT = f"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {{}}
for i = 1, #KEYS / 2 do
  local caller, session = KEYS[2 * i - 1], KEYS[2 * i]
  local cost, whole = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local marker = session ~= '' and redis.call('GET', session) or false
  local spent = math.min(math.max((tonumber(redis.call('GET', caller)) or now) - now, 0), whole)
  local wait = math.max(spent + cost - whole, 0)
  if wait == 0 then
    spent = spent + cost
    redis.call('SET', caller, string.format('%.0f', now + spent), 'PX', math.ceil(spent / {MILLISECOND}))
  end
  answers[i] = {{wait, spent, marker}}
end
return answers
"""
# So many callers are remembered by one process while Redis is away, about 2 MB of them.
MOST_LOCAL = 10_000


class Admission(NamedTuple):
    """`wait` µs until the same would be admitted, 0 when it is; `spent` µs until all is back; the session's marker."""

    wait: int
    spent: int
    marker: bytes | None


class _Spending(NamedTuple):
    """What one caller asks; both amounts as the time in which they come back, in µs."""

    key: str
    marker_key: str
    cost: int
    whole: int


class Admissions:
    """Quotas of callers by name, such as `user/<id>`."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._together = Together(self._ask)
        self._local: OrderedDict[str, int] = OrderedDict()

    async def admit(self, caller: str, weight: int, quota: Quota, session_id: UUID | str | None = None) -> Admission:
        """Spend `weight` units. The marker is None where there is none, and where it cannot be known."""
        interval = quota.interval
        cost, whole = weight * interval, quota.units * interval
        key = f"limit/{interval}/{caller}"  # what was spent of another quota says nothing of this one
        marker_key = f"session/{session_id}" if session_id else ""
        try:
            return await self._together.ask(_Spending(key, marker_key, cost, whole))
        except RedisAway:
            LOCAL_LIMITS.inc()
            return Admission(*self._locally(key, cost, whole), None)

    async def _ask(self, asked: Sequence[_Spending]) -> list[Admission]:
        """Those of one turn of the event loop by one call. Raises RedisAway."""
        keys = [key for each in asked for key in (each.key, each.marker_key)]
        numbers = [number for each in asked for number in (each.cost, each.whole)]
        return [Admission(*answer) for answer in await self._scripts.run(ADMIT, keys, *numbers)]

    def _locally(self, key: str, cost: int, whole: int) -> Decision:
        now = time.monotonic_ns() // 1000
        decision = admit(self._local.pop(key, now) - now, cost, whole)
        self._local[key] = now + decision.spent
        if len(self._local) > MOST_LOCAL:
            self._local.popitem(last=False)
        return decision
