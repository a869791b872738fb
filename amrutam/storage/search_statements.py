"""The statements of a search. Each reads `listings`, a narrow row for each verified doctor, and ends with a page.

Three ways lead to the same page: walking along the order's own index; choosing first whom an index of facets or of free
times knows, where these are few; and looking up all of whom such an index knows.
"""

import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.doctor_search import Filters, Sort, Tier
from amrutam.domain.free_times import BITS, KEPT, SHORTEST_SLOT, minute_of

Statement = tuple[str, list[object]]
"""SQL and its values."""

_COLUMNS = """
d.id, d.full_name, d.gender, d.specialties, d.languages, d.bio, d.years_of_experience, d.qualifications,
d.registration_number, d.registration_council, d.modes, d.fees::text, d.photo_id, d.rating_average, d.rating_count,
c.availability->>'time_zone' AS time_zone, page.next_start, page.stars_short, page.number"""
_OF_PAGE = "page JOIN doctors d ON d.id = page.doctor_id JOIN calendars c ON c.doctor_id = page.doctor_id"

_PAGE = """
WITH page AS MATERIALIZED ({candidates})
SELECT {columns} FROM {of_page} ORDER BY {order}"""

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

# Always a row, which says whether they were few; without a doctor where the page is empty.
_FEW = """
WITH chosen AS MATERIALIZED (SELECT doctor_id FROM {source} LIMIT {most} + 1),
     counted AS MATERIALIZED (SELECT count(*) <= {most} AS few FROM chosen),
     page AS MATERIALIZED (
         SELECT * FROM (SELECT l.doctor_id, l.next_start, l.stars_short, {number} AS number
                        FROM listings l
                        WHERE l.doctor_id IN (SELECT doctor_id FROM chosen) AND (SELECT few FROM counted)
                              AND {after} AND {where} OFFSET 0) AS page
         ORDER BY {order} LIMIT {limit})
SELECT counted.few, {columns} FROM counted LEFT JOIN ({of_page}) ON true ORDER BY {order}"""

# A start not before the first minute, and ending by the last one, that can be booked now. Starts are in order, so the
# first one is found by halves.
_STARTS = """
free_times f, LATERAL (SELECT f.starts[1 + width_bucket(
                           GREATEST({since}, {now} + f.notice_minutes)::int - 1, f.starts)] AS start) AS first
WHERE f.modes & {modes} <> 0
      AND first.start + f.slot_minutes <= {until} AND first.start <= {now} + f.horizon_minutes"""
_FREE = "EXISTS (SELECT FROM {starts} AND f.doctor_id = l.doctor_id)"
_FREE_BY_HOUR = "{starts} AND f.hours && {hours}::int[]"
_AND_SPECIALTY = " AND f.specialties @> ARRAY[{specialty}::text]"
_BY_FACETS = "listing_facets WHERE {facets}"
_AMONG = "l.doctor_id IN (SELECT doctor_id FROM {source})"

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


