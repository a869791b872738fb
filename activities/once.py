"""An operation is done once, however often its activity is tried."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

from amrutam.crypto import SealingKeys
from amrutam.domain.common import Message
from amrutam.domain.errors import DomainError
from amrutam.storage import operations
from amrutam.storage.pool import Connection, Database

M = TypeVar("M", bound=Message)


@asynccontextmanager
async def refusals_noted(database: Database, keys: SealingKeys, operation_id: UUID) -> AsyncGenerator[None]:
    """Note a refusal in the operation's record, for all who wait, and let it pass on."""
    try:
        yield
    except DomainError as refusal:
        async with database.connection() as db:
            await operations.refuse(db, keys, operation_id, refusal.refusal())
        raise


async def once(
    database: Database,
    keys: SealingKeys,
    operation_id: UUID,
    model: type[M],
    work: Callable[[Connection], Awaitable[M]],
) -> M:
    """Do the work and store its outcome in one transaction. Raises the refusal, which is noted in the record."""
    async with refusals_noted(database, keys, operation_id), database.transaction() as db:
        stored = await operations.outcome_of(db, keys, operation_id)
        if stored is not None:  # an earlier attempt committed, and its answer was lost
            return model.model_validate_json(stored)
        done = await work(db)
        await operations.finish(db, keys, operation_id, done.model_dump_json().encode())
    return done
