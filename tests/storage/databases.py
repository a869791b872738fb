"""Databases of a test's own, in the server of the run."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from amrutam.ids import new_id
from amrutam.stack.postgres import OWNER
from amrutam.stack.servers import Servers


@asynccontextmanager
async def empty_database(servers: Servers) -> AsyncGenerator[str, None]:
    """The name of a database that the owner owns and nobody has migrated. It is dropped at the end."""
    name = f"fresh_{new_id().hex}"
    superuser = await servers.postgres.connect()
    await superuser.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    try:
        yield name
    finally:
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await superuser.close()
