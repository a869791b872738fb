"""`python -m amrutam verify`: is everything that must be true, true? On a live system, in seconds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from amrutam.ids import first_id_at
from amrutam.invariants import INVARIANTS, Invariant
from amrutam.storage.pool import Connection, Database

# How many offenders of one kind are named.
LIMIT = 20
# What has stood for this long is settled: no timer is just firing, no relay just reading.
GRACE = timedelta(seconds=60)
_SCOPE = "WITH scope (since, settled) AS (SELECT $1::uuid, now() - $2::interval) SELECT * FROM"
# Statements here look at far more rows than a request does.
_STATEMENT_TIMEOUT = "30s"
_LOOK_UP = timedelta(seconds=5)

WORKFLOWS = Invariant(
    "a live booking has its running workflow, and one that has ended has none",
    "the workflow alone moves the booking on: it expires holds and takes cancellations",
    """SELECT id, status, status IN ('held', 'awaiting_payment', 'confirmed') AND starts_at > now() AS live
       FROM bookings
       WHERE id >= $1 AND updated_at < now() - $2::interval
         AND (starts_at < now() - $2::interval OR starts_at > now() + $2::interval)
       ORDER BY id DESC LIMIT $3""",
)


class Finding(NamedTuple):
    """An invariant and what breaks it; nothing where it holds."""

    invariant: Invariant
    offenders: list[str]


class Scope(NamedTuple):
    """What is looked at: made since then, settled for `grace`, and of the workflows the newest `workflows`."""

    since: datetime
    grace: timedelta = GRACE
    workflows: int = 500


async def check(db: Database, temporal: Client, scope: Scope, say: Callable[[str], None]) -> list[Finding]:
    """Check every invariant, a line each. Returns those that are broken."""
    findings = [_told(Finding(each, await _offenders(db, each, scope)), say) for each in INVARIANTS]
    findings.append(_told(Finding(WORKFLOWS, await _workflows(db, temporal, scope)), say))
    return [finding for finding in findings if finding.offenders]


def _told(finding: Finding, say: Callable[[str], None]) -> Finding:
    if finding.offenders:
        more = " and more" if len(finding.offenders) >= LIMIT else ""
        say(f"BROKEN  {finding.invariant.name}: {', '.join(finding.offenders)}{more}")
        say(f"        why it matters: {finding.invariant.reason}")
    else:
        say(f"ok      {finding.invariant.name}")
    return finding


async def _offenders(db: Database, invariant: Invariant, scope: Scope) -> list[str]:
    async with db.transaction() as connection:
        await _allow_time(connection)
        rows = await connection.fetch(
            f"{_SCOPE} ({invariant.sql}) AS offenders LIMIT $3", first_id_at(scope.since), scope.grace, LIMIT
        )
    return [str(row[0]) for row in rows]


async def _allow_time(connection: Connection) -> None:
    await connection.execute(
        f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'; SET LOCAL transaction_timeout = '{_STATEMENT_TIMEOUT}'"
    )


async def _workflows(db: Database, temporal: Client, scope: Scope) -> list[str]:
    async with db.connection() as connection:
        rows = await connection.fetch(WORKFLOWS.sql, first_id_at(scope.since), scope.grace, scope.workflows)
    states = [(row, await _state(temporal, row["id"])) for row in rows]
    wrong = [(row, state) for row, state in states if (state == "running") is not row["live"]]
    return [f"booking/{row['id']} (the row is {row['status']}, the workflow {state})" for row, state in wrong[:LIMIT]]


async def _state(temporal: Client, booking_id: UUID) -> str:
    """The workflow's state in a word, as the web UI names it."""
    try:
        found = await temporal.get_workflow_handle(f"booking/{booking_id}").describe(rpc_timeout=_LOOK_UP)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return "unknown"
        raise
    return found.status.name.lower() if found.status else "unknown"


def days_ago(days: float) -> datetime:
    """The moment that many days before now."""
    return datetime.now(UTC) - timedelta(days=days)
