"""Doctors as a search finds them, a page at a time.

What most people ask for fills a page within the first rows of the list, along the order's own index. What does not is
asked of an index that knows whom it fits: where these are few they are read and sorted, and where they are many the
list is walked on, as it must hold them soon. Who is free within some hours may still be far behind in it, so those of a
specialty are read and sorted, however many. Only what is hidden from all of this is looked up as a whole. Nothing reads
the whole table, and no estimate of the planner decides.

A position in a list is the sort's own key and the id. A doctor who moves meanwhile, as a booking takes the soonest
time, may be seen twice or not at all; the others are not touched by that, and every page lies behind the one before.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from amrutam.domain.doctor_search import Filters, Sort, Tier
from amrutam.storage.pool import Connection, Row
from amrutam.storage.search_statements import Position, Search

# How many of the list's rows are looked at first: some 0.5 ms.
NEAR = 400
# So many are read and sorted where an index knows them.
FEW = 1_500
# As far as the list is walked where there are more: at a hundred thousand doctors FEW lie within a fourth of this.
FAR = 6_000

# No scan, whatever the planner takes a value for; it knows all that matters without the values.
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
# The values decide: whether one is rare or not is all that matters there.
_LOOKING_UP = "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_custom_plan"


class Found(NamedTuple):
    """A doctor of a page: the row that is shown, and where it stands."""

    row: Row
    position: Position


async def find(
    db: Connection,
    filters: Filters,
    sort: Sort,
    tiers: Sequence[Tier],
    after: Position | None,
    limit: int,
    now: datetime,
) -> list[Found]:
    """Up to `limit` doctors behind `after`, the better tiers first; each tier in the order of `sort`.

    Where `sort` asks nothing of the text, only the first tier that holds anybody is listed.
    """
    found = list[Found]()
    for number, tier in enumerate(tiers):
        if after and number < after.tier:
            continue
        behind = after if after and number == after.tier else None
        rows = await _of_tier(db, Search(filters, sort, tier, behind, limit - len(found), now))
        found += [Found(row, Position(number, row["stars_short"], row["number"], row["id"])) for row in rows]
        if len(found) == limit or (sort is not Sort.RELEVANCE and (found or behind)):
            break
    return found


async def _of_tier(db: Connection, search: Search) -> list[Row]:
    if not search.tier.is_named:  # a name is rare
        rows = await _fetch(db, search.walked(NEAR))
        if len(rows) == search.limit or await _is_over(db, search, NEAR):
            return rows
    async with db.transaction():
        return await _of_index(db, search)


async def _of_index(db: Connection, search: Search) -> list[Row]:
    await db.execute(_BY_INDEX)
    if search.is_known_by_hours:
        return await _fetch(db, search.looked_up())
    if few := search.among_few(FEW):
        rows = await _fetch(db, few)
        if rows[0]["few"]:
            return [row for row in rows if row["id"]]
    rows = await _fetch(db, search.walked(FAR))
    if len(rows) == search.limit or await _is_over(db, search, FAR):
        return rows
    await db.execute(_LOOKING_UP)
    return await _fetch(db, search.looked_up())


async def _is_over(db: Connection, search: Search, walk: int) -> bool:
    """Whether the list ends where the walk stopped."""
    return not await _fetch(db, search.further(walk))


async def _fetch(db: Connection, statement: tuple[str, list[object]]) -> list[Row]:
    sql, values = statement
    return await db.fetch(sql, *values)
