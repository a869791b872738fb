"""The storm: patients book, retry and cancel while one part after another is killed. `make chaos`, and a test.

Everything random comes from one seed, which is printed. Afterwards every key must have its one outcome, told again byte
for byte, caches must tell what the database tells, and `verify` must hold.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from redis.asyncio import Redis
from temporalio.client import Client

from amrutam.crypto import Keyring
from amrutam.ids import new_id
from amrutam.leaving import leave
from amrutam.settings import Settings
from amrutam.stack.applications import STEPS, Api, Demo, Worker, run_step
from amrutam.stack.console import Console
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, Ports, free_port
from amrutam.stack.servers import Servers, scratch_folder
from amrutam.storage.pool import Database
from amrutam.temporal import connect
from amrutam.tokens import AccessTokens
from amrutam.verify import Finding, Scope, check
from tests.chaos.verdict import Verdict, Visitors, caught_up, lost_and_doubled
from tests.people import People, Person
from tests.polling import until

HOLD_SECONDS = 30
PATIENTS = 16
# What a client does not take for an answer, but asks again with the same key.
ASK_AGAIN = frozenset({202, 503})
SETTLE_SECONDS = 60.0

Say = Callable[[str], None]


@dataclass
class Tally:
    """What the patients were told."""

    answers: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])
    final: dict[str, "Asked"] = field(default_factory=dict[str, "Asked"])
    retries: int = 0
    stuck: int = 0
    kills: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True)
class Asked:
    """A request and the answer that its patient took for final."""

    path: str
    body: dict[str, Any]
    patient: Person
    status: int
    content: bytes


class Storm:
    """One system, its patients and whoever kills its parts."""

    def __init__(self, seed: int, say: Say) -> None:
        self.tally = Tally()
        self._random = random.Random(seed)  # noqa: S311 - a repeatable storm
        self._say = say
        self._over = asyncio.Event()

    async def run(self, seconds: float) -> Verdict:
        """Make a system, let the storm rage for that long, then look at what it left."""
        servers = Servers(scratch_folder(), Ports(), Console(sys.stderr))
        await servers.start()
        try:
            demo = Demo(LOOPBACK, free_port(), free_port(), free_port())
            told = {"WORKER_METRICS_PORT": str(demo.worker_metrics_port), "HOLD_SECONDS": str(HOLD_SECONDS)}
            environment = demo.environment(servers.folders, servers.endpoints) | told
            for step in STEPS:
                await run_step(step, servers.folders, environment)
            worker, api = Worker(servers.folders, demo, environment), Api(servers.folders, demo, environment)
            await servers.add(worker)
            await servers.add(api)
            given = {name.lower(): value for name, value in environment.items()}
            settings = Settings.model_validate({k: v for k, v in given.items() if k in Settings.model_fields})
            temporal = [servers.temporal] if servers.temporal else []
            parts: list[Part] = [worker, api, servers.valkey, servers.postgres, *temporal]
            return await self._rage(settings, environment["MIGRATION_DATABASE_URL"], demo.url, parts, seconds)
        finally:
            await servers.remove()

    async def _rage(self, settings: Settings, owner: str, url: str, parts: list[Part], seconds: float) -> Verdict:
        keyring = Keyring.load(settings.amrutam_keyring)
        db = await Database.connect(owner, size=4, application="storm")
        people = People(db, keyring, AccessTokens(keyring, settings.public_url, timedelta(hours=1)))
        free, priced = [await people.doctor() for _ in range(2)], [await people.doctor(fee=50000)]
        doctors = [*free, *priced]
        patients = [await people.patient() for _ in range(PATIENTS)]
        began = datetime.now(UTC)
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=32)
        redis: Redis = Redis.from_url(settings.redis_url.get_secret_value())
        async with httpx.AsyncClient(base_url=url, timeout=15, limits=limits, trust_env=False) as http, redis:
            visitors = Visitors(http, doctors, await people.doctor())
            async with asyncio.TaskGroup() as around:
                reading = around.create_task(visitors.read())
                async with asyncio.TaskGroup() as group:
                    for patient in patients:
                        group.create_task(self._live(http, patient, doctors))
                    group.create_task(visitors.rewrite(self._over))
                    group.create_task(self._report())
                    await self._kill_one_after_another(parts, seconds)
                    self._over.set()
                await self._wait_for(lambda: caught_up(db))
                stale = await visitors.stale(redis, free)
                await self._settle(db)
                stale += await visitors.stale(redis, doctors)
                reading.cancel()
            changed = await self._ask_all_again(http)
        return await self._judge(db, settings, keyring, began, changed, stale)

    async def _kill_one_after_another(self, parts: list[Part], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        order = self._random.sample(parts, len(parts))
        while order or time.monotonic() < deadline:  # each of them once at least
            order = order or self._random.sample(parts, len(parts))
            part = order.pop()
            await asyncio.sleep(self._random.uniform(0.5, 2.0))
            self._say(f"kill -9 {part.name}")
            self.tally.kills[part.name] += 1
            await part.kill()
            await asyncio.sleep(self._random.uniform(0, 1.0))
            await part.start()
            if fallen := [each.name for each in parts if each.process and not each.process.alive]:
                raise RuntimeError(f"{', '.join(fallen)} fell with {part.name}")

    async def _live(self, http: httpx.AsyncClient, patient: Person, doctors: Sequence[Person]) -> None:
        """Book what everybody wants, and change one's mind now and then."""
        while not self._over.is_set():
            doctor = self._random.choice(doctors)
            day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
            wanted, other = ((day + timedelta(minutes=15 * self._random.randrange(96))).isoformat() for _ in range(2))
            body = {"doctor_id": str(doctor.id), "starts_at": wanted, "mode": "video", "reason": "storm"}
            answer = await self._insist(http, patient, "/v1/bookings", body)
            if answer and answer.status_code == 201:
                booking = f"/v1/bookings/{answer.json()['id']}"
                if self._random.random() < 0.4:
                    await self._insist(http, patient, f"{booking}/reschedule", {"starts_at": other})
                if self._random.random() < 0.5:
                    await self._insist(http, patient, f"{booking}/cancel", {})
            await asyncio.sleep(self._random.uniform(0, 0.2))

    async def _insist(
        self, http: httpx.AsyncClient, patient: Person, path: str, body: dict[str, Any]
    ) -> httpx.Response | None:
        """Ask with one key until there is an answer. None, and stuck, when there is none for too long."""
        key, deadline = str(new_id()), time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = await http.post(path, json=body, headers=patient.writing(key))
            except httpx.TransportError:
                self.tally.retries += 1
                await asyncio.sleep(0.3)
                continue
            code = answer.json().get("code", "")
            if answer.status_code in ASK_AGAIN or code == "operation_in_progress":
                self.tally.retries += 1
                await asyncio.sleep(0.3)
                continue
            if answer.status_code >= 500:
                self.tally.faults.append(f"{answer.status_code} {code} {answer.headers.get('x-request-id')}")
            self.tally.answers[f"{answer.status_code} {code}".strip()] += 1
            self.tally.final[key] = Asked(path, body, patient, answer.status_code, answer.content)
            return answer
        self.tally.stuck += 1
        return None

    async def _report(self) -> None:
        while not self._over.is_set():
            told = ", ".join(f"{count} x {answer}" for answer, count in self.tally.answers.most_common(6))
            self._say(f"{told}; asked again {self.tally.retries}, stuck {self.tally.stuck}")
            await asyncio.sleep(2)

    async def _settle(self, db: Database) -> None:
        """Until every hold has run out and every consumer has caught up."""
        self._say("the storm is over; the last holds run out")

        async def settled() -> bool:
            async with db.connection() as connection:
                held = await connection.fetchval("SELECT count(*) FROM bookings WHERE status = 'held'")
            return not held and await caught_up(db)

        await self._wait_for(settled)

    async def _wait_for(self, calm: Callable[[], Awaitable[bool]]) -> None:
        """For a while. `verify` names what has not settled then."""
        with contextlib.suppress(TimeoutError):
            await until(calm, HOLD_SECONDS + SETTLE_SECONDS)

    async def _ask_all_again(self, http: httpx.AsyncClient) -> int:
        """How many requests that were done are told something else now."""
        changed = 0
        for key, asked in self.tally.final.items():
            if asked.status in {200, 201}:
                again = await http.post(asked.path, json=asked.body, headers=asked.patient.writing(key))
                changed += (again.status_code, again.content) != (asked.status, asked.content)
        return changed

    async def _judge(
        self, db: Database, settings: Settings, keyring: Keyring, began: datetime, changed: int, stale: Sequence[str]
    ) -> Verdict:
        accepted = [UUID(httpx.Response(201, content=asked.content).json()["id"]) for asked in self._booked()]
        lost, doubled = await lost_and_doubled(db, accepted)
        broken = await self._verify(db, await connect(settings, keyring), began)
        await db.close()
        return Verdict(
            accepted=len(accepted),
            lost=lost,
            doubled=doubled,
            stuck=self.tally.stuck,
            changed_answers=changed,
            stale=stale,
            faults=self.tally.faults,
            broken=[finding.invariant.name for finding in broken],
        )

    async def _verify(self, db: Database, temporal: Client, began: datetime) -> list[Finding]:
        """What is broken, and stays so: the workflow of a hold that has just run out may be a moment behind its row."""
        scope = Scope(began, grace=timedelta(0), workflows=5000)

        async def calm() -> bool:
            return not await check(db, temporal, scope, lambda _: None)

        with contextlib.suppress(TimeoutError):
            await until(calm, SETTLE_SECONDS)
        return await check(db, temporal, scope, self._say)

    def _booked(self) -> list[Asked]:
        return [asked for asked in self.tally.final.values() if asked.status == 201]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing was lost, doubled or stuck."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args(arguments)
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - began:5.1f} s] {line}\n")
        sys.stdout.flush()

    say(f"a storm of {given.seconds:.0f} s with seed {given.seed}")
    storm = Storm(given.seed, say)
    verdict = asyncio.run(storm.run(given.seconds))
    say(f"killed: {', '.join(f'{name} {count} times' for name, count in storm.tally.kills.items())}")
    say(str(verdict))
    return 0 if verdict.calm else 1


if __name__ == "__main__":
    leave(main())
