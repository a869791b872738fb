"""A second factor's secret, sealed for its person and its place."""

import pytest

from amrutam.crypto import Keyring, SealError
from amrutam.domain.mfa import SECRET_BYTES, secret_of
from amrutam.storage import mfa
from amrutam.storage.person_keys import DataKeyMissing, PersonKeys
from amrutam.storage.pool import Database
from tests.people import People

SECRET = secret_of(bytes(SECRET_BYTES))


async def test_a_secret_opens_for_its_own_person_only(db: Database, keyring: Keyring, people: People) -> None:
    asha, ravi = await people.patient(), await people.patient()
    keys = PersonKeys(keyring)
    async with db.transaction() as connection:
        for person in (asha, ravi):
            assert await mfa.enroll(connection, keys, person.id, SECRET)
        app = await mfa.enrolled(connection, keys, asha.id)
        assert app
        assert (app.secret, app.confirmed) == (SECRET, False)
        await connection.execute("UPDATE factors SET secret = $2 WHERE user_id = $1", ravi.id, app.sealed)
        with pytest.raises(SealError):
            await mfa.enrolled(connection, keys, ravi.id)


async def test_a_secret_is_gone_with_its_persons_key(db: Database, keyring: Keyring, people: People) -> None:
    patient = await people.patient()
    async with db.transaction() as connection:
        await mfa.enroll(connection, PersonKeys(keyring), patient.id, SECRET)
        await connection.execute("DELETE FROM data_keys WHERE person_id = $1", patient.id)
        with pytest.raises(DataKeyMissing):
            await mfa.enrolled(connection, PersonKeys(keyring), patient.id)


async def test_an_app_that_was_replaced_is_not_confirmed(db: Database, keyring: Keyring, people: People) -> None:
    patient, keys = await people.patient(), PersonKeys(keyring)
    async with db.transaction() as connection:
        await mfa.enroll(connection, keys, patient.id, SECRET)
        app = await mfa.enrolled(connection, keys, patient.id)
        assert app
        await mfa.enroll(connection, keys, patient.id, SECRET)
        assert not await mfa.confirm(connection, patient.id, 1, app)
        assert not await mfa.is_on(connection, patient.id)
        assert await mfa.standing(connection, patient.id) is None
