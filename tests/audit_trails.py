"""Audit trails for tests: a database of its own for whoever tampers, and rows in the one that all share."""

from typing import Any
from uuid import UUID

from amrutam import migrations
from amrutam.domain.audit import Actor
from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.stack.postgres import APP, OWNER, SUPERUSER
from amrutam.stack.servers import Servers
from amrutam.storage import audit
from amrutam.storage.pool import Database


class OwnTrail:
    """A migrated database with nobody else in it: the application's side, and the side of a superuser."""

    def __init__(self, servers: Servers, template: str) -> None:
        self._servers = servers
        self._template = template
        self._name = f"trail_{new_id().hex}"
        self.app: Database
        self.superuser: Database

    async def open(self) -> None:
        """Make the database and connect to it."""
        await _as_superuser(self._servers, f"CREATE DATABASE {self._name} OWNER {OWNER} TEMPLATE {self._template}")
        self.app = await Database.connect(self._url(APP), size=4, application="tests")
        self.superuser = await Database.connect(self._url(SUPERUSER), size=2, application="tests")

    @property
    def url(self) -> str:
        """Of the application's role."""
        return self._url(APP)

    async def close(self) -> None:
        """Drop it."""
        await self.app.close()
        await self.superuser.close()
        await _as_superuser(self._servers, f"DROP DATABASE {self._name} WITH (FORCE)")

    async def write(self, count: int) -> list[UUID]:
        """Rows, each in a transaction of its own; the ids in the order in which they were committed."""
        for _ in range(count):
            async with self.app.transaction() as db:
                await audit.append(db, an_actor(), "booking.read", new_id())
        return await self.ids()

    async def ids(self) -> list[UUID]:
        """Every row, in the order of commits."""
        async with self.app.connection() as db:
            return [row["id"] for row in await db.fetch("SELECT id FROM audit ORDER BY audit.xid, id")]

    async def tamper(self, statement: str, *values: Any) -> None:
        """What only a superuser can do."""
        async with self.superuser.connection() as db:
            await db.execute(statement, *values)

    def _url(self, role: str) -> str:
        return self._servers.postgres.url(role, self._name)


async def make_template(servers: Servers) -> str:
    """A migrated database that others are copied from; it goes with the servers. Returns its name."""
    name = f"template_{new_id().hex}"
    await _as_superuser(servers, f"CREATE DATABASE {name} OWNER {OWNER}")
    await migrations.apply(servers.postgres.url(OWNER, name), "demo", migrations.read(), _nobody_listens)
    return name


async def _as_superuser(servers: Servers, statement: str) -> None:
    root = await servers.postgres.connect()
    await root.execute(statement)
    await root.close()


def an_actor() -> Actor:
    """Somebody who nobody is."""
    return Actor(id=new_id(), role=Role.DOCTOR, request_id=new_id().hex)


def _nobody_listens(_: str) -> None:
    pass
