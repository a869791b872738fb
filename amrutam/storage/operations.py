"""Idempotency records: what a client asked for under which key, and what came of it.

The record's operation id is the id of what is created, the tail of the workflow's id and the update's id. Nobody holds
a lease on a record, so nothing can stay "in progress": every duplicate calls Temporal again with the same ids.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import SealError, SealingKeys
from amrutam.domain.errors import IdempotencyKeyReused, OperationInProgress, Refused
from amrutam.storage.pool import Connection, Row
from amrutam.telemetry import seal_broken


class Operation(NamedTuple):
    """One record. At most one of `outcome` (JSON of what was done) and `refusal` is there."""

    id: UUID
    action: str
    fresh: bool  # made by this very call
    outcome: bytes | None
    refusal: Refused | None


_RECORD = "SELECT operation_id, action, request_mac, outcome, refusal FROM operations"


async def begin(
    db: Connection, keys: SealingKeys, user_id: UUID, key: str, action: str, mac: bytes, new_id: UUID
) -> Operation:
    """The record of this user and key, made with `new_id` for `action` (a route's name) if there is none.

    A refusal depends on its moment: it is swapped away for `new_id`, so that the request is tried afresh.
    Raises IdempotencyKeyReused when the key was used for another request.
    """
    made = await db.fetchval(
        """INSERT INTO operations (user_id, key, operation_id, action, request_mac) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (user_id, key) DO NOTHING RETURNING operation_id""",
        user_id, key, new_id, action, mac,
    )  # fmt: skip
    if made:
        return Operation(new_id, action, fresh=True, outcome=None, refusal=None)
    row = await db.fetchrow(f"{_RECORD} WHERE user_id = $1 AND key = $2", user_id, key)
    if row is None:  # its lifetime ended between the two statements
        return await begin(db, keys, user_id, key, action, mac, new_id)
    if row["request_mac"] != mac:
        raise IdempotencyKeyReused
    if row["refusal"] is None:
        return _operation(row, keys)
    if await swap(db, row["operation_id"], new_id):
        return Operation(new_id, action, fresh=True, outcome=None, refusal=None)
    return await begin(db, keys, user_id, key, action, mac, new_id)  # another caller swapped first: share its operation


async def swap(db: Connection, old: UUID, new: UUID) -> bool:
    """Give the record a new operation id and no refusal, unless it has an outcome or moved on already."""
    done = await db.execute(
        "UPDATE operations SET operation_id = $2, refusal = NULL WHERE operation_id = $1 AND outcome IS NULL", old, new
    )
    return done == "UPDATE 1"


async def find(db: Connection, keys: SealingKeys, user_id: UUID, operation_id: UUID) -> Operation | None:
    """The user's record that carries this operation id now."""
    row = await db.fetchrow(
        f"{_RECORD} WHERE operation_id = $1 AND user_id = $2",
        operation_id, user_id,
    )  # fmt: skip
    return _operation(row, keys) if row else None


async def outcome_of(db: Connection, keys: SealingKeys, operation_id: UUID) -> bytes | None:
    """What an earlier attempt of this operation stored; the record stays locked until the transaction ends.

    Raises OperationInProgress when no record carries this id any more: it moved on to a new one.
    """
    row = await db.fetchrow("SELECT outcome FROM operations WHERE operation_id = $1 FOR UPDATE", operation_id)
    if row is None:
        raise OperationInProgress
    return open_sealed(keys, row["outcome"], operation_id) if row["outcome"] else None


async def finish(db: Connection, keys: SealingKeys, operation_id: UUID, outcome: bytes) -> None:
    """Store what was done, in the transaction that does it, which must roll back on OperationInProgress."""
    done = await db.execute(
        "UPDATE operations SET outcome = $2, refusal = NULL WHERE operation_id = $1 AND outcome IS NULL",
        operation_id, keys.seal(outcome, operation_id.bytes),
    )  # fmt: skip
    if done != "UPDATE 1":
        raise OperationInProgress


async def refuse(db: Connection, keys: SealingKeys, operation_id: UUID, refusal: Refused) -> bool:
    """Note why it cannot be done now, for all who wait. False when the record has an outcome, or has moved on."""
    done = await db.execute(
        "UPDATE operations SET refusal = $2 WHERE operation_id = $1 AND outcome IS NULL",
        operation_id, keys.seal(refusal.model_dump_json().encode(), operation_id.bytes),
    )  # fmt: skip
    return done == "UPDATE 1"


async def forget_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` records made before `moment`; returns how many."""
    gone: Sequence[Row] = await db.fetch(
        """DELETE FROM operations WHERE operation_id IN
           (SELECT operation_id FROM operations WHERE created_at < $1 ORDER BY created_at LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)


def _operation(row: Row, keys: SealingKeys) -> Operation:
    operation_id: UUID = row["operation_id"]
    return Operation(
        operation_id,
        row["action"],
        fresh=False,
        outcome=open_sealed(keys, row["outcome"], operation_id) if row["outcome"] else None,
        refusal=_refusal(keys, row["refusal"], operation_id) if row["refusal"] else None,
    )


def _refusal(keys: SealingKeys, sealed: bytes, operation_id: UUID) -> Refused:
    return Refused.model_validate_json(open_sealed(keys, sealed, operation_id))


def open_sealed(keys: SealingKeys, sealed: bytes, operation_id: UUID) -> bytes:
    """An outcome or a refusal in the clear. Raises SealError, which is told (see `telemetry.seal_broken`)."""
    try:
        return keys.open(sealed, operation_id.bytes)
    except SealError as error:
        seal_broken("operation", f"operations|{operation_id}".encode(), str(error))
        raise
