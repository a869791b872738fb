"""`python -m amrutam mfa …`: for people who have lost both their app and their recovery codes."""

import argparse
import asyncio
import sys
from uuid import UUID

from amrutam.commands import Commands
from amrutam.domain.mfa import MfaDisabled
from amrutam.preflight import load
from amrutam.storage import audit, events, mfa, sessions
from amrutam.storage import auth as accounts
from amrutam.storage.pool import Database


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("mfa", help="Second factors.")
    actions = parser.add_subparsers(required=True, metavar="action")
    removing = actions.add_parser("remove", help=remove.__doc__, description=remove.__doc__)
    removing.add_argument("email", help="address of the account")
    removing.set_defaults(run=remove)


def remove(given: argparse.Namespace) -> int:
    """Take off a person's second factor, when you are sure who asks. Their sessions end, and they are told by mail.
    Exit status 1 when there is no such account or no factor.
    """
    return asyncio.run(_remove(given.email))


async def _remove(email: str) -> int:
    settings, _ = load()
    db = await Database.connect(settings.database_url.get_secret_value(), size=1, application="amrutam-mfa")
    try:
        async with db.connection() as connection:
            account = await accounts.find_by_email(connection, email.strip().lower())
        removed = account is not None and await _remove_of(db, account.id)
    finally:
        await db.close()
    sys.stdout.write(f"{email}: {'the second factor is off' if removed else 'no account with a second factor'}\n")
    return 0 if removed else 1


async def _remove_of(db: Database, user_id: UUID) -> bool:
    async with db.transaction() as connection:
        if not await mfa.remove(connection, user_id):
            return False
        await mfa.forget_shown(connection, user_id)
        await sessions.end_all(connection, user_id)  # the relay tells the markers
        await audit.append_system(connection, "mfa.remove", user_id)
        await events.append(connection, MfaDisabled(subject=user_id))
    return True
