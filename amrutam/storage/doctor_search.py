"""Doctors as a search finds them: from `listings`, a narrow row for each verified doctor.

A page is looked for twice at most. First the list is walked in its order, by the order's own index, a bounded way: what
most people ask for fills a page there. What is rare, or lies far behind, is then looked up by what it is asked for.
Neither reads the whole table, and no estimate of the planner decides between the two.

A position in a list is the sort's own key and the id. A doctor who moves meanwhile, as a booking takes the soonest
time, may be seen twice or not at all; the others are not touched by that, and every page lies behind the one before.
"""

import struct
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.common import Mode
from amrutam.domain.doctor_search import MOST_WORDS, Filters, Sort, Tier, is_like
from amrutam.domain.free_times import BITS, KEPT, SHORTEST_SLOT, minute_of
from amrutam.storage.pool import Connection, Row

# How many of the list's rows are looked at before it is asked otherwise: some 3 ms.
WALK = 2000
# As far as it is walked on where the first rows promise a full page.
FAR = 6_000
# Words of names that one typed word may stand for.
_LIKE = 40

_COLUMNS = """
d.id, d.full_name, d.gender, d.specialties, d.languages, d.bio, d.years_of_experience, d.qualifications,
d.registration_number, d.registration_council, d.modes, d.fees::text, d.photo_id, d.rating_average, d.rating_count,
c.availability->>'time_zone' AS time_zone"""

_PAGE = """
WITH page AS MATERIALIZED ({candidates})
SELECT {columns}, page.next_start, page.stars_short, page.number
FROM page JOIN doctors d ON d.id = page.doctor_id JOIN calendars c ON c.doctor_id = page.doctor_id
ORDER BY {order}"""

_WALKED = """
SELECT l.doctor_id, l.next_start, l.stars_short, {number} AS number
FROM (SELECT * FROM listings l WHERE {after} ORDER BY {key} LIMIT {walk}) AS l
WHERE {where} ORDER BY {key} LIMIT {limit}"""

_FURTHER = "SELECT 1 FROM listings l WHERE {after} ORDER BY {key} OFFSET {walk} LIMIT 1"

# OFFSET 0 keeps the planner from walking the list again, in the hope that what is looked for lies evenly on the way.
_LOOKED_UP = """
SELECT * FROM (SELECT l.doctor_id, l.next_start, l.stars_short, {number} AS number
               FROM listings l WHERE {after} AND {where} OFFSET 0) AS page
ORDER BY {order} LIMIT {limit}"""

# The values decide: whether one is rare or not is all that matters there.
LOOKING_UP = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off"

# A start not before the first minute, and ending by the last one, that can be booked now. Starts are in order, so the
# first one is found by halves.
_FREE = """
EXISTS (SELECT FROM free_times f,
               LATERAL (SELECT f.starts[1 + width_bucket(
                            GREATEST({since}, {now} + f.notice_minutes)::int - 1, f.starts)] AS start) AS first
        WHERE f.doctor_id = l.doctor_id AND f.modes & {modes} <> 0
          AND first.start + f.slot_minutes <= {until} AND first.start <= {now} + f.horizon_minutes)"""
_FREE_IN_HOURS = "l.doctor_id IN (SELECT doctor_id FROM free_times WHERE hours && {hours}::int[])"
_FACETS_OF = "l.doctor_id IN (SELECT doctor_id FROM listing_facets WHERE {facets})"


_FORM = struct.Struct(">Bfq16s2x")


class Position(NamedTuple):
    """A place in a list: the tier of the text's fit, the sort's key, and the doctor."""

    tier: int
    stars_short: float
    number: int
    doctor_id: UUID

    def packed(self) -> bytes:
        """31 bytes, so that with the mark behind them base64 needs no padding."""
        return _FORM.pack(self.tier, self.stars_short, self.number, self.doctor_id.bytes)

    @classmethod
    def unpacked(cls, packed: bytes) -> "Position":
        """Raises ValueError for what is not 31 bytes."""
        try:
            tier, stars_short, number, doctor_id = _FORM.unpack(packed)
        except struct.error as error:
            raise ValueError(str(error)) from None
        return cls(tier, stars_short, number, UUID(bytes=doctor_id))


class Found(NamedTuple):
    """A doctor of a page: the row that is shown, and where it stands."""

    row: Row
    position: Position


class _Order(NamedTuple):
    """The columns of a sort that come before the id; the index has them in this order."""

    stars: bool
    number: str

    @property
    def key(self) -> str:
        return f"{'l.stars_short, ' if self.stars else ''}l.{self.number}, l.doctor_id"

    @property
    def of_page(self) -> str:
        return f"{'page.stars_short, ' if self.stars else ''}page.number, page.doctor_id"


class _Values(list[object]):
    """The values of a statement; each is given its place as it is added."""

    def add(self, value: object) -> str:
        self.append(value)
        return f"${len(self)}"


