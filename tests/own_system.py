"""A whole system beside the shared one: its own database, namespace, cache and keys, on the same servers."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from amrutam.crypto import Keyring
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.stack.applications import STEPS, run_step
from amrutam.stack.postgres import APP, OWNER
from amrutam.storage.pool import Database
from amrutam.tokens import AccessTokens
from tests.beside import api_beside, worker_beside
from tests.conftest import System
from tests.people import People

# Of Valkey's sixteen; the shared system has the first.
_CACHE = 7


@dataclass(frozen=True)
class OwnSystem:
    """What a test needs of it."""

    api: httpx.AsyncClient
    people: People
    db: Database
    environment: Mapping[str, str]
    keyring: Path


@asynccontextmanager
async def own_system(system: System, folder: Path) -> AsyncGenerator[OwnSystem]:
    """Started with the keys in `folder`, without demo data, and dropped at the end."""
    name = f"own_{new_id().hex}"
    postgres = system.servers.postgres
    told = {
        "DATABASE_URL": postgres.url(APP, name),
        "MIGRATION_DATABASE_URL": postgres.url(OWNER, name),
        "REDIS_URL": system.environment["REDIS_URL"].removesuffix("/0") + f"/{_CACHE}",
        "TEMPORAL_NAMESPACE": name.replace("_", "-"),
        "AMRUTAM_KEYRING": str(folder / "keyring.json"),
    }
    root = await postgres.connect()
    await root.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    environment = {**system.environment, **told}
    try:
        for step in STEPS:
            if step.arguments != ("seed",):
                await run_step(step, system.servers.folders, environment)
        async with worker_beside(system, **told), api_beside(system, **told) as api:
            db = await Database.connect(told["DATABASE_URL"], size=4, application="tests")
            yield OwnSystem(api, _people(db, environment), db, environment, folder / "keyring.json")
            await db.close()
    finally:
        await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await root.close()


def _people(db: Database, environment: Mapping[str, str]) -> People:
    given = {name.lower(): value for name, value in environment.items() if name.lower() in Settings.model_fields}
    settings = Settings.model_validate(given)
    keyring = Keyring.load(settings.amrutam_keyring)
    return People(db, keyring, AccessTokens(keyring, settings.public_url, timedelta(minutes=10)))
