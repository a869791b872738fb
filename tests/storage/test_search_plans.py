"""Searches among a hundred thousand doctors: how much is read for a page, and that the pages hold everybody once."""

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amrutam import migrations
from amrutam.domain.doctor_search import EVERYBODY, Filters, Sort, Tier, terms, tiers, whole
from amrutam.stack.postgres import APP, OWNER
from amrutam.stack.servers import Servers
from amrutam.storage import doctor_search
from amrutam.storage.name_words import words_of
from amrutam.storage.pool import Connection, Database, Row
from amrutam.storage.search_statements import Position, Search
from tests.storage import crowd
from tests.storage.databases import empty_database

NOW = datetime.now(UTC)
# A day of which everybody's hours are known, and which is not over for anybody.
DAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=4)
HOURS = {"available_from": DAY + timedelta(hours=6), "available_to": DAY + timedelta(hours=9)}
HALF_HOUR = {"available_from": DAY + timedelta(hours=3), "available_to": DAY + timedelta(hours=3, minutes=30)}
ODD_HOUR = {"available_from": DAY + timedelta(hours=26), "available_to": DAY + timedelta(hours=27)}

ASKED: list[dict[str, Any]] = [
    {},
    {"specialty": "general_medicine"},
    {"specialty": "dermatology"},
    {"specialty": "allergology"},
    {"specialty": "unani"},
    {"language": "ja"},
    {"gender": "other"},
    {"specialty": "dermatology", "language": "hi", "gender": "other"},
    {"mode": "audio"},
    {"max_fee": 0},
    {"mode": "video", "max_fee": 0},
    {"min_rating": 5},
    {"min_rating": 4.5, "specialty": "allergology"},
    {"available_from": DAY},
    {"available_to": DAY},
    HOURS,
    {**HOURS, "specialty": "dermatology"},
    {**HOURS, "specialty": "allergology", "mode": "chat"},
    HALF_HOUR,
    ODD_HOUR,
    {**ODD_HOUR, "specialty": "unani"},
    {"max_fee": 0, "min_rating": 5, "language": "ja"},
]
TEXTS = ["kumar", "dr menen dermatolgy", "skin allergie", "josé", "a", "as", "xyzzyq", "chest pain", "asha menon"]

# Far below the 100,000 rows and 13,000 pages of a scan. A page of the index counts once for each row that it leads to.
MOST_ROWS = 30_000
MOST_BUFFERS = 40_000
WIDE = {"listings", "listing_facets", "free_times", "free_calendars", "doctors", "calendars", "name_words"}


# Making the crowd counts for the first test that wants it.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def many(servers: Servers) -> AsyncGenerator[Database, None]:
    """The crowd, in the application's role. It was there before searches were, as where Amrutam is upgraded."""
    files = migrations.read()
    before = [file for file in files if file.name < "0018"]
    async with empty_database(servers) as name:
        url = servers.postgres.url(OWNER, name)
        await migrations.apply(url, "demo", before, lambda _: None)
        owner = await asyncpg.connect(url)
        await crowd.settle(owner)
        await migrations.apply(url, "demo", files, lambda _: None)
        await crowd.give_times(owner)
        await owner.close()
        database = await Database.connect(servers.postgres.url(APP, name), size=2, application="tests")
        yield database
        await database.close()


def _scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in plan:
        yield plan
    for part in plan.get("Plans", ()):
        yield from _scans(part)


class Checking:
    """A connection that has each of a search's statements explained, and lets none pass that reads too much."""

    def __init__(self, db: Connection, what: object) -> None:
        self._db = db
        self._what = what

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """As of a connection."""
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}"
        plan = json.loads(await self._db.fetchval(explain, *values))[0]["Plan"]
        scans = list(_scans(plan))
        whole_tables = [each["Relation Name"] for each in scans if each["Node Type"] == "Seq Scan"]
        assert not WIDE & set(whole_tables), (self._what, statement, whole_tables)
        read = sum(
            (each["Actual Rows"] + each.get("Rows Removed by Filter", 0)) * each["Actual Loops"]
            for each in scans
            if each["Node Type"] != "Bitmap Index Scan" and each.get("Actual Loops")
        )
        assert read <= MOST_ROWS, (self._what, statement, read)
        buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert buffers <= MOST_BUFFERS, (self._what, statement, buffers)
        return await self._db.fetch(statement, *values)

    async def execute(self, statement: str) -> str:
        """As of a connection."""
        return await self._db.execute(statement)

    def transaction(self) -> Any:
        """As of a connection."""
        return self._db.transaction()


async def _check(db: Database, asked: dict[str, Any], sort: Sort, found: Sequence[Tier]) -> None:
    filters = Filters.model_validate(asked)
    async with db.connection() as connection:
        checking = cast("Connection", Checking(connection, (asked, sort)))
        await doctor_search.find(checking, filters, sort, found, None, 21, NOW)