async def words_of(db: Connection, text: str) -> tuple[list[str], dict[str, list[str]]]:
    """The words of a text, and for each one the words of doctors' names that it may stand for."""
    rows = await db.fetch(
        """SELECT asked.word, array_agg(known.word) FILTER (WHERE known.word IS NOT NULL) AS names,
                  array_agg(similarity(known.word, asked.word)) AS likeness
           FROM unnest((search_words($1))[:$2]) WITH ORDINALITY AS asked (word, place)
                LEFT JOIN LATERAL (
                    (SELECT word FROM name_words n WHERE n.word = asked.word)
                    UNION (SELECT word FROM name_words n
                           WHERE length(asked.word) > 3 AND n.word LIKE '%' || asked.word || '%' ORDER BY word LIMIT $3)
                    UNION (SELECT word FROM name_words n
                           WHERE length(asked.word) > 3 AND (n.slips && slips(asked.word) OR n.word % asked.word)
                           ORDER BY similarity(n.word, asked.word) DESC, word LIMIT $3)) AS known ON true
           GROUP BY asked.word, asked.place ORDER BY asked.place""",
        text, MOST_WORDS, _LIKE,
    )  # fmt: skip
    names = {
        row["word"]: [
            name
            for name, likeness in zip(row["names"], row["likeness"], strict=True)
            if is_like(row["word"], name, likeness)
        ]
        for row in rows
        if row["names"]
    }
    return [row["word"] for row in rows], names


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
        found += await _of_tier(db, filters, sort, (number, tier), behind, limit - len(found), now)
        if len(found) == limit or (sort is not Sort.RELEVANCE and (found or behind)):
            break
    return found


async def _of_tier(
    db: Connection,
    filters: Filters,
    sort: Sort,
    tier: tuple[int, Tier],
    after: Position | None,
    limit: int,
    now: datetime,
) -> list[Found]:
    async def looked_for(walk: int | None) -> list[Row]:
        statement, values = page_statement(filters, sort, tier[1], after, limit, now, walk=walk)
        return await db.fetch(statement, *values)

    rows = await looked_for(WALK)
    if len(rows) < limit and await _is_longer(db, sort, filters.mode, after):
        if len(rows) * FAR >= 2 * limit * WALK:  # there is twice what is wanted, if it goes on like this
            rows = await looked_for(FAR)
        if len(rows) < limit:
            async with db.transaction():
                await db.execute(LOOKING_UP)
                rows = await looked_for(None)
    return [Found(row, Position(tier[0], row["stars_short"], row["number"], row["id"])) for row in rows]


async def _is_longer(db: Connection, sort: Sort, mode: Mode | None, after: Position | None) -> bool:
    """Whether the list goes on where the walk stopped."""
    order, values = _order(sort, mode), _Values()
    behind = _after(order, after, values)
    return await db.fetchval(_FURTHER.format(after=behind, key=order.key, walk=WALK), *values) is not None


def page_statement(
    filters: Filters, sort: Sort, tier: Tier, after: Position | None, limit: int, now: datetime, *, walk: int | None
) -> tuple[str, list[object]]:
    """The statement of a page and its values: it walks over so many rows, or looks up where that is None."""
    order, values = _order(sort, filters.mode), _Values()
    behind = _after(order, after, values)
    facets = list(_facet_clauses(filters, tier, values))
    where = [
        "l.verified_until > now()",
        *_clauses(filters, values),
        *_free(filters, values, now, walked=walk is not None),
    ]
    if facets and walk:
        where += facets
    elif facets:
        where.append(_FACETS_OF.format(facets=" AND ".join(facets)))
    candidates = (_WALKED if walk else _LOOKED_UP).format(
        number=f"l.{order.number}", key=order.key, order=order.of_page, walk=walk, limit=values.add(limit),
        after=behind, where=" AND ".join(where),
    )  # fmt: skip
    return _PAGE.format(candidates=candidates, columns=_COLUMNS, order=order.of_page), values


def _order(sort: Sort, mode: Mode | None) -> _Order:
    match sort:
        case Sort.SOONEST:
            return _Order(False, f"next_{mode}_start" if mode else "next_start")
        case Sort.FEE:
            return _Order(False, f"{mode}_fee" if mode else "fee")
        case Sort.RATING | Sort.RELEVANCE:
            return _Order(True, "next_start")


def _after(order: _Order, after: Position | None, values: _Values) -> str:
    if after is None:
        return "true"
    stars = f"{values.add(after.stars_short)}::real, " if order.stars else ""
    return f"({order.key}) > ({stars}{values.add(after.number)}, {values.add(after.doctor_id)})"


def _facet_clauses(filters: Filters, tier: Tier, values: _Values) -> Iterator[str]:
    kinds = {"s": filters.specialty, "l": filters.language, "m": filters.mode, "g": filters.gender}
    if asked := [f"{kind}:{value}" for kind, value in kinds.items() if value]:
        yield f"facets @> {values.add(asked)}::text[]"
    for any_of in tier.all_of:
        yield f"facets && {values.add(sorted(any_of))}::text[]"
    for earlier in tier.none_of:
        yield f"NOT ({' AND '.join(f'facets && {values.add(sorted(any_of))}::text[]' for any_of in earlier)})"


def _clauses(filters: Filters, values: _Values) -> Iterator[str]:
    if filters.max_fee is not None:
        fee = f"{filters.mode}_fee" if filters.mode else "fee"
        yield f"l.{fee} <= {values.add(filters.max_fee)}"
    if filters.min_rating is not None:
        yield f"l.stars_short <= 5 - {values.add(filters.min_rating)}::real"


def _free(filters: Filters, values: _Values, now: datetime, *, walked: bool) -> Iterator[str]:
    if filters.available_from is None and filters.available_to is None:
        return
    since = max(filters.available_from or now, now)
    until = min(filters.available_to or now + KEPT, now + KEPT + timedelta(days=1))
    first, last = minute_of(since, up=True), minute_of(until)
    modes = BITS[filters.mode] if filters.mode else sum(BITS.values())
    yield f"l.next_start <= {values.add(last)}"
    yield _FREE.format(
        since=f"{values.add(first)}::bigint", until=f"{values.add(last)}::bigint", modes=f"{values.add(modes)}::bigint",
        now=f"{values.add(minute_of(now, up=True))}::bigint",
    )  # fmt: skip
    if not walked:
        yield _FREE_IN_HOURS.format(hours=values.add(list(range(first // 60, (last - SHORTEST_SLOT) // 60 + 1))))
