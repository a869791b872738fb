"""Devices that a person is known by."""

from datetime import UTC, datetime, timedelta

from amrutam.storage import sessions
from amrutam.storage.pool import Database
from tests.people import Person
from tests.web.accounts import MakePatient

NETWORK, TOKEN, OTHER = b"by its network", b"by its token", b"another"


async def _meet(db: Database, person: Person, mark: bytes, later: bytes = TOKEN) -> bool:
    async with db.transaction() as connection:
        return await sessions.meet_device(connection, person.id, mark, later)


async def test_a_device_is_new_once_and_known_by_its_token_from_then_on(
    db: Database, make_patient: MakePatient
) -> None:
    person, stranger = await make_patient(), await make_patient()
    assert await _meet(db, person, NETWORK)
    assert not await _meet(db, person, NETWORK)
    assert not await _meet(db, person, TOKEN)
    assert await _meet(db, person, OTHER)
    assert await _meet(db, stranger, NETWORK)


async def test_a_device_that_nobody_signed_in_on_for_long_is_forgotten(db: Database, make_patient: MakePatient) -> None:
    long_ago, recent = await make_patient(), await make_patient()
    now = datetime.now(UTC)
    for person in (long_ago, recent):
        await _meet(db, person, NETWORK)
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE known_devices SET last_seen_at = $2 WHERE user_id = $1", long_ago.id, now - timedelta(days=400)
        )
        while await sessions.forget_devices_before(connection, now - timedelta(days=365), 1):
            pass
    assert await _meet(db, long_ago, NETWORK)
    assert not await _meet(db, recent, NETWORK)
