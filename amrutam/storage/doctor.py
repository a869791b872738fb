"""Doctors as rows."""

import json
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.availability import Availability
from amrutam.domain.doctor import Doctor, EditDoctor, Rating, Registration
from amrutam.domain.documents import photo_url
from amrutam.domain.errors import NotFound
from amrutam.domain.free_times import moment_of
from amrutam.storage import availability as availabilities
from amrutam.storage.pool import Connection, Row

# Of doctors as `d`: who may be found and booked; not who was never verified, is suspended, or whose licence lapsed.
FINDABLE = "d.verified_at IS NOT NULL AND d.verified_until > now()"

_DOCTOR = f"""
SELECT d.*, c.availability->>'time_zone' AS time_zone, l.next_start, {FINDABLE} AS findable
FROM doctors d JOIN calendars c ON c.doctor_id = d.id LEFT JOIN listings l ON l.doctor_id = d.id"""  # noqa: S608 - of constants

NEW_SLOT_MINUTES = 30


class Versioned(NamedTuple):
    """A doctor and the version of the row."""

    doctor: Doctor
    version: int


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
    row = await db.fetchrow(f"{_DOCTOR} WHERE d.id = $1 AND {FINDABLE}", doctor_id)
    return _doctor(row) if row else None


async def several(db: Connection, doctors: Sequence[UUID]) -> dict[UUID, Doctor]:
    """These doctors, verified or not, by id."""
    rows = await db.fetch(f"{_DOCTOR} WHERE d.id = ANY ($1)", list(doctors))
    return {row["id"]: _doctor(row) for row in rows}


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
                  verified_before = CASE WHEN $14 THEN verified_before END,
                  version = version + 1, updated_at = now()
           WHERE id = $1""",
        doctor_id, edit.full_name, edit.gender, edit.specialties, edit.languages, edit.bio, edit.years_of_experience,
        edit.qualifications, registration.number if registration else None,
        registration.council if registration else None, edit.offered, _fees_json(edit), edit.lowest_fee, verified,
    )  # fmt: skip


async def verify(db: Connection, doctor_id: UUID) -> None:
    """Name and registration of a locked doctor were checked: the doctor can be found and booked."""
    await db.execute(
        """UPDATE doctors SET verified_at = now(), verified_until = 'infinity', verification_id = NULL,
                  suspended_at = NULL, suspension_reason = NULL, verified_before = NULL, version = version + 1,
                  updated_at = now()
           WHERE id = $1""",
        doctor_id,
    )


def _fees_json(edit: EditDoctor) -> str:
    return json.dumps({mode: edit.fees[mode].model_dump() for mode in edit.offered})


def _doctor(row: Row) -> Doctor:
    number, council = row["registration_number"], row["registration_council"]
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
        photo_url=photo_url(row["id"], row["photo_id"]),
        time_zone=row["time_zone"],
        rating=Rating(average=row["rating_average"], count=row["rating_count"]),
        next_available_at=moment_of(row["next_start"]) if row["findable"] else None,
        verified=row["findable"],
    )
