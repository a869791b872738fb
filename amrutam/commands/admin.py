"""`python -m amrutam admin …`: how an installation gets its first administrator."""

import argparse
import asyncio
import getpass
import sys
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from amrutam.commands import Commands
from amrutam.crypto import Keyring
from amrutam.domain.auth import Profile
from amrutam.domain.common import Role
from amrutam.domain.staff import AcceptInvitation, InviteStaff
from amrutam.ids import new_id
from amrutam.preflight import load
from amrutam.settings import Settings, SettingsError
from amrutam.storage import audit, auth, invitations, staff
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection, Database


def register(commands: Commands) -> None:
    """Add the command."""
    actions = commands.add_parser("admin", help="Administrators.").add_subparsers(required=True, metavar="action")
    creating = actions.add_parser("create", help=create.__doc__, description=create.__doc__)
    creating.add_argument("--email", required=True, help="of the new administrator")
    creating.add_argument("--name", required=True, help="the full name, as colleagues will see it")
    creating.add_argument("--another", action="store_true", help="though there is an administrator already")
    creating.add_argument(
        "--password", action="store_true", help="read one from the terminal or standard input, and print no link"
    )
    creating.set_defaults(run=create)


def create(given: argparse.Namespace) -> int:
    """Make the first administrator: prints a link, good once, by which they choose their password."""
    settings, keyring = load()
    wanted = _wanted(given.email, given.name)
    password = _read_password() if given.password else None

    async def run() -> str:
        db = await Database.connect(settings.database_url.get_secret_value(), size=1, application="amrutam-admin")
        try:
            password_hash = await _hashed(settings, wanted, password) if password is not None else None
            async with db.transaction() as connection:
                await _check(connection, wanted, another=given.another)
                if password_hash is None:
                    return await _link(connection, settings, keyring, wanted)
                return await _account(connection, keyring, wanted, password_hash)
        finally:
            await db.close()

    sys.stdout.write(f"{asyncio.run(run())}\n")
    return 0


def _wanted(email: str, name: str) -> InviteStaff:
    """Raises SettingsError, which ends the command with what is wrong."""
    try:
        return InviteStaff(email=email, full_name=name, roles=[Role.ADMIN])
    except ValidationError as error:
        options = {"email": "--email", "full_name": "--name"}
        faults = error.errors(include_input=False, include_url=False)
        words = [f"{options[str(fault['loc'][0])]}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults]
        raise SettingsError("\n".join(words)) from None


def _read_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Password of the new administrator: ")
    return sys.stdin.readline().rstrip("\r\n")


async def _hashed(settings: Settings, wanted: InviteStaff, password: str) -> str:
    """Raises SettingsError for a password that is too easy to guess."""
    from amrutam.passwords import Passwords  # noqa: PLC0415 - loads argon2 and a word list, which others do not need

    try:
        AcceptInvitation.model_validate({"token": "none", "password": password})
    except ValidationError:
        raise SettingsError("the password should have 8 to 256 characters") from None
    passwords = Passwords(memory_kib=settings.password_memory_kib, passes=settings.password_passes)
    if faults := await passwords.weaknesses(password, (wanted.email, wanted.full_name), "/password"):
        raise SettingsError(f"the password {faults[0].detail}")
    return await passwords.hash(password)


async def _check(db: Connection, wanted: InviteStaff, *, another: bool) -> None:
    """Raises SettingsError."""
    await staff.one_at_a_time(db)
    if not another and await staff.administrators(db):
        raise SettingsError("there is an administrator; they invite others. If that is no way, say --another")
    if await auth.find_by_email(db, wanted.email):
        raise SettingsError("--email: has an account already; an administrator can give it other roles")


async def _link(db: Connection, settings: Settings, keyring: Keyring, wanted: InviteStaff) -> str:
    invitation_id = new_id()
    token = auth.link_token(keyring, invitation_id, invitations.LINK)
    good_until = datetime.now(UTC) + timedelta(hours=settings.invitation_hours)
    await invitations.insert(
        db, invitation_id, wanted.email, wanted.full_name, wanted.roles, auth.token_hash(token), None, good_until
    )
    await audit.append_system(db, "staff.invite", invitation_id)
    return f"good once, until {good_until:%Y-%m-%d %H:%M} UTC: {settings.public_url}/invitation?token={token}"


async def _account(db: Connection, keyring: Keyring, wanted: InviteStaff, password_hash: str) -> str:
    """An account at once: whoever runs this command vouches for the address."""
    user_id, keys = new_id(), PersonKeys(keyring)
    profile = Profile(full_name=wanted.full_name)
    if not await auth.insert(db, keys, user_id, wanted.email, password_hash, wanted.roles, profile):
        raise SettingsError("--email: has an account already; an administrator can give it other roles")
    await auth.mark_verified(db, user_id, password_hash)
    await audit.append_system(db, "staff.create_admin", user_id)
    return f"{wanted.email} is an administrator, and can sign in"
