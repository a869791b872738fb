"""Doctors over HTTP: found and read by everyone, edited by themselves."""

import hashlib
from uuid import UUID

from pydantic import Field

from amrutam.domain import errors
from amrutam.domain.catalogue import Language, Specialty, specialty_name
from amrutam.domain.common import Line, Message, Mode, Role
from amrutam.domain.doctor import Doctor, DoctorChanged, EditDoctor, Gender, stays_verified
from amrutam.storage import audit, events
from amrutam.storage import doctor as storage
from amrutam.storage.cache import SEARCH_GROUP, Entry, doctor_group, slots_group
from amrutam.storage.pool import Connection
from web import paging
from web.context import Answer, Call, version_tag
from web.quotas import SEARCH
from web.routing import EVERYONE, Feature

doctors = Feature("doctors")

# How old an answer may be, in seconds, where the news of a change was lost.
DOCTOR_TTL = 300.0
SEARCH_TTL = 30.0

# Clients ask again each time, and get 304 while nothing has changed.
PUBLIC = {"Cache-Control": "public, no-cache"}


class SpecialtyView(Message):
    """A field of medicine."""

    code: Specialty
    name: str


class SpecialtyList(Message):
    """Every field of medicine that a doctor may name."""

    items: list[SpecialtyView]


class DoctorQuery(paging.Page):
    """Which doctors to find: all that fit everything that is given."""

    q: Line | None = Field(None, max_length=100, description="part of the name")
    specialty: Specialty | None = None
    language: Language | None = Field(None, description="ISO 639-1 code")
    mode: Mode | None = None
    max_fee: int | None = Field(
        None, ge=0, le=10**12, description="in minor units; of `mode`, else of the doctor's cheapest mode"
    )
    gender: Gender | None = None

    @property
    def filters(self) -> storage.Filters:
        """Without the page's own fields."""
        return storage.Filters.model_validate(self.model_dump(exclude={"limit", "cursor"}))


class DoctorPage(Message):
    """A page of doctors."""

    items: list[Doctor]
    next_cursor: str | None


@doctors.route("GET", "/v1/specialties", allow=EVERYONE, owns="public", answers={200: SpecialtyList})
async def list_specialties(_call: Call) -> Answer:
    """Every specialty with its name."""
    items = [SpecialtyView(code=each, name=specialty_name(each)) for each in Specialty]
    return Answer(SpecialtyList(items=items), headers={"Cache-Control": "public, max-age=3600"})


@doctors.route(
    "GET",
    "/v1/doctors",
    allow=EVERYONE,
    owns="public; verified doctors only",
    answers={200: DoctorPage},
    errors=[errors.InvalidCursor],
    limit=SEARCH,
)
async def search(call: Call, query: DoctorQuery) -> Answer:
    """Find verified doctors. May be 30 seconds behind."""
    after = paging.position(call, query)

    async def fill(db: Connection) -> bytes:
        found = await storage.search(db, query.filters, after, query.limit + 1)
        shown = found[: query.limit]
        next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
        return DoctorPage(items=shown, next_cursor=next_cursor).model_dump_json().encode()

    return public(await call.services.cache.get(SEARCH_GROUP, _key(query), SEARCH_TTL, fill))


def _key(query: DoctorQuery) -> str:
    """Equal queries, equal keys, in every process."""
    return hashlib.blake2b(query.model_dump_json().encode(), digest_size=16).hexdigest()


@doctors.route(
    "GET",
    "/v1/doctors/{id}",
    allow=EVERYONE,
    owns="public; verified doctors only",
    answers={200: Doctor},
    errors=[errors.NotFound],
)
async def read(call: Call, id: UUID) -> Answer:
    """One verified doctor."""

    async def fill(db: Connection) -> bytes | None:
        found = await storage.find_verified(db, id)
        return found.model_dump_json().encode() if found else None

    return public(await call.services.cache.get(doctor_group(id), "profile", DOCTOR_TTL, fill))


@doctors.route("GET", "/v1/doctors/me", allow=[Role.DOCTOR], owns="the caller's own profile", answers={200: Doctor})
async def read_own(call: Call) -> Answer:
    """The caller's own profile, verified or not."""
    async with call.services.db.connection() as db:
        found = await storage.find(db, call.user_id)
    if found is None:
        raise errors.NotFound
    return Answer(found.doctor, etag=version_tag(found.version))


@doctors.route(
    "PUT",
    "/v1/doctors/me",
    allow=[Role.DOCTOR],
    owns="the caller's own profile",
    answers={200: Doctor},
    errors=[errors.NotFound, errors.Stale],
    audited=True,
)
async def edit_own(call: Call, command: EditDoctor) -> Answer:
    """Replace the caller's profile. Another name or registration asks for verification again: `verified` is false then.

    Until it is verified, a profile cannot be found or booked; what is booked already stands.
    """
    async with call.services.db.transaction() as db:
        before = await storage.lock(db, call.user_id)
        call.check_if_match(version_tag(before.version))
        verified = stays_verified(before.doctor, command)
        await storage.edit(db, call.user_id, command, verified=verified)
        await audit.append(db, call.actor, "doctor.edit", call.user_id)
        await events.append(db, DoctorChanged(subject=call.user_id, verified=verified))
        after = await storage.lock(db, call.user_id)
    await call.services.cache.invalidate(doctor_group(call.user_id), slots_group(call.user_id), SEARCH_GROUP)
    return Answer(after.doctor, etag=version_tag(after.version))


def public(entry: Entry | None) -> Answer:
    """A ready answer that everyone may see. Raises NotFound where there is none."""
    if entry is None:
        raise errors.NotFound
    return Answer(entry.body, headers=PUBLIC, etag=entry.etag)
