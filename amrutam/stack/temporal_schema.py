"""The databases of the official Temporal server, made and brought up to date by its own tool."""

import asyncio
import os
import subprocess

from amrutam.stack.build import SCHEMA_TOOL
from amrutam.stack.errors import StackError
from amrutam.stack.ports import LOOPBACK
from amrutam.stack.postgres import TEMPORAL, Postgres, database_exists
from amrutam.stack.temporal_config import STORE, VISIBILITY

SCHEMAS = {STORE: "postgresql/v12/temporal", VISIBILITY: "postgresql/v12/visibility"}
UPDATE_SECONDS = 600


async def ensure_schemas(postgres: Postgres) -> None:
    """Make what is missing, update what is old; nothing happens on a current one. Raises StackError."""
    await asyncio.gather(*(_ensure(postgres, database, schema) for database, schema in SCHEMAS.items()))


async def forget_members(postgres: Postgres) -> None:
    """Remove the members of the last run. This server is the only one on its database; it would look for them first.

    With those of a server that was killed half a minute ago, a start took 47 s instead of one.
    """
    connection = await postgres.connect(STORE)
    try:
        await connection.execute("DELETE FROM cluster_membership")
    finally:
        await connection.close()


async def _ensure(postgres: Postgres, database: str, schema: str) -> None:
    """A new one is made under another name and renamed when whole, so that a crash leaves no half of one."""
    connection = await postgres.connect()
    try:
        if await database_exists(connection, database):
            await _tool(postgres, database, "update-schema", "--schema-name", schema)
            return
        fresh = f"{database}_new"
        await connection.execute(f"DROP DATABASE IF EXISTS {fresh} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {fresh} OWNER {TEMPORAL}")
        await _tool(postgres, fresh, "setup-schema", "--version", "0.0")
        await _tool(postgres, fresh, "update-schema", "--schema-name", schema)
        await _name_inside(postgres, fresh, database)
        await connection.execute(f"ALTER DATABASE {fresh} RENAME TO {database}")
    finally:
        await connection.close()


async def _name_inside(postgres: Postgres, fresh: str, database: str) -> None:
    """The tool notes the schema's version under the database's name, and the server looks there."""
    inside = await postgres.connect(fresh)
    try:
        await inside.execute("UPDATE schema_version SET db_name = $1", database)
    finally:
        await inside.close()


async def _tool(postgres: Postgres, database: str, *command: str) -> None:
    tool = await asyncio.create_subprocess_exec(
        *(str(SCHEMA_TOOL.path()), "--plugin", "postgres12", "--endpoint", LOOPBACK, "--port", str(postgres.port)),
        *("--user", TEMPORAL, "--database", database, *command),
        env={"PATH": os.defpath, "SQL_PASSWORD": postgres.password(TEMPORAL)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(tool.communicate(), UPDATE_SECONDS)
    finally:
        if tool.returncode is None:
            tool.kill()
            await tool.wait()
    if tool.returncode:
        said = "\n".join(output.decode(errors="replace").splitlines()[-15:])
        raise StackError(f"Temporal's schema tool failed on the database {database} ({command[0]}):\n{said}")
