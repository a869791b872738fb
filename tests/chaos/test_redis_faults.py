"""Redis is away from the start, silent, or comes and goes: all is slower at most, and nothing is wrong."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from amrutam.storage.cache import SEARCH_GROUP, Cache, doctor_group, slots_group
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Database
from tests.beside import api_beside, worker_beside
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.tcp_proxy import Behaviour, TcpProxy, proxy_to
from tests.web.slots import book, free_times

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
SEED = 20_260_301
FLAPPING_SECONDS = 5.0
# A request waits for Redis some tenths of a second at most. The rest is what a machine under load may take.
BOUND_SECONDS = 5.0
# Less than what is left of a stale entry's own life, which would hide that nothing dropped it.
SOON_SECONDS = 8.0


@pytest.fixture(scope="module")
async def alone(system: System) -> AsyncGenerator[System, None]:
    """The system without its own worker, so that whatever is done is done by the one that the test starts."""
    await system.worker.stop()
    yield system
    await system.worker.start()


@asynccontextmanager
async def _behind(system: System, proxy: TcpProxy) -> AsyncGenerator[httpx.AsyncClient, None]:
    """HTTP to an API; it and its worker reach Redis by the proxy alone."""
    redis_url = f"redis://127.0.0.1:{proxy.port}/0"
    api = api_beside(system, REDIS_URL=redis_url)
    worker = worker_beside(system, REDIS_URL=redis_url)
    async with contextlib.AsyncExitStack() as stack:
        client, _ = await asyncio.gather(stack.enter_async_context(api), stack.enter_async_context(worker))
        yield client


async def _reads(api: httpx.AsyncClient, doctor: Person) -> tuple[list[str], dict[str, Any]]:
    found = await api.get(f"/v1/doctors/{doctor.id}")
    assert found.status_code == 200
    assert (await api.get("/v1/doctors", params={"limit": 1})).status_code == 200
    return await free_times(api, doctor), found.json()


async def test_api_and_worker_that_start_without_redis_serve_and_use_it_when_it_comes(
    alone: System, make_patient: MakePatient, make_doctor: MakeDoctor, redis: Redis
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    port = alone.servers.valkey.port
    async with proxy_to(port, SEED, Behaviour.REFUSE) as proxy, _behind(alone, proxy) as api:
        assert (await api.get("/health/ready")).status_code == 200
        times, _ = await _reads(api, doctor)
        assert (await book(api, patient, doctor, times[0])).status_code == 201
        assert await free_times(api, doctor) == times[1:]
        cached = f"cache:{{slots/{doctor.id}}}"
        assert not await redis.exists(cached)

        await proxy.turn(Behaviour.OPEN)

        async def is_used() -> int:
            assert await free_times(api, doctor) == times[1:]
            return await redis.exists(cached)

        await until(is_used)
        assert (await book(api, patient, doctor, times[4])).status_code == 201
        left = [each for each in times[1:] if each != times[4]]

        async def fresh() -> bool:
            return await free_times(api, doctor) == left

        await until(fresh, seconds=SOON_SECONDS)


async def test_a_redis_that_accepts_and_never_answers_delays_and_stops_nothing(
    alone: System, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    async with proxy_to(alone.servers.valkey.port, SEED) as proxy, _behind(alone, proxy) as api:
        times, profile = await _reads(api, doctor)
        await proxy.turn(Behaviour.HANG)
        async with asyncio.timeout(4 * BOUND_SECONDS):
            assert await _reads(api, doctor) == (times, profile)
            booking = await book(api, patient, doctor, times[0])
            assert booking.status_code == 201
            assert await free_times(api, doctor) == times[1:]
            cancelled = await api.post(
                f"/v1/bookings/{booking.json()['id']}/cancel", json={}, headers=patient.writing()
            )
            assert cancelled.status_code == 200


class _Patient:
    """Books, reads and cancels, and keeps count of how long it was made to wait."""

    def __init__(self, api: httpx.AsyncClient, person: Person, doctor: Person, chance: random.Random) -> None:
        self.person = person
        self.slowest = 0.0
        self.cancelled = 0
        self.kept: set[str] = set()
        self._api = api
        self._doctor = doctor
        self._random = chance

    async def live(self, times: list[str], over: asyncio.Event) -> None:
        """Until it is over, within these times."""
        while not over.is_set():
            starts_at = self._random.choice(times)
            booked = await self._timed(book(self._api, self.person, self._doctor, starts_at))
            if booked.status_code == 201 and self._random.random() < 0.7:
                path = f"/v1/bookings/{booked.json()['id']}/cancel"
                answer = await self._timed(self._api.post(path, json={}, headers=self.person.writing()))
                assert answer.status_code == 200, answer.text
                self.cancelled += 1
            elif booked.status_code == 201:
                self.kept.add(starts_at)
            else:
                assert booked.json()["code"] in {"slot_taken", "patient_busy"}, booked.text
            await self._timed(free_times(self._api, self._doctor))

    async def _timed(self, request: Awaitable[Any]) -> Any:
        began = time.monotonic()
        answer = await request
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer


async def _flap(proxy: TcpProxy, chance: random.Random) -> None:
    deadline = time.monotonic() + FLAPPING_SECONDS
    while time.monotonic() < deadline:
        for behaviour in chance.sample(list(Behaviour), k=len(Behaviour)):
            await proxy.turn(behaviour, seconds=0.05)
            await asyncio.sleep(chance.uniform(0.05, 0.6))
    await proxy.turn(Behaviour.OPEN)


async def test_while_redis_flaps_nothing_fails_and_afterwards_the_cache_tells_the_truth(
    alone: System, make_patient: MakePatient, make_doctor: MakeDoctor, db: Database, redis: Redis
) -> None:
    doctor, over, chance = await make_doctor(), asyncio.Event(), random.Random(SEED)  # noqa: S311 - a repeatable storm
    async with proxy_to(alone.servers.valkey.port, SEED) as proxy, _behind(alone, proxy) as api:
        times = await free_times(api, doctor)
        patients = [_Patient(api, await make_patient(), doctor, chance) for _ in range(6)]
        async with asyncio.TaskGroup() as group:
            for patient in patients:
                group.create_task(patient.live(times[:40], over))
            await _flap(proxy, chance)
            over.set()
        assert max(patient.slowest for patient in patients) < BOUND_SECONDS, f"seed {SEED}"

        assert all(patient.cancelled for patient in patients), f"seed {SEED}"
        kept = [starts_at for patient in patients for starts_at in patient.kept]
        assert len(kept) == len(set(kept)), f"doubled, seed {SEED}"
        async with db.connection() as connection:
            rows = await connection.fetch(
                "SELECT starts_at FROM bookings WHERE doctor_id = $1 AND status = 'confirmed'", doctor.id
            )
        assert {f"{row['starts_at']:%Y-%m-%dT%H:%M:%SZ}" for row in rows} == set(kept), f"seed {SEED}"
        left = [each for each in times if each not in kept]

        async def true() -> bool:
            return await free_times(api, doctor) == left

        await until(true, seconds=SOON_SECONDS)
        cached = await _reads(api, doctor)
        await Cache(redis, Nodes(db, [])).invalidate_surely(
            slots_group(doctor.id), doctor_group(doctor.id), SEARCH_GROUP
        )
        assert await _reads(api, doctor) == cached