class Search(NamedTuple):
    """What is looked for: up to `limit` doctors of a tier behind `after`, in the order of `sort`, as of `now`."""

    filters: Filters
    sort: Sort
    tier: Tier
    after: Position | None
    limit: int
    now: datetime

    @property
    def is_known_by_hours(self) -> bool:
        """Whether one index knows of specialty and free times at once."""
        return self.filters.asks_for_times and self.filters.specialty is not None and not self.tier.is_named

    def walked(self, walk: int) -> Statement:
        """Of the next `walk` rows of the list, those that fit."""
        values = _Values()
        where = [*self._facets(values), *self._plain(values), *self._free(values)]
        return self._page(_WALKED, values, where, walk=walk)

    def looked_up(self) -> Statement:
        """All that fit, by the indexes of what is asked for."""
        values = _Values()
        source, where = self._chosen_by(values)
        if source:
            where.append(_AMONG.format(source=source))
        return self._page(_LOOKED_UP, values, where)

    def among_few(self, most: int) -> Statement | None:
        """All that fit, if an index knows them and they are at most so many. None where no index does."""
        values = _Values()
        source, where = self._chosen_by(values)
        return self._page(_FEW, values, where, source=source, most=most) if source else None

    def further(self, walk: int) -> Statement:
        """Whether the list goes on behind the next `walk` rows: a row if so."""
        values, order = _Values(), self._order
        return _FURTHER.format(after=self._behind(values), key=order.key, walk=walk), values

    def _chosen_by(self, values: _Values) -> tuple[str, list[str]]:
        """An index that knows best whom it fits, if one does, and what it does not know."""
        if not self.tier.is_named and (source := self._by_hours(values)):
            return source, [*self._plain(values), *self._facets(values)]
        return self._by_facets(values), [*self._plain(values), *self._free(values)]

    def _page(self, form: str, values: _Values, where: list[str], **more: object) -> Statement:
        order = self._order
        made = {
            "number": f"l.{order.number}", "key": order.key, "order": order.of_page, "columns": _COLUMNS,
            "of_page": _OF_PAGE, "limit": values.add(self.limit), "after": self._behind(values),
            "where": " AND ".join(where), **more,
        }  # fmt: skip
        statement = form.format(**made)
        return (statement if form is _FEW else _PAGE.format(candidates=statement, **made)), values

    @property
    def _order(self) -> _Order:
        mode = self.filters.mode
        match self.sort:
            case Sort.SOONEST:
                return _Order(False, f"next_{mode}_start" if mode else "next_start")
            case Sort.FEE:
                return _Order(False, f"{mode}_fee" if mode else "fee")
            case Sort.RATING | Sort.RELEVANCE:
                return _Order(True, "next_start")

    def _behind(self, values: _Values) -> str:
        if self.after is None:
            return "true"
        stars = f"{values.add(self.after.stars_short)}::real, " if self._order.stars else ""
        return f"({self._order.key}) > ({stars}{values.add(self.after.number)}, {values.add(self.after.doctor_id)})"

    def _facets(self, values: _Values) -> Iterator[str]:
        filters = self.filters
        kinds = {"s": filters.specialty, "l": filters.language, "m": filters.mode, "g": filters.gender}
        if asked := [f"{kind}:{value}" for kind, value in kinds.items() if value]:
            yield f"facets @> {values.add(asked)}::text[]"
        for any_of in self.tier.all_of:
            yield f"facets && {values.add(sorted(any_of))}::text[]"
        for earlier in self.tier.none_of:
            yield f"NOT ({' AND '.join(f'facets && {values.add(sorted(any_of))}::text[]' for any_of in earlier)})"

    def _by_facets(self, values: _Values) -> str:
        facets = " AND ".join(self._facets(values))
        return _BY_FACETS.format(facets=facets) if facets else ""

    def _plain(self, values: _Values) -> list[str]:
        """What is compared within the row."""
        filters, where = self.filters, ["l.verified_until > now()"]
        if filters.max_fee is not None:
            fee = f"{filters.mode}_fee" if filters.mode else "fee"
            where.append(f"l.{fee} <= {values.add(filters.max_fee)}")
        if filters.min_rating is not None:
            where.append(f"l.stars_short <= 5 - {values.add(filters.min_rating)}::real")
        if filters.asks_for_times:
            where.append(f"l.next_start <= {values.add(self._minutes[1])}")
        return where

    def _free(self, values: _Values) -> Iterator[str]:
        if self.filters.asks_for_times:
            yield _FREE.format(starts=self._starts(values))

    def _by_hours(self, values: _Values) -> str:
        if not self.filters.asks_for_times:
            return ""
        first, last = self._minutes
        hours = values.add(list(range(first // 60, (last - SHORTEST_SLOT) // 60 + 1)))
        source = _FREE_BY_HOUR.format(starts=self._starts(values), hours=hours)
        if self.filters.specialty:
            source += _AND_SPECIALTY.format(specialty=values.add(self.filters.specialty))
        return source

    def _starts(self, values: _Values) -> str:
        first, last = self._minutes
        modes = BITS[self.filters.mode] if self.filters.mode else sum(BITS.values())
        return _STARTS.format(
            since=f"{values.add(first)}::bigint", until=f"{values.add(last)}::bigint",
            modes=f"{values.add(modes)}::bigint", now=f"{values.add(minute_of(self.now, up=True))}::bigint",
        )  # fmt: skip

    @property
    def _minutes(self) -> tuple[int, int]:
        """The first at which a time may begin, and the last at which it may end."""
        since = max(self.filters.available_from or self.now, self.now)
        until = min(self.filters.available_to or self.now + KEPT, self.now + KEPT + timedelta(days=1))
        return minute_of(since, up=True), minute_of(until)
