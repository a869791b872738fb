"""Housekeeping of documents: what was deleted goes after its lifetime, and so do objects that no row names."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from activities.maintenance import MaintenanceActivities
from amrutam.domain.documents import SEALED, MediaType, Purpose, key_of
from amrutam.gateways.documents import documents_for
from amrutam.ids import first_id_at, new_id
from amrutam.settings import Settings
from amrutam.storage import documents
from amrutam.storage.documents import StoredObject
from amrutam.storage.pool import Database
from tests.people import People

HOUR = timedelta(hours=1)
Put = Callable[[datetime], str]


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """With a store of the test's own."""
    return settings.model_copy(update={"documents_url": tmp_path.as_uri()})


@pytest.fixture
def put(own: Settings, tmp_path: Path) -> Put:
    """Makes an object that was written then; returns its key."""
    assert own.documents_url

    def put(written: datetime) -> str:
        key = key_of(Purpose.VERIFICATION, first_id_at(written), SEALED)
        file = tmp_path / key
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        os.utime(file, (written.timestamp(), written.timestamp()))
        return key

    return put


async def _row(db: Database, owner: UUID, key: str, deleted: datetime | None) -> UUID:
    document_id = new_id()
    async with db.transaction() as connection:
        await documents.add(connection, document_id, owner, StoredObject(key, MediaType.PDF, 1, b"x"))
        await connection.execute("UPDATE documents SET deleted_at = $2 WHERE id = $1", document_id, deleted)
    return document_id


async def test_deleted_documents_and_objects_without_a_row_go_after_their_lifetime_and_nothing_else(
    db: Database, people: People, own: Settings, put: Put, tmp_path: Path, now: datetime
) -> None:
    owner = (await people.doctor()).id
    limit = now - timedelta(days=own.keep_documents_days)
    live, deleted, past = [put(limit - each * HOUR) for each in (5, 4, 3)]
    lost, begun = put(limit - 2 * HOUR), put(limit + HOUR)
    rows = [
        await _row(db, owner, live, None),
        await _row(db, owner, deleted, limit + HOUR),
        await _row(db, owner, past, limit - HOUR),
    ]
    keeping = MaintenanceActivities(db, own, documents_for(own))

    done = await keeping.keep_house()

    assert done.removed["objects"] == 1
    assert {key for key in (live, deleted, past, lost, begun) if (tmp_path / key).exists()} == {live, deleted, begun}
    async with db.connection() as connection:
        kept = await connection.fetch("SELECT id FROM documents WHERE id = ANY ($1) ORDER BY id", rows)
    assert [row["id"] for row in kept] == rows[:2]
    assert (await keeping.keep_house()).removed["objects"] == 0
