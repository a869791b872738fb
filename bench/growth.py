"""The directory at several sizes: what reading it yields and costs, while 1,000 doctors become 100,000."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.doctor_search import EVERYBODY, Sort, terms, tiers, whole
from amrutam.domain.windows import Span
from amrutam.stack.console import Console
from amrutam.storage import availability, doctor_search
from amrutam.storage.name_words import words_of
from amrutam.storage.pool import Connection, Database
from bench import asked, directory, plans, reads
from bench.plan import Plan
from bench.plans import Cost, Explaining
from bench.reads import Run
from bench.report import Bound, Report, Row
from bench.system import System
from web.doctor_search import DoctorQuery

# More than a run of misses can reach.
FRESH = 4_000
# Explained of each kind, before they are measured.
EXPLAINED = 25
# At the larger number of connections.
MANY = 32
HIT, HIT_P95 = Bound(least_ratio=0.65, least=4_150), Bound(most=10)
SEARCH, SLOTS = Bound(least=819), Bound(least=1_189)
_DAY = timedelta(days=1)
_AROUND = 3 * _DAY
_LIMIT = 21

Work = Callable[[Connection], Awaitable[object]]
"""What an answer asks of the database."""


class Kind(NamedTuple):
    """A kind of read, of which nobody has asked for any yet: the paths, and the work of the first ones."""

    name: str
    paths: Sequence[str]
    work: Sequence[Work]
    bound: Bound
    is_hit_too: bool


async def measure(system: System, db: Database, plan: Plan, report: Report, console: Console) -> None:
    """Each size after the one before. Of reads nothing but their plans when wrk is missing."""
    wrk_is_missing, midnight, before = reads.wrk_is_missing(report), directory.tomorrow(), 0
    for doctors in plan.sizes:
        console.say(f"A directory of {doctors:,} doctors")
        seeded = await directory.grow(system.servers.endpoints.migration_database_url, before, doctors, midnight)
        report.add(_seeded(seeded))
        before = doctors
        for kind in kinds(doctors, plan, midnight):
            report.add(await explain(db, kind, doctors))
            if not wrk_is_missing:
                await _read(system, kind, doctors, plan, report)


def _seeded(seeded: directory.Seeded) -> Row:
    seconds = seeded.copy_seconds + seeded.index_seconds
    figure = f"{seeded.doctors:,} doctors, {seeded.doctors_claims:,} claims of theirs: seeded in"
    return Row(figure, seconds, "s", details=seeded._asdict())


def kinds(doctors: int, plan: Plan, midnight: datetime) -> list[Kind]:
    """What is read of a directory with so many doctors."""
    count = FRESH * plan.size_rounds * len(plan.connections)
    return [
        *(_search(name, ask, doctors, count, midnight) for name, ask in asked.SEARCHES.items()),
        _slots("slots of a day", 1, doctors, count, midnight),
        _slots("slots of 31 days", asked.MONTH_DAYS, doctors, count, midnight),
    ]


def _search(name: str, ask: asked.Ask, doctors: int, count: int, midnight: datetime) -> Kind:
    queries = asked.searches(ask, doctors, count, midnight)
    paths = [asked.search_path(query) for query in queries]
    work = [_page(DoctorQuery.model_validate(query)) for query in queries[:EXPLAINED]]
    return Kind(f"search {name}", paths, work, SEARCH, is_hit_too=ask is asked.by_specialty)


def _page(query: DoctorQuery) -> Work:
    async def work(db: Connection) -> object:
        found = EVERYBODY
        if query.q:
            understood = terms(*await words_of(db, query.q))
            found = tiers(understood) if query.order is Sort.RELEVANCE else whole(understood)
        return await doctor_search.find(db, query.filters, query.order, found, None, _LIMIT, datetime.now(UTC))

    return work


def _slots(name: str, days: int, doctors: int, count: int, midnight: datetime) -> Kind:
    wanted = list(asked.slots(days, doctors, count, midnight))
    paths = [asked.slots_path(*each) for each in wanted]
    return Kind(name, paths, [_calendar(*each) for each in wanted[:EXPLAINED]], SLOTS, is_hit_too=True)


def _calendar(doctor_id: UUID, first: datetime, last: datetime) -> Work:
    return lambda db: availability.bookable(db, doctor_id, Span(first - _AROUND, last + _DAY + _AROUND))


async def explain(db: Database, kind: Kind, doctors: int) -> Row:
    """The buffers of a miss, on average; in the details what else its plans tell, and of the worst one."""
    costs = list[Cost]()
    for work in kind.work:
        async with db.connection() as connection:
            watched, watch = Explaining.watch(connection)
            await work(watched)
        costs.append(watch.cost)
    mean = plans.mean(costs)
    details = _about(kind, doctors) | {"mean": asdict(mean), "worst": asdict(plans.worst(costs))}
    return Row(f"{doctors:,} doctors: {kind.name}, plans of a miss", mean.buffers, "buffers", details=details)


async def _read(system: System, kind: Kind, doctors: int, plan: Plan, report: Report) -> None:
    """Beside the limits, which answer what the first path does."""
    limit = f"{kind.name.replace(' ', '-')}-{doctors}"
    await reads.prepare_limit(system, limit, kind.paths[0])
    fresh = iter(kind.paths[1:])
    for connections in plan.connections:
        if kind.is_hit_too:
            hit, redis = await _compare(system, lambda: kind.paths[:1], f"/redis/{limit}", connections, plan)
            for row in _hits(kind, doctors, connections, hit, redis):
                report.add(row)
        missed, row = await _compare(system, lambda: list(islice(fresh, FRESH)), f"/row/{limit}", connections, plan)
        if (again := missed.requests - FRESH) > 0:
            report.note(f"{doctors:,} doctors, {kind.name}: {again:.0f} of {missed.requests:.0f} misses were hits.")
        bound = kind.bound if connections == MANY else Bound()
        report.add(
            _rate(f"{kind.name}, each a miss", doctors, connections, missed, row, "bare row by key", bound, kind)
        )


async def _compare(
    system: System, paths: Callable[[], Sequence[str]], limit: str, connections: int, plan: Plan
) -> tuple[Run, Run]:
    """These reads and their limit in short rounds after one another, each round with paths of its own."""
    ours, bare = list[Run](), list[Run]()
    for _ in range(plan.size_rounds):
        bare.append(await reads.wrk(system, system.limits_port, [limit], connections, plan.read_seconds))
        ours.append(await reads.wrk(system, system.api_port, paths(), connections, plan.read_seconds))
    return reads.mean(ours), reads.mean(bare)


def _hits(kind: Kind, doctors: int, connections: int, hit: Run, redis: Run) -> Iterator[Row]:
    many = connections == MANY
    bound = HIT if many else Bound(least_ratio=HIT.least_ratio)
    yield _rate(f"{kind.name}, cached", doctors, connections, hit, redis, "bare Redis GET", bound, kind)
    if many:
        figure = f"{doctors:,} doctors: {kind.name}, cached, {connections} connections, p95"
        yield Row(figure, hit.p95, "ms", redis.p95, "bare Redis GET", HIT_P95)


def _rate(
    what: str, doctors: int, connections: int, run: Run, limit: Run, limit_name: str, bound: Bound, kind: Kind
) -> Row:
    row = reads.row(f"{doctors:,} doctors: {what}", connections, run, limit, limit_name, bound)
    return replace(row, details={**row.details, **_about(kind, doctors), "connections": connections})


def _about(kind: Kind, doctors: int) -> dict[str, object]:
    return {"kind": kind.name, "doctors": doctors}
