"""Reads over HTTP by wrk: answers from the cache and answers that have to be made, beside what could be had at most."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple
from uuid import UUID
from zoneinfo import available_timezones

from redis.asyncio import Redis

from amrutam.stack.ports import LOOPBACK
from bench.client import Api
from bench.people import AHEAD, People
from bench.plan import Plan
from bench.report import Bound, Report, Row
from bench.system import System

SCRIPT = Path(__file__).with_name("wrk.lua")
HOW_TO_INSTALL = "Reads were left out: wrk is missing. `apt-get install wrk`, then run this again."
CACHED = Bound(least_ratio=0.5)
OK = 200


class Page(NamedTuple):
    """A kind of read: the path that is always a hit once it was read, and paths that nobody has read yet."""

    name: str
    usual: str
    fresh: Sequence[str]


class Run(NamedTuple):
    """What wrk saw; latencies in milliseconds."""

    rate: float
    requests: float
    failed: float
    p50: float
    p95: float
    p99: float


async def measure(system: System, people: People, plan: Plan, report: Report) -> None:
    """Every page at each number of connections, each beside its two limits. Notes it when wrk is missing."""
    if wrk_is_missing(report):
        return
    for page in await _pages(people, plan):
        await prepare_limit(system, page.name, page.usual)
        share = len(page.fresh) // len(plan.connections)
        for number, connections in enumerate(plan.connections):
            fresh = page.fresh[number * share : (number + 1) * share]
            await _measure_page(system, page, fresh, connections, plan, report)


def wrk_is_missing(report: Report) -> bool:
    """Notes it when it is."""
    missing = shutil.which("wrk") is None
    if missing:
        report.note(HOW_TO_INSTALL)
    return missing


async def compare(
    system: System, ours: tuple[int, str, str], limit: tuple[int, str, str], connections: int, plan: Plan
) -> tuple[Run, Run]:
    """Two reads in short rounds after one another, each a port, a path and the token of who asks (none: nobody)."""
    rounds = list[tuple[Run, ...]]()
    for _ in range(plan.read_rounds):
        asked = ((port, [path], token) for port, path, token in (limit, ours))
        rounds.append(
            tuple([await wrk(system, port, path, connections, plan.read_seconds, token) for port, path, token in asked])
        )
    bare, guarded = (mean(runs) for runs in zip(*rounds, strict=True))
    return guarded, bare


async def _measure_page(
    system: System, page: Page, fresh: Sequence[str], connections: int, plan: Plan, report: Report
) -> None:
    """In short rounds of all four, so that a busy moment of the machine hits each of them."""
    rounds = list[tuple[Run, ...]]()
    share = len(fresh) // plan.read_rounds
    for number in range(plan.read_rounds):
        unread = fresh[number * share : (number + 1) * share]
        asked = (
            (system.limits_port, [f"/redis/{page.name}"]),
            (system.api_port, [page.usual]),
            (system.limits_port, [f"/row/{page.name}"]),
            (system.api_port, unread),
        )
        rounds.append(tuple([await wrk(system, *each, connections, plan.read_seconds) for each in asked]))
        if (again := rounds[-1][-1].requests - len(unread)) > 0:
            report.note(f"{page.name}: {again:.0f} of {rounds[-1][-1].requests:.0f} misses were hits.")
    redis, hit, bare, miss = (mean(runs) for runs in zip(*rounds, strict=True))
    report.add(row(f"{page.name}, cached", connections, hit, redis, "bare Redis GET", CACHED))
    report.add(row(f"{page.name}, each a miss", connections, miss, bare, "bare row by key", Bound()))


def mean(runs: Sequence[Run]) -> Run:
    """Of runs that took equally long; of percentiles the mean, too."""
    means = (sum(column) / len(runs) for column in zip(*runs, strict=True))
    return Run(*means)


def row(name: str, connections: int, run: Run, limit: Run, limit_name: str, bound: Bound) -> Row:
    """Requests a second, with the latencies in the details."""
    return Row(
        figure=f"{name}, {connections} connection{'s' if connections > 1 else ''}",
        value=run.rate,
        unit="a second",
        limit=limit.rate,
        limit_name=limit_name,
        bound=bound,
        details={"p50_ms": run.p50, "p95_ms": run.p95, "p99_ms": run.p99, "failed": run.failed + limit.failed},
    )


async def _pages(people: People, plan: Plan) -> list[Page]:
    doctor_id = await people.doctor("09:00", "18:00", 30)
    copies = await people.directory(doctor_id, plan.directory)
    return [
        Page("doctor", f"/v1/doctors/{doctor_id}", [f"/v1/doctors/{copy}" for copy in copies]),
        Page(
            "search",
            "/v1/doctors?specialty=dermatology",
            [
                f"/v1/doctors?specialty=dermatology&max_fee={fee}"
                for fee in range(1_000_000, 1_000_000 + plan.directory)
            ],
        ),
        _slots(doctor_id, plan.directory),
    ]


def _slots(doctor_id: UUID, count: int) -> Page:
    """One day of a doctor, of which no two are alike in day, zone and mode."""
    today = (datetime.now(UTC) + AHEAD).date()
    days = [today + timedelta(days=number) for number in range(50)]
    zones = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc"))

    def path(day: object, zone: str) -> str:
        return f"/v1/doctors/{doctor_id}/slots?from={day}&to={day}&tz={zone}"

    fresh = [path(day, zone) for zone, day in product(zones, days)]
    return Page("slots", path(today, "UTC"), fresh[:count])


async def prepare_limit(system: System, name: str, path: str) -> None:
    """The limits answer the very bytes that this path does; its answer is in the cache afterwards."""
    api = Api(system.api_port)
    reply = await api.get(path)
    await api.close()
    if reply.status != OK:
        raise RuntimeError(f"{path} answered {reply.status}")
    redis = Redis.from_url(system.settings.redis_url.get_secret_value())
    await redis.set(name, reply.body)
    await redis.aclose()
    async with system.owner.connection() as db:
        await db.execute("INSERT INTO bench.answers (key, body) VALUES ($1, $2)", name, reply.body.decode())


async def wrk(system: System, port: int, paths: Sequence[str], connections: int, seconds: int, token: str = "") -> Run:
    """Read these paths in turn, again and again, for so many seconds. Raises TimeoutError."""
    list_of_paths = system.servers.folders.root / "paths.txt"
    list_of_paths.write_text("".join(f"{path}\n" for path in paths))
    wrk = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"-s{SCRIPT}", f"http://{LOOPBACK}:{port}"),
        *("--", str(list_of_paths), token),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await asyncio.wait_for(wrk.communicate(), seconds + 30)
    finally:
        if wrk.returncode is None:
            wrk.kill()
            await wrk.wait()
    said = json.loads(output.splitlines()[-1])
    rate = said["requests"] / said["microseconds"] * 1e6
    latencies = (said[name] / 1000 for name in ("p50", "p95", "p99"))
    return Run(rate, said["requests"], said["failed"], *latencies)
