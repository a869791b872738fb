"""The documents of a verification over HTTP: given by a doctor, opened by administrators."""

import asyncio
import hashlib
from uuid import UUID

from amrutam.crypto import place
from amrutam.domain import errors
from amrutam.domain.common import Message, Role
from amrutam.domain.documents import DOCUMENT, ENDINGS, SEALED, Document, MediaType, Purpose, key_of
from amrutam.ids import new_id
from amrutam.storage import audit
from amrutam.storage import documents as storage
from amrutam.storage.documents import StoredObject
from amrutam.storage.person_keys import DataKeyMissing
from amrutam.storage.pool import Connection
from web.context import Answer, Call
from web.idempotency import once
from web.quotas import UPLOAD
from web.routing import Feature, Idempotency

documents = Feature("documents")


class DocumentList(Message):
    """Documents, the oldest first."""

    items: list[Document]


@documents.route(
    "GET",
    "/v1/doctors/me/documents",
    allow=[Role.DOCTOR],
    owns="the caller's own documents",
    answers={200: DocumentList},
)
async def list_own(call: Call) -> Answer:
    """The documents that the caller gave for the verification, fifty at most."""
    async with call.services.db.connection() as db:
        found = await storage.every_one_of(db, call.user_id, Purpose.VERIFICATION)
    return Answer(DocumentList(items=[each.shown for each in found]))


@documents.route(
    "POST",
    "/v1/doctors/me/documents",
    allow=[Role.DOCTOR],
    owns="the caller's own documents",
    answers={201: Document},
    errors=[errors.InvalidState],
    idempotency=Idempotency.OPTIONAL,
    audited=True,
    limit=UPLOAD,
    upload=DOCUMENT,
)
async def add(call: Call, kind: MediaType) -> Answer:
    """Give a document for the verification, such as a certificate of registration. It is sealed; administrators alone
    open it. Name its id where you ask to be verified.
    """
    operation = call.required_operation
    if operation.outcome is not None:
        return Answer(operation.outcome, 201)
    if kind is not MediaType.PDF:
        await call.services.pictures.check(call.request.body)
    stored = await _sealed(call, operation.id, kind)

    async def edit(db: Connection) -> bytes:
        document = await storage.add(db, operation.id, call.user_id, stored)
        await audit.append(db, call.actor, "document.add", operation.id)
        return document.model_dump_json().encode()

    return Answer(await once(call, edit), 201)


@documents.route(
    "DELETE",
    "/v1/doctors/me/documents/{id}",
    allow=[Role.DOCTOR],
    owns="the caller's own documents",
    answers={204: None},
    errors=[errors.NotFound],
    audited=True,
)
async def remove(call: Call, id: UUID) -> Answer:
    """Take a document back. Nobody opens it from now on; its content is gone some days later."""
    async with call.services.db.transaction() as db:
        await storage.delete(db, id, call.user_id, Purpose.VERIFICATION)
        await audit.append(db, call.actor, "document.delete", id)
    return Answer(status=204)


@documents.route(
    "GET",
    "/v1/admin/documents/{id}",
    allow=[Role.ADMIN],
    owns="every document of a verification",
    answers={200: None},
    errors=[errors.NotFound],
    audited=True,
    sends=DOCUMENT.kinds,
)
async def read(call: Call, id: UUID) -> Answer:
    """Open a document that a doctor gave for the verification. It comes as a file to keep, never to show in a page."""
    async with call.services.db.connection() as db:
        found = await storage.find(db, id)
        if found.purpose is not Purpose.VERIFICATION:
            raise errors.NotFound
        await audit.append(db, call.actor, "document.read", id)
        try:
            key = await call.services.person_keys.of(db, found.owner_id)
        except DataKeyMissing:  # erased: nobody can read it again
            raise errors.NotFound from None
    kept = await call.services.documents.get(found.object.key)
    content = await asyncio.to_thread(key.open_bytes, kept.content, _bound(id))
    name = f"{id}.{ENDINGS[found.object.content_type]}"
    headers = {
        "Content-Type": str(found.object.content_type),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return Answer(content, headers=headers)


async def _sealed(call: Call, document_id: UUID, kind: MediaType) -> StoredObject:
    """The body in the store, sealed with its doctor's key. Raises InvalidState, DocumentsUnavailable."""
    async with call.services.db.connection() as db:
        await storage.check_room(db, call.user_id)  # before anything is stored, and again when its row is written
        key = await call.services.person_keys.of(db, call.user_id)
    body = call.request.body

    def seal() -> tuple[bytes, bytes]:
        sealed = key.seal_bytes(body, _bound(document_id))
        return sealed, hashlib.sha256(sealed).digest()

    sealed, digest = await asyncio.to_thread(seal)
    stored = StoredObject(key_of(Purpose.VERIFICATION, new_id(), SEALED), kind, len(body), digest)
    await call.services.documents.put(stored.key, sealed)
    return stored


def _bound(document_id: UUID) -> bytes:
    return place("documents", document_id, "content")
