"""Bookings over HTTP beside the least that Temporal could do durably, the storm, and what each booking costs."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from amrutam.ids import new_id
from bench import bare
from bench.client import Api
from bench.load import Ask, Sample, in_flight, open_loop
from bench.people import People, Wish
from bench.plan import OPEN_RATE, WIDTH, Plan
from bench.report import Bound, Report, Row
from bench.system import System
from bench.usage import BARE_WORKER, commits, cpu, spent

BARE = "bare update-with-start"
PARALLEL = Bound(least_ratio=0.6)
OPEN = Bound(most=100)
BOOKED = "201"
HISTORIES = 20
# Whose processor time stands beside whose. The API has no counterpart: the bare client is the generator itself.
COUNTERPARTS = {"Worker": BARE_WORKER, "API": None}


class Pair(NamedTuple):
    """The same load on both."""

    ours: Sample
    limit: Sample


class Booker:
    """Books one wish after another."""

    def __init__(self, api: Api, wishes: Iterator[Wish]) -> None:
        self._api = api
        self._wishes = wishes
        self.booked: list[str] = []

    async def __call__(self) -> str:
        """Book the next; the status."""
        return await self.book(next(self._wishes))

    async def book(self, wish: Wish) -> str:
        """Book this; the status, with the code of a refusal."""
        headers = {"Authorization": f"Bearer {wish.token}", "Idempotency-Key": str(new_id())}
        body = {"doctor_id": str(wish.doctor_id), "starts_at": wish.starts_at.isoformat(), "mode": "video"}
        reply = await self._api.post("/v1/bookings", headers, body)
        if str(reply.status) == BOOKED:
            self.booked.append(json.loads(reply.body)["id"])
            return BOOKED
        return f"{reply.status} {json.loads(reply.body).get('code', '')}".strip()


async def measure(system: System, people: People, plan: Plan, report: Report) -> None:
    """All of it, in rounds of limit and bookings, so that a busy moment of the machine hits both."""
    api = Api(system.api_port)
    await api.open(WIDTH)
    booker = Booker(api, await people.wishes(plan.doctors))

    async def limit() -> str:
        await bare.ask(system.bare)
        return BOOKED

    await in_flight(limit, plan.warm_bookings, WIDTH)
    await in_flight(booker, plan.warm_bookings, WIDTH)
    await _one_at_a_time(booker, limit, plan, report)
    await _parallel(system, booker, limit, plan, report)
    if plan.settle_seconds:
        limits = await _commits(system, limit, plan)
        for name, count in (await _commits(system, booker, plan)).items():
            report.add(Row(f"commits of a booking, database {name}", count, "", limits[name], BARE))
    await _open(booker, limit, plan, report)
    await _storm(system, people, plan, report)
    report.add(Row("history of a booking", await _events(system, booker.booked[-HISTORIES:]), "events"))
    await api.close()


async def _one_at_a_time(booker: Booker, limit: Ask, plan: Plan, report: Report) -> None:
    pair, count = Pair(Sample(), Sample()), plan.single_bookings // plan.rounds
    for _ in range(plan.rounds):
        pair.limit.add(await in_flight(limit, count, 1))
        pair.ours.add(await in_flight(booker, count, 1))
    report.add(_rate("bookings, one at a time", pair, Bound()))
    report.add(_latency("bookings, one at a time, p50", pair, 0.50, Bound()))


async def _parallel(system: System, booker: Booker, limit: Ask, plan: Plan, report: Report) -> None:
    pair, costs, limit_costs = Pair(Sample(), Sample()), Counter[str](), Counter[str]()
    for _ in range(plan.rounds):
        before = cpu(system)
        pair.limit.add(await in_flight(limit, plan.parallel_bookings, WIDTH))
        between = cpu(system)
        pair.ours.add(await in_flight(booker, plan.parallel_bookings, WIDTH))
        limit_costs.update(_microseconds(spent(before, between)))
        costs.update(_microseconds(spent(between, cpu(system))))
    report.add(_rate(f"bookings, {WIDTH} in flight", pair, PARALLEL))
    report.add(_latency(f"bookings, {WIDTH} in flight, p95", pair, 0.95, Bound()))
    _add_costs(costs, limit_costs, plan.rounds * plan.parallel_bookings * 1000, report)


def _add_costs(costs: Counter[str], limit_costs: Counter[str], divisor: int, report: Report) -> None:
    """Each booking's share; polling and housekeeping of the same seconds are in it."""
    for name in costs:
        if name == BARE_WORKER:
            continue
        counterpart = COUNTERPARTS.get(name, name)
        limit = limit_costs[counterpart] / divisor if counterpart else None
        report.add(Row(f"CPU of a booking, {name}", costs[name] / divisor, "ms", limit, BARE))


