"""Doctors over HTTP: found and read by everyone, edited by themselves."""

from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.catalogue import Language, Specialty, language_name, specialty_name
from amrutam.domain.common import Message, Role
from amrutam.domain.doctor import Doctor, DoctorChanged, EditDoctor, is_still_what_was_verified
from amrutam.domain.verification import kept_for
from amrutam.storage import audit, events, verification
from amrutam.storage import doctor as storage
from amrutam.storage.cache import SEARCH_GROUP, Entry, doctor_group, slots_group
from amrutam.storage.pool import Connection
from web.consistency import at_least
from web.context import Answer, Call, version_tag
from web.doctor_search import DoctorPage, DoctorQuery, page, position
from web.quotas import SEARCH
from web.routing import EVERYONE, Feature

doctors = Feature("doctors")

# How old an answer may be, in seconds: bookings change the next free time and do not drop it.
DOCTOR_TTL = 30.0
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


class LanguageView(Message):
    """A language."""

    code: Language
    name: str


class LanguageList(Message):
    """Every language that a doctor may speak with patients."""

    items: list[LanguageView]


@doctors.route("GET", "/v1/specialties", allow=EVERYONE, owns="public", answers={200: SpecialtyList})
async def list_specialties(_call: Call) -> Answer:
    """Every specialty with its name."""
    items = [SpecialtyView(code=each, name=specialty_name(each)) for each in Specialty]
    return Answer(SpecialtyList(items=items), headers={"Cache-Control": "public, max-age=3600"})


@doctors.route("GET", "/v1/languages", allow=EVERYONE, owns="public", answers={200: LanguageList})
async def list_languages(_call: Call) -> Answer:
    """Every language with its name in English."""
    items = [LanguageView(code=each, name=language_name(each)) for each in Language]
    return Answer(LanguageList(items=items), headers={"Cache-Control": "public, max-age=3600"})


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
    """Find verified doctors. `next_available_at` and what is free in a time may be a minute and a half behind.

    Without `sort`: the closest to the text where there is one, else the soonest free. A doctor who moves within the
    list while its pages are read may be in two of them or in none.
    """
    query.check_reach(call.now)
    after = position(call, query)

    async def fill(db: Connection) -> bytes:
        return await page(db, call, query, after)

    ttl = kept_for(SEARCH_TTL, call.now)
    return public(await call.services.cache.get(SEARCH_GROUP, query.cache_key, ttl, fill, at_least(call)))


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

    ttl = kept_for(DOCTOR_TTL, call.now)
    return public(await call.services.cache.get(doctor_group(id), "profile", ttl, fill, at_least(call)))


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
        unchanged = is_still_what_was_verified(before.doctor, command)
        await storage.edit(db, call.user_id, command, verified=unchanged)
        if not unchanged:
            await verification.supersede(db, call.user_id)
        await audit.append(db, call.actor, "doctor.edit", call.user_id)
        after = await storage.lock(db, call.user_id)
        await events.append(db, DoctorChanged(subject=call.user_id, verified=after.doctor.verified))
    await call.services.cache.invalidate(doctor_group(call.user_id), slots_group(call.user_id), SEARCH_GROUP)
    return Answer(after.doctor, etag=version_tag(after.version))


def public(entry: Entry | None) -> Answer:
    """A ready answer that everyone may see. Raises NotFound where there is none."""
    if entry is None:
        raise errors.NotFound
    return Answer(entry.body, headers=PUBLIC, etag=entry.etag)
