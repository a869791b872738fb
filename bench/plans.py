"""What queries cost inside PostgreSQL: a connection that explains each statement before it runs it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

from amrutam.storage.pool import Connection

_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "


@dataclass
class Cost:
    """Of all statements of one answer. A buffer is a page of 8 KiB, counted each time it is looked at."""

    statements: float = 0
    shared_hit: float = 0
    shared_read: float = 0
    rows_read: float = 0
    # Rows that a sequential scan looked at.
    rows_scanned: float = 0
    planning_ms: float = 0
    execution_ms: float = 0

    @property
    def buffers(self) -> float:
        """Found in memory, and read from the disk."""
        return self.shared_hit + self.shared_read

    def add(self, plan: dict[str, Any]) -> None:
        """Take a statement in, as EXPLAIN tells of it."""
        self.statements += 1
        self.planning_ms += plan["Planning Time"]
        self.execution_ms += plan["Execution Time"]
        self.shared_hit += plan["Plan"]["Shared Hit Blocks"]
        self.shared_read += plan["Plan"]["Shared Read Blocks"]
        self._add_rows(plan["Plan"])

    def _add_rows(self, node: dict[str, Any]) -> None:
        if "Relation Name" in node:
            read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            self.rows_read += read
            self.rows_scanned += read if node["Node Type"] == "Seq Scan" else 0
        for part in node.get("Plans", ()):
            self._add_rows(part)


class Explaining:
    """Passes on what queries use of a connection, and keeps their cost."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.cost = Cost()

    @classmethod
    def watch(cls, db: Connection) -> "tuple[Connection, Explaining]":
        """The connection to give to a query, and what keeps the cost: one and the same."""
        watched = cls(db)
        return cast("Connection", watched), watched

    async def fetch(self, statement: str, *values: object) -> list[Any]:
        """As of a connection."""
        await self._explain(statement, values)
        return await self._db.fetch(statement, *values)

    async def fetchrow(self, statement: str, *values: object) -> Any:
        """As of a connection."""
        await self._explain(statement, values)
        return await self._db.fetchrow(statement, *values)

    async def fetchval(self, statement: str, *values: object) -> Any:
        """As of a connection."""
        await self._explain(statement, values)
        return await self._db.fetchval(statement, *values)

    async def execute(self, statement: str, *values: object) -> str:
        """As of a connection; settings are no queries."""
        return await self._db.execute(statement, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """As of a connection."""
        async with self._db.transaction():
            yield

    async def _explain(self, statement: str, values: tuple[object, ...]) -> None:
        self.cost.add(json.loads(await self._db.fetchval(_EXPLAIN + statement, *values))[0])


def mean(costs: list[Cost]) -> Cost:
    """Of several answers."""
    return Cost(*(sum(getattr(cost, each.name) for cost in costs) / len(costs) for each in fields(Cost)))


def worst(costs: list[Cost]) -> Cost:
    """The one that looked at most buffers."""
    return max(costs, key=lambda cost: cost.buffers)
