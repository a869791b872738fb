"""Tens of thousands of bookings: what each process holds at rest and as they pile up, and whether they slow down."""

from collections import Counter

from amrutam.stack.console import Console
from amrutam.storage.pool import Database
from bench.bookings import Booker
from bench.client import Api
from bench.load import Sample, in_flight
from bench.people import People
from bench.plan import WIDTH
from bench.report import Report, Row
from bench.system import System
from bench.usage import connections, memory

BLOCKS = 5
DOCTORS = 50
SLOTS_A_DAY = 96


async def measure(system: System, db: Database, count: int, report: Report, console: Console) -> None:
    """`count` bookings in five blocks. On a machine that is busy with others some are told 202; all are counted."""
    people, at_rest = People(system, db), memory(system)
    days = -(-count // (DOCTORS * SLOTS_A_DAY))
    api = Api(system.api_port)
    await api.open(WIDTH)
    booker = Booker(api, await people.wishes(DOCTORS, days))
    outcomes, size = Counter[str](), count // BLOCKS
    for done in range(size, size * BLOCKS + 1, size):
        sample = await in_flight(booker, size, WIDTH)
        outcomes += sample.outcomes
        console.say(f"{done:,} bookings, {sample.rate:.1f} a second")
        booker.booked.clear()
        _add(report, done, sample, memory(system), at_rest)
    for name, open_now in (await connections(system)).items():
        report.add(Row(f"connections to database {name}", open_now, ""))
    report.note("Told: " + ", ".join(f"{times} times {outcome}" for outcome, times in outcomes.most_common()))
    await api.close()


def _add(report: Report, done: int, sample: Sample, now: dict[str, float], at_rest: dict[str, float]) -> None:
    report.add(Row(f"the bookings up to {done:,}, {WIDTH} in flight", sample.rate, "a second"))
    report.add(Row(f"the bookings up to {done:,}, p95", sample.percentile(0.95), "ms"))
    for name, mebibytes in now.items():
        report.add(Row(f"memory of {name} after {done:,}", mebibytes, "MiB", at_rest[name], "MiB at rest"))
