"""One real system for the whole run: PostgreSQL, Valkey, Temporal, payment sandbox, worker and API, each a process."""

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from temporalio.client import Client

from amrutam.crypto import Keyring
from amrutam.domain.common import Role
from amrutam.leaving import leave
from amrutam.seed import PASSWORD
from amrutam.settings import Settings
from amrutam.stack.applications import STEPS, Api, Demo, Worker, run_step
from amrutam.stack.console import Console
from amrutam.stack.ports import LOOPBACK, SHARE, Ports, free_port, share_of_free_ports
from amrutam.stack.sandbox import Sandbox
from amrutam.stack.servers import Servers, clear_abandoned, scratch_folder
from amrutam.storage.pool import Database
from amrutam.temporal import connect
from amrutam.tokens import AccessTokens
from tests.people import People, Person
from tests.polling import until

_STATUS = pytest.StashKey[int]()
# Each takes some half a minute.
_LONGEST = {
    "test_storm.py",
    "test_crash_points.py",
    "test_rotation_under_load.py",
    "test_guessing.py",
    "test_booking.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` runs the tests in, each with servers of its own.

    One for each core: each has a whole system behind it, and on a crowded one a request that should take a tenth of a
    second takes ten. No more than four, which is what the longest files leave to share.
    """
    return min(os.cpu_count() or 1, 4)


def pytest_configure(config: pytest.Config) -> None:
    """A worker of pytest-xdist takes ports that no other one takes."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker:
        number = int(worker["workerid"].removeprefix("gw"))
        os.environ[SHARE] = share_of_free_ports(number, of=worker["workercount"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is begun last is what the other processes wait for in the end: the longest files first."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the run ended, and let nothing interrupt a worker that stops its servers."""
    session.config.stash[_STATUS] = int(exitstatus)
    if hasattr(session.config, "workerinput"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave as every process of ours leaves that used the Temporal SDK. A worker has told its results by then."""
    if not hasattr(config, "workerinput"):
        clear_abandoned()  # of a worker that did not end in time
    leave(config.stash.get(_STATUS, 1))


@dataclass(frozen=True)
class System:
    """The running processes, and what they were told."""

    servers: Servers
    sandbox: Sandbox
    worker: Worker
    api: Api
    environment: Mapping[str, str]


@pytest.fixture(scope="session")
async def servers() -> AsyncGenerator[Servers, None]:
    """PostgreSQL, Valkey and Temporal on free ports, with migrations applied and the demo data in."""
    servers = Servers(scratch_folder(), Ports(), Console(), throwaway=True)
    await servers.start()
    try:
        yield servers
    finally:
        await servers.remove()


@pytest.fixture(scope="session")
async def environment(servers: Servers) -> Mapping[str, str]:
    """What every process is told. Its database is migrated, its keyring made, its namespace registered."""
    demo = Demo(LOOPBACK, free_port(), free_port(), free_port())
    environment = demo.environment(servers.folders, servers.endpoints) | {
        "WORKER_METRICS_PORT": str(demo.worker_metrics_port),
        "CORS_ORIGINS": "https://app.amrutam.test",
        Sandbox.port_variable: str(free_port()),
    }
    environment |= Sandbox.of(servers.folders, demo, environment).environment()
    for step in STEPS:
        await run_step(step, servers.folders, environment)
    return environment


@pytest.fixture(scope="session")
async def system(servers: Servers, environment: Mapping[str, str]) -> System:
    """Payment sandbox, worker and API, running. They are stopped with the servers."""
    demo = Demo.from_environment(environment)
    sandbox = Sandbox.of(servers.folders, demo, environment)
    worker = Worker(servers.folders, demo, environment)
    api = Api(servers.folders, demo, environment)
    await servers.add(sandbox)
    await servers.add(worker)
    await servers.add(api)
    return System(servers, sandbox, worker, api, environment)


@pytest.fixture(scope="session")
def settings(environment: Mapping[str, str]) -> Settings:
    """The settings of the running processes."""
    given = {name.lower(): value for name, value in environment.items() if name.lower() in Settings.model_fields}
    return Settings.model_validate(given)


@pytest.fixture(scope="session")
def keyring(settings: Settings) -> Keyring:
    """The keys of the running processes."""
    return Keyring.load(settings.amrutam_keyring)


@pytest.fixture(scope="session")
async def db(settings: Settings) -> AsyncGenerator[Database, None]:
    """The database, in the application's role."""
    database = await Database.connect(settings.database_url.get_secret_value(), size=8, application="tests")
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def owner(environment: Mapping[str, str]) -> AsyncGenerator[Database, None]:
    """The database, in the role that owns the schema."""
    database = await Database.connect(environment["MIGRATION_DATABASE_URL"], size=4, application="tests")
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def redis(settings: Settings) -> AsyncGenerator[Redis, None]:
    """Valkey, which some tests kill: a kept connection that is closed is made anew."""
    client: Redis = Redis.from_url(settings.redis_url.get_secret_value(), retry=Retry(NoBackoff(), 1))
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
async def temporal(settings: Settings, keyring: Keyring) -> Client:
    """A client of the namespace, with the codec."""
    return await connect(settings, keyring)


@pytest.fixture(scope="session")
async def api(system: System) -> AsyncGenerator[httpx.AsyncClient, None]:
    """HTTP to the running API."""
    base = f"http://{LOOPBACK}:{system.api.port}"
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=base, timeout=30, limits=limits, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
async def people(db: Database, keyring: Keyring, settings: Settings) -> People:
    """Makes accounts that are unique to the test, and signs them in."""
    tokens = AccessTokens(keyring, settings.public_url, timedelta(seconds=settings.access_token_seconds))
    return People(db, keyring, tokens)


@pytest.fixture(scope="session")
def make_patient(people: People) -> Callable[[], Awaitable[Person]]:
    """A new patient each time."""
    return people.patient


@pytest.fixture(scope="session")
def make_doctor(people: People) -> Callable[..., Awaitable[Person]]:
    """A new verified doctor each time, who offers every hour of every day unless told otherwise."""
    return people.doctor


@pytest.fixture(scope="session")
def sign_in(api: httpx.AsyncClient) -> Callable[..., Awaitable[dict[str, str]]]:
    """Signs a demo account in over HTTP; returns the header."""

    async def sign_in(email: str) -> dict[str, str]:
        answer = await api.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    return sign_in


@pytest.fixture(scope="session")
async def outbox(api: httpx.AsyncClient, people: People) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """The mails to somebody, the newest first, once there are at least `count`; with `subject` only those that have it.

    One administrator looks for all tests: each one there is gets a mail for each submission.
    """
    admin = await people.staff(Role.ADMIN)

    async def read(to: str, count: int = 1, subject: str | None = None) -> list[dict[str, Any]]:
        headers = (await people.again(admin)).headers

        async def mails() -> list[dict[str, Any]] | None:
            answer = await api.get("/v1/admin/outbox", params={"to": to}, headers=headers)
            assert answer.status_code == 200, answer.text
            items = [each for each in answer.json()["items"] if subject in {None, each["subject"]}]
            return items if len(items) >= count else None

        return await until(mails)

    return read


@pytest.fixture
def now() -> datetime:
    """The moment at which the test began."""
    return datetime.now(UTC)


@pytest.fixture
def some_id() -> UUID:
    """An id that nothing has."""
    return UUID("018f0000-0000-7000-8000-000000000000")
