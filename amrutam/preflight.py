"""What must be right before a process serves anybody. Every fault is named at once."""

from pydantic import ValidationError

from amrutam.crypto import Keyring, KeyringError
from amrutam.settings import Settings, SettingsError
from amrutam.storage.partitions import missing
from amrutam.storage.pool import Database, DatabaseUnavailable


def load() -> tuple[Settings, Keyring]:
    """Settings and keys of this process. Raises SettingsError that names every fault."""
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue] - its values come from the environment
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors(include_input=False)
        ]
        raise SettingsError("\n".join(places)) from None
    faults = settings.faults()
    try:
        keyring = Keyring.load(settings.amrutam_keyring)
    except KeyringError as error:
        raise SettingsError("\n".join([*faults, str(error)])) from None
    if not settings.demo and keyring.born == "demo":
        faults.append("AMRUTAM_KEYRING: was made for demo; make one with `python -m amrutam keys init`")
    if faults:
        raise SettingsError("\n".join(faults))
    return settings, keyring


async def check(settings: Settings) -> None:
    """Look at the database once, before anything is served. Raises SettingsError, DatabaseUnavailable."""
    db = await Database.connect(settings.database_url.get_secret_value(), size=2, application="amrutam-preflight")
    try:
        await check_database(db, settings)
    finally:
        await db.close()


async def check_database(db: Database, settings: Settings) -> None:
    """Raises SettingsError when the database does not suit this mode, or DatabaseUnavailable."""
    async with db.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('deployment')") is None:
            raise SettingsError("DATABASE_URL: no schema yet; run `python -m amrutam migrate`")
        born = await connection.fetchval("SELECT mode FROM deployment")
        superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        lacking = await missing(connection)
    faults: list[str] = []
    if born != settings.amrutam_mode and not settings.demo:
        faults.append("DATABASE_URL: this database was born in demo mode; production needs one of its own")
    if superuser and not settings.demo:
        faults.append("DATABASE_URL: the role is a superuser; use amrutam_app")
    if lacking:
        faults.append(f"partitions are missing ({', '.join(lacking)}); run `python -m amrutam migrate`")
    if faults:
        raise SettingsError("\n".join(faults))


async def database_state(db: Database) -> str:
    """`ok`, or what is wrong, for a health check."""
    try:
        async with db.connection() as connection:
            lacking = await missing(connection)
    except DatabaseUnavailable as error:
        return f"away: {error}"
    return f"partitions missing: {', '.join(lacking)}" if lacking else "ok"