async def _commits(system: System, ask: Ask, plan: Plan) -> dict[str, float]:
    """Of one of these, in each database, with what goes on anyway taken off."""
    await asyncio.sleep(plan.settle_seconds)
    first = await commits(system)
    await asyncio.sleep(plan.settle_seconds)
    second, began = await commits(system), time.perf_counter()
    await in_flight(ask, plan.single_bookings, WIDTH)
    await asyncio.sleep(plan.settle_seconds)
    share = (time.perf_counter() - began) / plan.settle_seconds
    idle, made = spent(first, second), spent(second, await commits(system))
    return {name: max(made[name] - idle[name] * share, 0) / plan.single_bookings for name in made}


async def _open(booker: Booker, limit: Ask, plan: Plan, report: Report) -> None:
    pair, seconds = Pair(Sample(), Sample()), plan.open_seconds / plan.rounds
    for _ in range(plan.rounds):
        pair.limit.add(await open_loop(limit, OPEN_RATE, seconds))
        pair.ours.add(await open_loop(booker, OPEN_RATE, seconds))
    name = f"bookings, {OPEN_RATE} a second open loop"
    for share, bound in ((0.50, Bound()), (0.95, OPEN), (0.99, Bound())):
        report.add(_latency(f"{name}, p{share * 100:.0f}", pair, share, bound))


async def _storm(system: System, people: People, plan: Plan, report: Report) -> None:
    """Everybody wants the same slot at the same moment, each on a socket of their own."""
    wish = next(await people.wishes(1))
    tokens = [await people.patient() for _ in range(plan.storm)]
    api, sample = Api(system.api_port), Sample()
    await api.open(plan.storm)
    booker = Booker(api, iter([wish._replace(token=token) for token in tokens]))
    before, began = cpu(system), time.perf_counter()
    await asyncio.gather(*(sample.timed(booker, began) for _ in tokens))
    sample.wall = time.perf_counter() - began
    cost = spent(before, cpu(system))
    await api.close()
    losers = sum(cost.values()) / max(plan.storm - 1, 1) * 1000
    name, outcomes = f"storm of {plan.storm} on one slot", _counted(sample.outcomes)
    report.add(Row(f"{name}, wall time", sample.wall * 1000, "ms", details={"outcomes": outcomes}))
    report.add(Row(f"{name}, p95", sample.percentile(0.95), "ms"))
    report.add(Row(f"{name}, CPU of each loser", losers, "ms", details={"all_parts_ms": _milliseconds(cost)}))
    report.note(f"{name}: " + ", ".join(f"{count} times {outcome}" for outcome, count in outcomes.items()))


def _rate(name: str, pair: Pair, bound: Bound) -> Row:
    return Row(name, pair.ours.rate, "a second", pair.limit.rate, BARE, bound, _details(pair))


def _latency(name: str, pair: Pair, share: float, bound: Bound) -> Row:
    return Row(name, pair.ours.percentile(share), "ms", pair.limit.percentile(share), BARE, bound, _details(pair))


def _details(pair: Pair) -> dict[str, object]:
    shares = (0.50, 0.95, 0.99)
    return {
        "outcomes": _counted(pair.ours.outcomes),
        "milliseconds": {f"p{share * 100:.0f}": pair.ours.percentile(share) for share in shares},
        "limit_milliseconds": {f"p{share * 100:.0f}": pair.limit.percentile(share) for share in shares},
    }


def _counted(outcomes: Counter[str]) -> dict[str, int]:
    return dict(outcomes.most_common())


def _milliseconds(cost: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds * 1000 for name, seconds in cost.items()}


def _microseconds(cost: Mapping[str, float]) -> dict[str, int]:
    return {name: round(seconds * 1e6) for name, seconds in cost.items()}


async def _events(system: System, booking_ids: list[str]) -> float:
    """The mean length of these bookings' histories."""
    handles = [system.temporal.get_workflow_handle(f"booking/{booking_id}") for booking_id in booking_ids]
    lengths = [(await handle.describe()).history_length for handle in handles]
    return sum(lengths) / len(lengths)
