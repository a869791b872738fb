"""`python -m bench [FILE]`: measure, print one table, write JSON.

With QUICK set, in under two minutes. With ONLY=directory, the directory's growth alone, with ONLY=system all but that.
With BOOKINGS set, so many bookings instead, and what the processes hold meanwhile.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from amrutam.leaving import leave
from amrutam.stack.applications import CHECKOUT
from amrutam.stack.console import Console
from amrutam.stack.errors import StackError
from amrutam.storage.pool import Database
from bench import access, bookings, growth, payments, reads, soak
from bench.people import People
from bench.plan import FULL, QUICK, Plan
from bench.report import Report, Row
from bench.system import System, running
from bench.usage import connections, memory

DIRECTORY, SYSTEM = "directory", "system"


async def measure(plan: Plan, report: Report, console: Console) -> None:
    """Reads, access, bookings and payments, on a system of its own. Raises StackError, TimeoutError."""
    async with asyncio.timeout(plan.limit_seconds), _ready(console) as (system, db):
        people, at_rest = People(system, db), memory(system)
        console.say("Reads")
        await reads.measure(system, people, plan, report)
        console.say("Access")
        await access.measure(system, people, plan, report)
        console.say("Bookings")
        await bookings.measure(system, people, plan, report)
        console.say("Payments")
        await payments.measure(system, people, plan, report)
        await _add_memory(system, at_rest, report)


async def survey(plan: Plan, report: Report, console: Console) -> None:
    """The directory at each of its sizes, on a system of its own. Raises StackError, TimeoutError."""
    async with asyncio.timeout(plan.limit_seconds), _ready(console) as (system, db):
        await growth.measure(system, db, plan, report, console)


async def everything(plan: Plan, report: Report, console: Console) -> None:
    """On one system after the other, so that nothing left behind is in the way. Raises StackError, TimeoutError."""
    await measure(plan, report, console)
    await survey(plan, report, console)


async def endure(count: int, report: Report, console: Console) -> None:
    """So many bookings, on a system of its own. Raises StackError."""
    async with _ready(console) as (system, db):
        await soak.measure(system, db, count, report, console)


@asynccontextmanager
async def _ready(console: Console) -> AsyncGenerator[tuple[System, Database]]:
    async with running(console) as system:
        url = system.settings.database_url.get_secret_value()
        db = await Database.connect(url, size=2, application="bench")
        try:
            yield system, db
        finally:
            await db.close()


async def _add_memory(system: System, at_rest: dict[str, float], report: Report) -> None:
    for name, after in memory(system).items():
        report.add(Row(f"memory of {name} after the run", after, "MiB", at_rest[name], "MiB at rest"))
    for name, count in (await connections(system)).items():
        report.add(Row(f"connections to database {name}", count, ""))


async def run(work: Coroutine[None, None, None]) -> None:
    """Measure until done, or until SIGINT or SIGTERM asks us to clean up and end (CancelledError)."""
    task = asyncio.ensure_future(work)

    def stop() -> None:
        if not task.cancelling():  # asked twice: what is being cleaned up is not to be cut short
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await task


def main(arguments: list[str]) -> int:
    """Exit status 0 when everything was measured, whatever the figures; 1 otherwise."""
    quick, began = bool(os.environ.get("QUICK")), datetime.now(UTC)
    path = Path(arguments[0]) if arguments else CHECKOUT / f".data/bench/{began:%Y-%m-%dT%H-%M-%S}.json"
    console, report = Console(), Report(began, quick=quick)
    count = int(os.environ.get("BOOKINGS") or 0)
    plan, only = QUICK if quick else FULL, os.environ.get("ONLY") or ""
    works = {"": everything, DIRECTORY: survey, SYSTEM: measure}
    if only not in works:
        console.plain(f"ONLY={only} is not known; ONLY={DIRECTORY} and ONLY={SYSTEM} are.")
        return 1
    try:
        asyncio.run(run(endure(count, report, console) if count else works[only](plan, report, console)))
    except asyncio.CancelledError:
        console.say("Stopped before the end; everything is cleaned up")
        return 1
    except (StackError, TimeoutError) as fault:
        console.plain(f"\n{fault or 'Not done in time'}")
        return 1
    report.write(path)
    console.plain(f"\n{report.table()}\n\nWritten to {path}")
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
