"""`python -m amrutam verify`: is everything that must be true, true? On a live system, in seconds."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from amrutam.ids import first_id_at
from amrutam.invariants import INVARIANTS, Invariant
from amrutam.storage.pool import Connection, Database, Row

# How many offenders of one kind are named.
LIMIT = 20
# What has stood for this long is settled: no timer is just firing, no relay just reading.
GRACE = timedelta(seconds=60)
_SCOPE = "WITH scope (since, settled) AS (SELECT $1::uuid, now() - $2::interval) SELECT * FROM"
# Statements here look at far more rows than a request does.
_STATEMENT_TIMEOUT = "30s"
_LOOK_UP = timedelta(seconds=5)
_LOOK_UPS = 16  # at once


# Of rows and workflows. Each takes the smallest id, the grace and how many rows, and selects of each row the id of its
# `workflow`, what it is in a word, and the states in which that workflow may be then.
WORKFLOWS = (
    Invariant(
        "a live booking has its running workflow, and one that has ended has none",
        "the workflow alone moves the booking on: it expires holds and takes cancellations",
        """SELECT 'booking/' || id AS workflow, 'the row is ' || status AS told,
                  CASE WHEN status IN ('held', 'awaiting_payment', 'confirmed') AND starts_at > now()
                       THEN ARRAY['running']
                       WHEN status = 'expired' AND payment_id IS NOT NULL  -- money may come late
                       THEN ARRAY['running', 'completed', 'canceled', 'terminated', 'failed', 'timed_out', 'unknown']
                       ELSE ARRAY['completed', 'canceled', 'terminated', 'failed', 'timed_out', 'unknown']
                  END AS fitting
           FROM bookings
           WHERE id >= $1 AND updated_at < now() - $2::interval
             AND (starts_at < now() - $2::interval OR starts_at > now() + $2::interval)
           ORDER BY id DESC LIMIT $3""",
    ),
    Invariant(
        "a request to book that has no answer yet has a workflow that can still give one",
        "else whoever asks again with the same key is told to wait for ever",
        # Unknown: it was never started, and asking again starts it.
        """SELECT 'booking/' || operation_id AS workflow, 'the request has no answer' AS told,
                  ARRAY['running', 'unknown'] AS fitting
           FROM operations
           WHERE operation_id >= $1 AND operation_id < first_uuidv7(now() - $2::interval)
             AND outcome IS NULL AND refusal IS NULL AND action = 'bookings_create'
           ORDER BY operation_id DESC LIMIT $3""",
    ),
    Invariant(
        "a payment that can still capture, or is to go back, has its running workflow",
        "the workflow alone asks the gateway, and sends back what is to go back",
        """SELECT 'payment/' || p.id AS workflow, 'the payment is ' || p.status AS told, ARRAY['running'] AS fitting
           FROM payments p
           WHERE p.id >= $1 AND p.updated_at < now() - $2::interval AND p.gateway_ref IS NOT NULL
             AND (p.captures_until > now() + $2::interval
                  OR EXISTS (SELECT FROM refunds r WHERE r.payment_id = p.id AND r.status IN ('due', 'sent')
                                                         AND r.updated_at < now() - $2::interval))
           ORDER BY p.id DESC LIMIT $3""",
    ),
    Invariant(
        "what a doctor submitted and nobody has decided has its running workflow",
        "the workflow alone takes the decision, reminds who is to decide, and ends what is not answered",
        """SELECT 'verification/' || id AS workflow, 'the submission is ' || state AS told, ARRAY['running'] AS fitting
           FROM verifications
           WHERE id >= $1 AND state IN ('pending', 'more_wanted') AND updated_at < now() - $2::interval
           ORDER BY id DESC LIMIT $3""",
    ),
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
    findings = [_told(Finding(each, await _broken(db, each, scope)), say) for each in INVARIANTS]
    findings += [_told(Finding(each, await _apart(db, temporal, each, scope)), say) for each in WORKFLOWS]
    return [finding for finding in findings if finding.offenders]


def _told(finding: Finding, say: Callable[[str], None]) -> Finding:
    if finding.offenders:
        more = " and more" if len(finding.offenders) >= LIMIT else ""
        say(f"BROKEN  {finding.invariant.name}: {', '.join(finding.offenders)}{more}")
        say(f"        why it matters: {finding.invariant.reason}")
    else:
        say(f"ok      {finding.invariant.name}")
    return finding


async def _broken(db: Database, invariant: Invariant, scope: Scope) -> list[str]:
    async with db.transaction() as connection:
        return await offenders(connection, invariant, scope)


async def offenders(connection: Connection, invariant: Invariant, scope: Scope) -> list[str]:
    """What breaks it, as this transaction sees the database; `LIMIT` at most."""
    await connection.execute(
        f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'; SET LOCAL transaction_timeout = '{_STATEMENT_TIMEOUT}'"
    )
    rows = await connection.fetch(
        f"{_SCOPE} ({invariant.sql}) AS offenders LIMIT $3", first_id_at(scope.since), scope.grace, LIMIT
    )
    return [str(row[0]) for row in rows]


async def _apart(db: Database, temporal: Client, invariant: Invariant, scope: Scope) -> list[str]:
    """Rows that do not fit their workflows, and still do not when they are looked at again: neither stands still."""
    first = await _unfit(db, temporal, invariant, scope)
    again = set(await _unfit(db, temporal, invariant, scope)) if first else set[str]()
    return [each for each in first if each in again][:LIMIT]


async def _unfit(db: Database, temporal: Client, invariant: Invariant, scope: Scope) -> list[str]:
    async with db.connection() as connection:
        rows = await connection.fetch(invariant.sql, first_id_at(scope.since), scope.grace, scope.workflows)
    at_once = asyncio.Semaphore(_LOOK_UPS)

    async def state(row: Row) -> str:
        async with at_once:
            return await _state(temporal, row["workflow"])

    states = zip(rows, await asyncio.gather(*map(state, rows)), strict=True)
    return [
        f"{row['workflow']} ({row['told']}, the workflow is {state})"
        for row, state in states
        if state not in row["fitting"]
    ]


async def _state(temporal: Client, workflow_id: str) -> str:
    """The workflow's state in a word, as the web UI names it."""
    try:
        found = await temporal.get_workflow_handle(workflow_id).describe(rpc_timeout=_LOOK_UP)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return "unknown"
        raise
    return found.status.name.lower() if found.status else "unknown"


def days_ago(days: float) -> datetime:
    """The moment that many days before now."""
    return datetime.now(UTC) - timedelta(days=days)
