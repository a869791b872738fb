"""What races in storage need."""

from collections.abc import AsyncGenerator

import pytest

from amrutam.crypto import Keyring
from amrutam.settings import Settings
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database


@pytest.fixture(scope="session")
async def wide(settings: Settings) -> AsyncGenerator[Database, None]:
    """The database with a connection for each of fifty at once."""
    database = await Database.connect(settings.database_url.get_secret_value(), size=50, application="race")
    yield database
    await database.close()


@pytest.fixture(scope="session")
def person_keys(keyring: Keyring) -> PersonKeys:
    """What seals and opens people's texts."""
    return PersonKeys(keyring)
