"""The `Idempotency-Key` of a write, and the record that it names."""

import re
from collections.abc import Awaitable, Callable
from typing import cast

from amrutam.domain.errors import Fault, IdempotencyKeyMissing
from amrutam.ids import new_id
from amrutam.storage import operations
from amrutam.storage.operations import Operation
from amrutam.storage.pool import Connection
from web.context import Call

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


async def begin(call: Call, action: str, *, required: bool) -> Operation:
    """The record for this request. Raises IdempotencyKeyMissing, IdempotencyKeyReused.

    A write without a key, where that is allowed, gets a record of its own under a key that no client can send.
    """
    operation_id = new_id()
    key = _key(call, required=required) or f" {operation_id}"
    request = call.request
    mac = call.services.keyring.mark(
        "operations", request.method.encode(), request.path.encode(), request.query_string.encode(), request.body
    )
    async with call.services.db.connection() as db:
        return await operations.begin(db, call.services.operation_keys, call.user_id, key, action, mac, operation_id)


async def once(call: Call, edit: Callable[[Connection], Awaitable[bytes]]) -> bytes:
    """Do a plain edit and store its outcome in one transaction, or return the outcome that is stored already."""
    keys, operation = call.services.operation_keys, call.required_operation
    if operation.outcome is not None:
        return operation.outcome
    async with call.services.db.transaction() as db:
        stored = await operations.outcome_of(db, keys, operation.id)
        if stored is not None:
            return stored
        outcome = await edit(db)
        await operations.finish(db, keys, operation.id, outcome)
        return outcome


def _key(call: Call, *, required: bool) -> str | None:
    sent = cast("list[str]", call.request.headers.getall("idempotency-key", []))
    if not sent:
        if required:
            raise IdempotencyKeyMissing
        return None
    if len(sent) > 1 or not _VISIBLE_ASCII.fullmatch(sent[0]):
        detail = "1 to 255 visible ASCII characters, once."
        raise IdempotencyKeyMissing(faults=[Fault(pointer="/Idempotency-Key", code="malformed", detail=detail)])
    return sent[0]
