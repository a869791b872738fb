"""An operation is done once, however often its activity is tried."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from amrutam.crypto import SealingKeys
from amrutam.domain.common import Message
from amrutam.domain.errors import DomainError
from amrutam.storage import operations
from amrutam.storage.pool import Connection, Database

M = TypeVar("M", bound=Message)


async def once(
    database: Database,
    keys: SealingKeys,
    operation_id: UUID,
    model: type[M],
    work: Callable[[Connection], Awaitable[M]],
) -> M:
    """Do the work and store its outcome in one transaction. Raises the refusal, which is noted in the record."""
    try:
        async with database.transaction() as db:
            stored = await operations.outcome_of(db, keys, operation_id)
            if stored is not None:  # an earlier attempt committed, and its answer was lost
                return model.model_validate_json(stored)
            done = await work(db)
            await operations.finish(db, keys, operation_id, done.model_dump_json().encode())
    except DomainError as refusal:
        async with database.connection() as db:
            await operations.refuse(db, keys, operation_id, refusal.refusal())
        raise
    return done
