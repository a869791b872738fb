"""Whether a request is admitted: at most one round trip, that spends from its caller's quota and reads its session's
marker.

Redis keeps the quotas, by its own clock. Who asks often is lent some units ahead: they are spent in Redis at once, used
here without asking, and what is left of them a second later is given back with the next question. So no more is ever
admitted than the quota has, and while a process holds units the others see them as spent. Little is lent of what is
nearly used up. While Redis is away each process keeps the quotas for itself, so that nobody finds an open door; they
start full, and the session's state is then unknown.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.limits import MILLISECOND, SECOND, Decision, Quota, admit
from amrutam.storage.breaker import RedisAway
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_memory import SessionMemory
from amrutam.storage.together import Together
from amrutam.telemetry import LOCAL_LIMITS

# The key holds the moment at which everything that was spent is back. GCRA, as `amrutam.domain.limits.admit` has it.
# What is lent is whole units, at most a quarter of what is left.
ADMIT = f"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {{}}
for i = 1, #KEYS / 2 do
  local caller, session, at = KEYS[2 * i - 1], KEYS[2 * i], 5 * (i - 1)
  local cost, wish, back = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local whole, interval = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local marker = session ~= '' and redis.call('GET', session) or false
  local spent = math.min(math.max((tonumber(redis.call('GET', caller)) or now) - now, 0), whole)
  spent = math.max(spent - back, 0)
  local wait, lent = math.max(spent + cost - whole, 0), 0
  if wait == 0 then
    lent = math.min(wish, math.floor((whole - spent - cost) / 4))
    lent = lent - lent % interval
    spent = spent + cost + lent
  end
  if spent > 0 then
    redis.call('SET', caller, string.format('%.0f', now + spent), 'PX', math.ceil(spent / {MILLISECOND}))
  elseif back > 0 then
    redis.call('DEL', caller)
  end
  answers[i] = {{wait, spent, lent, marker}}
end
return answers
"""
# So many callers are remembered by one process while Redis is away, about 2 MB of them; and so many that are lent to.
MOST_LOCAL = 10_000
# Units are lent for this long, in seconds, and only to who came back within it.
LENT_SECONDS = 1.0
MOST_LENT = 200


class Admission(NamedTuple):
    """`wait` µs until the same would be admitted, 0 when it is; `spent` µs until all is back; the session's marker."""

    wait: int
    spent: int
    marker: bytes | None


class _Spending(NamedTuple):
    """What one caller asks; amounts as the time in which they come back, in µs."""

    key: str
    marker_key: str
    cost: int
    wish: int
    back: int
    whole: int
    interval: int


class _Answer(NamedTuple):
    wait: int
    spent: int
    lent: int
    marker: bytes | None


class _Account:
    """What this process holds for a caller: units lent until `until`, out of `spent` µs that were spent at `at`."""

    __slots__ = ("asking", "at", "left", "size", "spent", "until")

    def __init__(self) -> None:
        self.left = self.spent = self.size = 0
        self.at = self.until = 0.0
        self.asking = False

    def use(self, weight: int, interval: int, now: float) -> int | None:
        """The time in µs until all is back, when the units are here; None when they must be asked for."""
        if self.left < weight or now >= self.until:
            return None
        self.left -= weight
        return max(self.spent - int((now - self.at) * SECOND) - self.left * interval, weight * interval)

    def wish(self, now: float) -> int:
        """How many units to ask for ahead: twice as many each time, of who comes again soon."""
        self.size = min(max(self.size * 2, 1), MOST_LENT) if now - self.at < LENT_SECONDS else 0
        return self.size

    def take_back(self) -> int:
        """The units that were not used, which go back."""
        back, self.left = self.left, 0
        return back

    def lend(self, units: int, spent: int, now: float) -> None:
        """Hold what was lent."""
        self.left, self.spent = self.left + units, spent
        self.at, self.until = now, now + LENT_SECONDS


class Admissions:
    """Quotas of callers by name, such as `user/<id>`."""

    def __init__(self, scripts: Scripts, sessions: SessionMemory) -> None:
        self._scripts = scripts
        self._sessions = sessions
        self._together = Together(self._ask)
        self._accounts: OrderedDict[tuple[str, int], _Account] = OrderedDict()
        self._local: OrderedDict[str, int] = OrderedDict()

    async def admit(self, caller: str, weight: int, quota: Quota, session_id: UUID | None = None) -> Admission:
        """Spend `weight` units. The marker is None where there is none, and where it cannot be known."""
        interval, now = quota.interval, time.monotonic()
        account = self._account(caller, interval)
        marker = self._sessions.find(session_id) if session_id else None
        if session_id is None or marker:
            spent = account.use(weight, interval, now)
            if spent is not None:
                return Admission(0, spent, marker)
        wait, spent, read = await self._admit_by_redis(caller, account, weight, quota, None if marker else session_id)
        return Admission(wait, spent, marker or read)

    async def _admit_by_redis(
        self, caller: str, account: _Account, weight: int, quota: Quota, session_id: UUID | None
    ) -> Admission:
        interval, whole = quota.interval, quota.units * quota.interval
        now, leads = time.monotonic(), not account.asking
        # What was spent of another quota says nothing of this one.
        key, marker_key = f"limit/{interval}/{caller}", f"session/{session_id}" if session_id else ""
        wish, back = (account.wish(now), account.take_back()) if leads else (0, 0)
        ticket = self._sessions.ticket
        spending = _Spending(key, marker_key, weight * interval, wish * interval, back * interval, whole, interval)
        account.asking = True
        try:
            wait, spent, lent, marker = await self._together.ask(spending)
        except RedisAway:
            LOCAL_LIMITS.inc()
            return Admission(*self._locally(key, weight * interval, whole), None)
        finally:
            if leads:
                account.asking = False
        if leads:
            account.lend(lent // interval, spent, time.monotonic())
        if session_id and marker:
            self._sessions.keep(session_id, marker, ticket)
        return Admission(wait, max(spent - account.left * interval, 0), marker)

    async def _ask(self, asked: Sequence[_Spending]) -> list[_Answer]:
        """Those of one turn of the event loop by one call. Raises RedisAway."""
        keys = [key for each in asked for key in (each.key, each.marker_key)]
        numbers = [number for each in asked for number in each[2:]]
        return [_Answer(*answer) for answer in await self._scripts.run(ADMIT, keys, *numbers)]

    def _account(self, caller: str, interval: int) -> _Account:
        place = (caller, interval)
        account = self._accounts.get(place)
        if account is None:
            account = self._accounts[place] = _Account()
            if len(self._accounts) > MOST_LOCAL:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(place)
        return account

    def _locally(self, key: str, cost: int, whole: int) -> Decision:
        now = time.monotonic_ns() // 1000
        decision = admit(self._local.pop(key, now) - now, cost, whole)
        self._local[key] = now + decision.spent
        if len(self._local) > MOST_LOCAL:
            self._local.popitem(last=False)
        return decision
