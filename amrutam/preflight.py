"""What must be right before a process serves anybody. Every fault is named at once."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from pydantic import SecretStr, ValidationError

from amrutam.crypto import Keyring, KeyringError
from amrutam.settings import Settings, SettingsError, has_verified_tls, is_local
from amrutam.storage.partitions import missing
from amrutam.storage.pool import Database, DatabaseUnavailable

# The server is there, and lets this role not in.
_REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class _Found(NamedTuple):
    """What was given, as far as it can be read, and everything that is wrong with it."""

    settings: Settings
    keyring: Keyring | None
    faults: list[str]


def load() -> tuple[Settings, Keyring]:
    """Settings and keys of this process. Raises SettingsError that names every fault."""
    return _good(_read())


def load_and_check() -> tuple[Settings, Keyring]:
    """The same for a process that serves, which looks at its database too.

    Raises SettingsError that names every fault, those of the database among them where it can be reached;
    DatabaseUnavailable where that is all that is wrong.
    """
    found = _read()
    try:
        found.faults.extend(asyncio.run(_database_faults_by(found)))
    except DatabaseUnavailable:
        if not found.faults:
            raise
    return _good(found)


def _good(found: _Found) -> tuple[Settings, Keyring]:
    if found.faults or found.keyring is None:
        raise SettingsError("\n".join(found.faults))
    return found.settings, found.keyring


def _read() -> _Found:
    unreadable: dict[str, str] = {}
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue] - its values come from the environment
    except ValidationError as error:
        unreadable = {str(each["loc"][0]): each["msg"] for each in error.errors(include_input=False)}
        settings = _without(unreadable)
    faults = [f"{name.upper()}: {message}" for name, message in unreadable.items()]
    keyring, of_keyring = _keys(settings)
    if "amrutam_mode" in unreadable:  # so nobody knows what else it refuses
        return _Found(settings, keyring, faults)
    told = {name.upper() for name in unreadable}
    faults += [fault for fault in settings.faults() + of_keyring if told.isdisjoint(_variables(fault))]
    return _Found(settings, keyring, faults)


def _without(unreadable: Collection[str]) -> Settings:
    """The settings with something harmless for what cannot be read, so that the rest can be looked at."""
    fields = Settings.model_fields
    needed: dict[str, Any] = {"amrutam_keyring": Path(), "database_url": SecretStr("")}
    given = {
        name: needed[name] if name in needed else fields[name].get_default(call_default_factory=True)
        for name in unreadable
    }
    return Settings(**given)


def _variables(fault: str) -> list[str]:
    """Which variables a fault is about."""
    return fault.partition(":")[0].split(", ")


def _keys(settings: Settings) -> tuple[Keyring | None, list[str]]:
    try:
        keyring = Keyring.load(settings.amrutam_keyring)
    except KeyringError as error:
        return None, [str(error)]
    if not settings.demo and keyring.born == "demo":
        return keyring, ["AMRUTAM_KEYRING: was made for demo; make one with `python -m amrutam keys init`"]
    return keyring, []


async def _database_faults_by(found: _Found) -> list[str]:
    """Looks once. No password goes out over a line that nobody has checked, to name one fault more.

    Raises DatabaseUnavailable.
    """
    url = found.settings.database_url
    if any(fault.startswith("AMRUTAM_MODE:") for fault in found.faults):  # what would suit it?
        return []
    if found.faults and not (is_local(url) or has_verified_tls(url)):
        return []
    db = await Database.connect(url.get_secret_value(), size=2, application="amrutam-preflight")
    try:
        return await database_faults(db, found.settings)
    except _REFUSED:
        return ["DATABASE_URL: PostgreSQL knows no such role or database, or has another password"]
    finally:
        await db.close()


async def database_faults(db: Database, settings: Settings) -> list[str]:
    """Everything for which the database does not suit this mode. Raises DatabaseUnavailable."""
    async with db.connection() as connection:
        superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        has_schema = await connection.fetchval("SELECT to_regclass('deployment')") is not None
        born = await connection.fetchval("SELECT mode FROM deployment") if has_schema else None
        lacking = await missing(connection) if has_schema else []
    faults: list[str] = []
    if not has_schema:
        faults.append("DATABASE_URL: no schema yet; run `python -m amrutam migrate`")
    elif born != settings.amrutam_mode and not settings.demo:
        faults.append("DATABASE_URL: this database was born in demo mode; production needs one of its own")
    if superuser and not settings.demo:
        faults.append("DATABASE_URL: the role is a superuser; use amrutam_app")
    if lacking:
        faults.append(f"partitions are missing ({', '.join(lacking)}); run `python -m amrutam migrate`")
    return faults


async def database_state(db: Database) -> str:
    """`ok`, or what is wrong, for a health check."""
    try:
        async with db.connection() as connection:
            lacking = await missing(connection)
    except DatabaseUnavailable as error:
        return f"away: {error}"
    return f"partitions missing: {', '.join(lacking)}" if lacking else "ok"
