"""`python -m amrutam audit …`: is the audit trail whole?"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from amrutam.commands import Commands
from amrutam.preflight import load

if TYPE_CHECKING:
    from amrutam.audit_verify import Verified


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("audit", help="The audit trail.")
    actions = parser.add_subparsers(required=True, metavar="action")
    verifying = actions.add_parser("verify", help=verify.__doc__, description=verify.__doc__)
    verifying.add_argument("--days", type=float, help="only what was sealed in this many days (everything)")
    verifying.set_defaults(run=verify)


def verify(given: argparse.Namespace) -> int:
    """Check every row of the audit trail against its seals, and these against the signed checkpoints outside the
    database. Exit status 1 when something was changed, removed, inserted or reordered; the first such row is named.
    """
    from amrutam import audit_verify  # noqa: PLC0415 - only this command needs it
    from amrutam.gateways.checkpoints import CheckpointFolder  # noqa: PLC0415 - the same
    from amrutam.storage.pool import Database  # noqa: PLC0415 - the same

    async def run() -> int:
        settings, keyring = load()
        folder = settings.audit_checkpoint_folder
        db = await Database.connect(settings.database_url.get_secret_value(), size=1, application="amrutam-audit")
        try:
            checkpoints = CheckpointFolder(folder, keyring) if folder else None
            found = await audit_verify.verify(db, checkpoints, _progress(), _since(given.days))
        except audit_verify.Tampered as tampered:
            sys.stdout.write(f"BROKEN  {tampered}\n")
            return 1
        finally:
            await db.close()
        sys.stdout.write(f"{_in_words(found)}\n")
        return 0

    return asyncio.run(run())


def _since(days: float | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) - timedelta(days=days)


def _in_words(found: "Verified") -> str:
    vouched = (
        f"checkpoints vouch for them up to seal {found.vouched}"
        if found.vouched
        else "AUDIT_CHECKPOINT_FOLDER is not set, so nothing outside the database vouches for them"
    )
    waiting = (
        f"{found.unsealed:,} newer rows wait for their seal, the oldest for {found.oldest_unsealed_seconds:,.0f} s"
        if found.unsealed
        else "no row waits for its seal"
    )
    whole = f"{found.rows:,} rows, sealed up to seal {found.seals:,}, are as they were written"
    return f"ok      {whole}; {vouched}; {waiting}"


def _progress() -> Callable[[int], None]:
    """Says once in a while, in a terminal, how many rows were read."""
    said = time.monotonic()

    def say(rows: int) -> None:
        nonlocal said
        if sys.stderr.isatty() and time.monotonic() - said > 1:
            said = time.monotonic()
            sys.stderr.write(f"\r{rows:,} rows")

    return say
