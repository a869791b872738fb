"""A search's query, and its page as JSON: rows become bytes at once, since every miss of the cache makes twenty."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import to_json

from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Instant, Line, Message, Mode
from amrutam.domain.doctor import Doctor, Gender, average_of_stars
from amrutam.domain.doctor_search import EVERYBODY, Filters, Sort, Tier, terms, tiers, whole
from amrutam.domain.documents import photo_url
from amrutam.domain.errors import Fault, InvalidCursor, ValidationFailed
from amrutam.domain.free_times import KEPT, moment_of
from amrutam.storage import doctor_search as storage
from amrutam.storage.doctor_search import Found
from amrutam.storage.name_words import words_of
from amrutam.storage.pool import Connection, Row
from amrutam.storage.search_statements import Position
from web import paging
from web.context import Call


class DoctorQuery(paging.Page):
    """Which doctors to find: all that fit everything that is given."""

    q: Line | None = Field(
        None,
        max_length=100,
        description="a name, a specialty or a complaint, or some of each; typing mistakes are forgiven",
        examples=["dr menen dermatolgy", "skin rash"],
    )
    specialty: Specialty | None = None
    language: Language | None = Field(None, description="code of the language")
    mode: Mode | None = None
    max_fee: int | None = Field(
        None, ge=0, le=10**12, description="in minor units; of `mode`, else of the doctor's cheapest mode"
    )
    min_rating: float | None = Field(None, ge=0, le=5, allow_inf_nan=False, description="stars on average, 0 to 5")
    gender: Gender | None = None
    available_from: Instant | None = Field(
        None, description=f"has a free time that begins then or later; at most {KEPT.days} days ahead"
    )
    available_to: Instant | None = Field(None, description="… and ends then or earlier; after `available_from`")
    sort: Sort | None = Field(
        None, description="`relevance` where there is a text, else `soonest`; `fee` compares amounts in minor units"
    )

    @field_validator("available_to")
    @classmethod
    def _after_available_from(cls, available_to: datetime | None, info: ValidationInfo) -> datetime | None:
        available_from = info.data.get("available_from")
        if available_from and available_to and available_to <= available_from:
            raise ValueError("should be after available_from")
        return available_to

    def check_reach(self, now: datetime) -> None:
        """Raises ValidationFailed for times of which a search knows nothing."""
        if self.available_from and self.available_from > now + KEPT:
            detail = f"Searches know of free times within {KEPT.days} days; ask for a doctor's slots for later ones."
            raise ValidationFailed(faults=[Fault(pointer="/available_from", code="too_far", detail=detail)])
        if self.available_to and self.available_to <= now:
            raise ValidationFailed(
                faults=[Fault(pointer="/available_to", code="past", detail="It should be in the future.")]
            )

    @property
    def filters(self) -> Filters:
        """Without the text, the order, and the page's own fields."""
        return Filters.model_construct(**{name: getattr(self, name) for name in Filters.model_fields})

    @property
    def order(self) -> Sort:
        """The one that is asked for, else the one that fits."""
        return self.sort or (Sort.RELEVANCE if self.q else Sort.SOONEST)

    @property
    def cache_key(self) -> str:
        """Equal queries, equal keys, in every process."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=16).hexdigest()


class DoctorPage(Message):
    """A page of doctors."""

    items: list[Doctor]
    next_cursor: str | None


def position(call: Call, query: DoctorQuery) -> Position | None:
    """Behind which the page begins; None for the first page. Raises InvalidCursor."""
    place = paging.place(call, query)
    try:
        return Position.unpacked(place) if place else None
    except ValueError:
        raise InvalidCursor(pointer="/cursor") from None


async def page(db: Connection, call: Call, query: DoctorQuery, after: Position | None) -> bytes:
    """The page as JSON, as `DoctorPage` says."""
    asked = await _tiers(db, query) if query.q else EVERYBODY
    found = await storage.find(db, query.filters, query.order, asked, after, query.limit + 1, call.now)
    shown = found[: query.limit]
    further = paging.sealed(call, query, shown[-1].position.packed()) if len(found) > query.limit else None
    return to_json({"items": _items(shown), "next_cursor": further})


async def _tiers(db: Connection, query: DoctorQuery) -> Sequence[Tier]:
    words, names = await words_of(db, query.q or "")
    if not words:  # nothing but signs
        return ()
    understood = terms(words, names)
    return tiers(understood) if query.order is Sort.RELEVANCE else whole(understood)


def _items(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [_item(each.row) for each in found]


def _item(row: Row) -> dict[str, Any]:
    """As `Doctor` is written."""
    number, council = row["registration_number"], row["registration_council"]
    return {
        "id": str(row["id"]),
        "full_name": row["full_name"],
        "gender": row["gender"],
        "specialties": row["specialties"],
        "languages": row["languages"],
        "bio": row["bio"],
        "years_of_experience": row["years_of_experience"],
        "qualifications": row["qualifications"],
        "registration": {"number": number, "council": council} if number and council else None,
        "modes": row["modes"],
        "fees": _fees(row["fees"]),
        "photo_url": photo_url(row["id"], row["photo_id"]),
        "time_zone": row["time_zone"],
        "rating": {"average": average_of_stars(row["rating_average"]), "count": row["rating_count"]},
        "next_available_at": _rfc3339(moment_of(row["next_start"])),
        "verified": True,
    }


@lru_cache(maxsize=4096)
def _fees(text: str) -> dict[str, Any]:
    return json.loads(text)


def _rfc3339(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
