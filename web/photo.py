"""A doctor's photo over HTTP: shown to everyone, given by its doctor."""

import hashlib
from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.common import Message, Role
from amrutam.domain.doctor import Doctor, DoctorChanged
from amrutam.domain.documents import PHOTO, MediaType, Purpose, key_of
from amrutam.domain.verification import kept_for
from amrutam.ids import new_id
from amrutam.storage import audit, events
from amrutam.storage import doctor as doctors
from amrutam.storage import documents as storage
from amrutam.storage.cache import SEARCH_GROUP, doctor_group
from amrutam.storage.documents import StoredDocument, StoredObject
from amrutam.storage.pool import Connection
from web import parsing
from web.context import Answer, Call, version_tag
from web.quotas import UPLOAD
from web.routing import EVERYONE, Feature

photo = Feature("photo")

# How old the answer may be, in seconds, where the news of another photo was lost.
PHOTO_TTL = 300.0

# Another photo has another address. How long a browser shows that of a doctor who may not be found any more.
PUBLIC = {
    "Cache-Control": "public, max-age=300",
    "Cross-Origin-Resource-Policy": "cross-origin",  # apps show it in pages of their own
}


class Place(Message):
    """Where a photo is."""

    id: UUID
    key: str


@photo.route(
    "GET",
    "/v1/doctors/{id}/photo",
    allow=EVERYONE,
    owns="public; verified doctors only",
    answers={200: None},
    errors=[errors.NotFound],
    sends=(MediaType.WEBP,),
)
async def read(call: Call, id: UUID) -> Answer:
    """The photo of a verified doctor. A square of 512 pixels at most; `photo_url` of the doctor says where it is."""

    async def fill(db: Connection) -> bytes | None:
        found = await storage.photo_of(db, id) if await doctors.find_verified(db, id) else None
        return _place(found).model_dump_json().encode() if found else None

    entry = await call.services.cache.get(doctor_group(id), "photo", kept_for(PHOTO_TTL, call.now), fill)
    if entry is None:
        raise errors.NotFound
    return await _shown(call, Place.model_validate_json(entry.body), PUBLIC)


@photo.route(
    "GET",
    "/v1/doctors/me/photo",
    allow=[Role.DOCTOR],
    owns="the caller's own photo",
    answers={200: None},
    errors=[errors.NotFound],
    sends=(MediaType.WEBP,),
)
async def read_own(call: Call) -> Answer:
    """The caller's own photo, verified or not."""
    async with call.services.db.connection() as db:
        found = await storage.photo_of(db, call.user_id)
    if found is None:
        raise errors.NotFound
    return await _shown(call, _place(found), {})


@photo.route(
    "PUT",
    "/v1/doctors/me/photo",
    allow=[Role.DOCTOR],
    owns="the caller's own photo",
    answers={200: Doctor},
    errors=[errors.NotFound],
    audited=True,
    limit=UPLOAD,
    upload=PHOTO,
)
async def replace(call: Call, kind: MediaType) -> Answer:  # noqa: ARG001 - every one is drawn anew as WebP
    """Show this photo. Its middle is kept, upright, as a square of 512 pixels at most, and nothing else that the file
    tells, such as where it was made.
    """
    content = await call.services.pictures.photo(call.request.body)
    stored = StoredObject(
        key_of(Purpose.PHOTO, new_id(), MediaType.WEBP), MediaType.WEBP, len(content), hashlib.sha256(content).digest()
    )
    async with call.services.db.connection() as db:
        shown = await storage.photo_of(db, call.user_id)
    if shown and shown.object.sha256 == stored.sha256:
        return await _profile(call)
    await call.services.documents.put(stored.key, content)
    return await _replace(call, stored)


@photo.route(
    "DELETE",
    "/v1/doctors/me/photo",
    allow=[Role.DOCTOR],
    owns="the caller's own photo",
    answers={200: Doctor},
    errors=[errors.NotFound],
    audited=True,
)
async def remove(call: Call) -> Answer:
    """Show no photo."""
    async with call.services.db.connection() as db:
        if await storage.photo_of(db, call.user_id) is None:
            raise errors.NotFound
    return await _replace(call, None)


async def _replace(call: Call, stored: StoredObject | None) -> Answer:
    """The profile with another photo, which is in the store, or none."""
    async with call.services.db.transaction() as db:
        before = await doctors.lock(db, call.user_id)
        await storage.replace_photo(db, call.user_id, new_id(), stored)
        await audit.append(db, call.actor, "doctor.photo_changed" if stored else "doctor.photo_removed", call.user_id)
        await events.append(db, DoctorChanged(subject=call.user_id, verified=before.doctor.verified))
    await call.services.cache.invalidate(doctor_group(call.user_id), SEARCH_GROUP)
    return await _profile(call)


async def _profile(call: Call) -> Answer:
    async with call.services.db.connection() as db:
        found = await doctors.find(db, call.user_id)
    if found is None:
        raise errors.NotFound
    return Answer(found.doctor, etag=version_tag(found.version))


def _place(found: StoredDocument) -> Place:
    return Place(id=found.id, key=found.object.key)


async def _shown(call: Call, place: Place, headers: dict[str, str]) -> Answer:
    """The picture; its store is not asked for what the client has."""
    etag = f'"{place.id}"'
    if parsing.header(call.request, "if-none-match") == etag:
        return Answer(headers=headers, etag=etag)
    kept = await call.services.documents.get(place.key)
    return Answer(kept.content, headers={**headers, "Content-Type": kept.content_type}, etag=etag)