@pytest.mark.parametrize("sort", [Sort.SOONEST, Sort.FEE, Sort.RATING])
async def test_no_search_reads_the_whole_table_whatever_is_asked_for(many: Database, sort: Sort) -> None:
    for asked in ASKED:
        await _check(many, asked, sort, EVERYBODY)


@pytest.mark.parametrize("text", TEXTS)
async def test_no_text_reads_the_whole_table(many: Database, text: str) -> None:
    async with many.connection() as connection:
        understood = terms(*await words_of(connection, text))
    for asked in ({}, {"gender": "other"}, {**HOURS, "specialty": "dermatology"}):
        await _check(many, asked, Sort.RELEVANCE, tiers(understood))
        await _check(many, asked, Sort.FEE, whole(understood))


async def test_a_plan_that_knows_no_values_scans_nothing_either(many: Database) -> None:
    for number, asked in enumerate(ASKED):
        search = Search(Filters.model_validate(asked), Sort.SOONEST, EVERYBODY[0], None, 21, NOW)
        statement, values = search.walked(doctor_search.NEAR)
        async with many.transaction() as connection:
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE asked_{number} AS {statement}")
            nulls = ", ".join("NULL" for _ in values)
            explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked_{number} ({nulls})")
            await connection.execute(f"DEALLOCATE asked_{number}")
        scans = _scans(json.loads(explained)[0]["Plan"])
        assert not [each for each in scans if each["Node Type"] == "Seq Scan" and each["Relation Name"] in WIDE], asked


async def _all_pages(
    db: Database, filters: Filters, sort: Sort, found: list[Tier], size: int, after: Position | None = None
) -> list[str]:
    seen = list[str]()
    async with db.connection() as connection:
        while True:
            page = await doctor_search.find(connection, filters, sort, found, after, size, NOW)
            seen += [str(each.row["id"]) for each in page]
            if len(page) < size:
                return seen
            after = Position.unpacked(page[-1].position.packed())


FEW = {
    "specialties @> '{allergology}'": {"specialty": "allergology"},
    "languages @> '{ja}'": {"language": "ja"},
    "gender = 'other'": {"gender": "other"},
    "lowest_fee = 0 AND modes @> '{chat}'": {"max_fee": 0, "mode": "chat"},
    "rating_average = 5 AND languages @> '{ja}'": {"min_rating": 5, "language": "ja"},
}


@given(where=st.sampled_from(sorted(FEW)), sort=st.sampled_from(Sort), size=st.integers(7, 400))
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_pages_of_a_list_hold_each_doctor_once(many: Database, where: str, sort: Sort, size: int) -> None:
    async with many.connection() as connection:
        rows = await connection.fetch(f"SELECT id::text FROM doctors WHERE {where}")  # noqa: S608 - one of FEW
    seen = await _all_pages(many, Filters.model_validate(FEW[where]), sort, [*EVERYBODY], size)
    assert len(seen) == len(set(seen))
    assert set(seen) == {row["id"] for row in rows}


async def test_pages_by_relevance_go_on_from_one_tier_into_the_next(many: Database) -> None:
    filters = Filters.model_validate({"gender": "other"})
    async with many.connection() as connection:
        understood = terms(*await words_of(connection, "menen dermatology"))
        rows = await connection.fetch(
            """SELECT id::text FROM doctors
               WHERE gender = 'other' AND (full_name LIKE '%Menon%' OR specialties @> '{dermatology}')"""
        )
    seen = await _all_pages(many, filters, Sort.RELEVANCE, tiers(understood), 5)
    assert len(seen) == len(set(seen))
    assert set(seen) == {row["id"] for row in rows}


async def test_who_moves_meanwhile_disturbs_no_other_and_the_walk_ends(many: Database) -> None:
    filters, size = Filters.model_validate({"language": "ja"}), 7
    before = await _all_pages(many, filters, Sort.SOONEST, [*EVERYBODY], size)
    async with many.connection() as connection:
        first = await doctor_search.find(connection, filters, Sort.SOONEST, EVERYBODY, None, size, NOW)
        move = "UPDATE listings SET next_start = $2 WHERE doctor_id = $1"
        taken, freed = first[0].row["id"], before[20]
        was = [
            await connection.fetchval("SELECT next_start FROM listings WHERE doctor_id = $1", x) for x in (taken, freed)
        ]
        await connection.execute(move, taken, was[0] + 100_000)  # booked away: behind all others
        await connection.execute(move, freed, was[0] - 1)  # a visit was cancelled: before all others
        rest = await _all_pages(many, filters, Sort.SOONEST, [*EVERYBODY], size, first[-1].position)
        for doctor_id, start in zip((taken, freed), was, strict=True):
            await connection.execute(move, doctor_id, start)
    seen = [str(each.row["id"]) for each in first] + rest
    moved = {str(taken), freed}
    assert [each for each in seen if each not in moved] == [each for each in before if each not in moved]
    assert (seen.count(str(taken)), seen.count(freed)) == (2, 0)
