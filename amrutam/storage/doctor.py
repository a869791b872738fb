"""Doctors as rows."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.availability import Availability
from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Message, Mode
from amrutam.domain.doctor import UNRATED, Doctor, EditDoctor, Gender, Registration
from amrutam.domain.errors import NotFound
from amrutam.storage import availability as availabilities
from amrutam.storage.pool import Connection, Row

_DOCTOR = """
SELECT d.*, c.availability->>'time_zone' AS time_zone FROM doctors d JOIN calendars c ON c.doctor_id = d.id"""

NEW_SLOT_MINUTES = 30


class Versioned(NamedTuple):
    """A doctor and the version of the row."""

    doctor: Doctor
    version: int


class Filters(Message):
    """Which doctors a search finds: all that fit everything that is given."""

    q: str | None = None
    specialty: Specialty | None = None
    language: Language | None = None
    mode: Mode | None = None
    max_fee: int | None = None
    gender: Gender | None = None


async def create(db: Connection, user_id: UUID, full_name: str, time_zone: str) -> None:
    """A profile with nothing in it, unverified, and a calendar without hours."""
    await db.execute("INSERT INTO doctors (id, full_name) VALUES ($1, $2)", user_id, full_name)
    empty = Availability(time_zone=time_zone, slot_minutes=NEW_SLOT_MINUTES, rules=())
    await availabilities.create(db, user_id, empty)


async def find(db: Connection, doctor_id: UUID) -> Versioned | None:
    """The doctor, verified or not."""
    row = await db.fetchrow(f"{_DOCTOR} WHERE d.id = $1", doctor_id)
    return Versioned(_doctor(row), row["version"]) if row else None


async def find_verified(db: Connection, doctor_id: UUID) -> Doctor | None:
    """The doctor as everybody may see them."""
    row = await db.fetchrow(f"{_DOCTOR} WHERE d.id = $1 AND d.verified_at IS NOT NULL", doctor_id)
    return _doctor(row) if row else None


async def lock(db: Connection, doctor_id: UUID) -> Versioned:
    """The doctor, kept from bookings and other edits until the transaction ends. Raises NotFound.

    The calendar first, as a booking does; what a statement reads after that wait is what stands.
    """
    await availabilities.lock(db, doctor_id)
    row = await db.fetchrow(f"{_DOCTOR} WHERE d.id = $1 FOR UPDATE OF d", doctor_id)
    if row is None:
        raise NotFound
    return Versioned(_doctor(row), row["version"])


async def edit(db: Connection, doctor_id: UUID, edit: EditDoctor, *, verified: bool) -> None:
    """Replace the profile of a locked doctor. `verified` false takes the verification away."""
    registration = edit.registration
    await db.execute(
        """UPDATE doctors SET full_name = $2, gender = $3, specialties = $4, languages = $5, bio = $6,
                  years_of_experience = $7, qualifications = $8, registration_number = $9, registration_council = $10,
                  modes = $11, fees = $12, lowest_fee = $13, verified_at = CASE WHEN $14 THEN verified_at END,
                  version = version + 1, updated_at = now()
           WHERE id = $1""",
        doctor_id, edit.full_name, edit.gender, edit.specialties, edit.languages, edit.bio, edit.years_of_experience,
        edit.qualifications, registration.number if registration else None,
        registration.council if registration else None, edit.offered, _fees_json(edit), edit.lowest_fee, verified,
    )  # fmt: skip


async def verify(db: Connection, doctor_id: UUID) -> None:
    """Name and registration of a locked doctor were checked: the doctor can be found and booked."""
    await db.execute(
        "UPDATE doctors SET verified_at = now(), version = version + 1, updated_at = now() WHERE id = $1", doctor_id
    )


async def search(db: Connection, filters: Filters, after: UUID | None, limit: int) -> list[Doctor]:
    """Up to `limit` verified doctors in the order of their ids, beginning after the one with the id `after`.

    Each filter is a clause of its own, so that the planner sees just those that are asked for, with their indexes.
    """
    clauses, values = ["d.verified_at IS NOT NULL"], list[object]()
    for clause, value in _clauses(filters, after):
        values.append(value)
        clauses.append(clause.replace("$$", f"${len(values)}"))
    values.append(limit)
    where = " AND ".join(clauses)
    rows = await db.fetch(f"{_DOCTOR} WHERE {where} ORDER BY d.id LIMIT ${len(values)}", *values)
    return [_doctor(row) for row in rows]


def _clauses(filters: Filters, after: UUID | None) -> Iterator[tuple[str, object]]:
    if after:
        yield "d.id > $$", after
    if filters.q:
        yield "d.full_name ILIKE $$", f"%{_literally(filters.q)}%"
    if filters.specialty:
        yield "d.specialties @> ARRAY[$$::text]", filters.specialty
    if filters.language:
        yield "d.languages @> ARRAY[$$::text]", filters.language
    if filters.gender:
        yield "d.gender = $$", filters.gender
    if filters.mode:
        yield "d.modes @> ARRAY[$$::text]", filters.mode
    if filters.max_fee is not None and filters.mode:
        yield f"(d.fees->'{filters.mode}'->>'amount')::bigint <= $$", filters.max_fee
    elif filters.max_fee is not None:
        yield "d.lowest_fee <= $$", filters.max_fee


def _literally(text: str) -> str:
    r"""`text` for LIKE, whose own signs are `\`, `%` and `_`."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _fees_json(edit: EditDoctor) -> str:
    return json.dumps({mode: edit.fees[mode].model_dump() for mode in edit.offered})


def _doctor(row: Row) -> Doctor:
    number, council = row["registration_number"], row["registration_council"]
    verified_at: datetime | None = row["verified_at"]
    return Doctor(
        id=row["id"],
        full_name=row["full_name"],
        gender=row["gender"],
        specialties=row["specialties"],
        languages=row["languages"],
        bio=row["bio"],
        years_of_experience=row["years_of_experience"],
        qualifications=row["qualifications"],
        registration=Registration(number=number, council=council) if number and council else None,
        modes=row["modes"],
        fees=json.loads(row["fees"]),
        time_zone=row["time_zone"],
        rating=UNRATED,
        next_available_at=None,
        verified=verified_at is not None,
    )
