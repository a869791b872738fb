"""`python -m amrutam …`: what operators do."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from amrutam import migrations
from amrutam.commands import admin, audit, keys, mfa, reconcile, routes
from amrutam.crypto import KeyringError
from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.migrations import MigrationError
from amrutam.preflight import load
from amrutam.settings import MIGRATES_BY_TLS, SettingsError, has_verified_tls
from amrutam.storage.pool import Database, DatabaseUnavailable

# Commands that have a file of their own.
REGISTERED = (keys.register, audit.register, mfa.register, admin.register, reconcile.register, routes.register)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def migrate(_: argparse.Namespace) -> int:
    """Apply the migrations that the database lacks and make the partitions of the months ahead."""
    url, mode = os.environ.get("MIGRATION_DATABASE_URL"), os.environ.get("AMRUTAM_MODE", "production")
    if not url:
        raise SettingsError("MIGRATION_DATABASE_URL: needed, the postgresql:// URL of the role that owns the schema")
    if mode != "demo" and not has_verified_tls(SecretStr(url)):
        raise SettingsError(MIGRATES_BY_TLS)
    asyncio.run(migrations.apply(url, mode, migrations.read(), _say))
    _say("the schema is up to date")
    return 0


def setup(_: argparse.Namespace) -> int:
    """Register the Temporal namespace, its search attributes and schedules."""
    from amrutam.temporal import connect  # noqa: PLC0415 - loads the Temporal SDK, which other commands do not need
    from amrutam.temporal_setup import set_up  # noqa: PLC0415 - the same

    async def run() -> None:
        settings, keyring = load()
        await set_up(await connect(settings, keyring), settings, _say)

    asyncio.run(run())
    return 0


def seed(_: argparse.Namespace) -> int:
    """Add the demo data that is missing. Demo mode only."""
    from amrutam.seed import seed_demo  # noqa: PLC0415 - only this command needs it

    settings, keyring = load()
    if not settings.demo:
        raise SettingsError("AMRUTAM_MODE: demo data belongs into a demo database only")
    asyncio.run(seed_demo(settings, keyring, _say))
    return 0


def verify(given: argparse.Namespace) -> int:
    """Check every invariant of rows and workflows on the running system. Exit status 1 when one is broken."""
    from amrutam import verify as checks  # noqa: PLC0415 - loads the Temporal SDK, which other commands do not need
    from amrutam.temporal import connect  # noqa: PLC0415 - the same

    async def run() -> int:
        settings, keyring = load()
        db = await Database.connect(settings.database_url.get_secret_value(), size=2, application="amrutam-verify")
        try:
            scope = checks.Scope(checks.days_ago(given.days), workflows=given.workflows)
            broken = await checks.check(db, await connect(settings, keyring), scope, _say)
        finally:
            await db.close()
        _say("all invariants hold" if not broken else f"{len(broken)} invariants are broken")
        return 1 if broken else 0

    return asyncio.run(run())


def replay(given: argparse.Namespace) -> int:
    """Run the histories of workflows against this code. Exit status 1 when one of them would go another way."""
    from amrutam.temporal import connect, forward_core_logs  # noqa: PLC0415 - loads the Temporal SDK

    # By name, since workflows lie above this layer, and only replay of all commands needs them.
    replaying = import_module("workflows.replaying")
    # What the SDK logs of a history that does not replay may quote its payloads; the command names it in safe words.
    logging.getLogger("temporalio").setLevel(logging.CRITICAL + 1)
    forward_core_logs()

    async def run() -> int:
        settings, keyring = load()
        client = await connect(settings, keyring, lazy=given.file is not None)
        wanted = replaying.Wanted(given.workflow_id, given.query, given.file, given.limit)
        try:
            outcome = await replaying.replay(client, wanted, _say)
        except replaying.BadRequest as error:
            sys.stderr.write(f"{error}\n")
            return 2
        _say(str(outcome))
        return 1 if outcome.broken else 0

    return asyncio.run(run())


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _takes_histories(replaying: argparse.ArgumentParser) -> None:
    which = replaying.add_mutually_exclusive_group()
    which.add_argument("--workflow-id", help="the latest run of this workflow")
    which.add_argument("--query", help="what this visibility query finds (everything)")
    which.add_argument("--file", type=Path, help="a history that the temporal CLI or the web UI wrote as JSON")
    replaying.add_argument("--limit", type=_positive, default=500, help="at most N: the running, then the newest (500)")
    replaying.set_defaults(run=replay)


def parser() -> argparse.ArgumentParser:
    """Every command with its help."""
    top = argparse.ArgumentParser(prog="python -m amrutam", description="Operate Amrutam.")
    commands = top.add_subparsers(required=True, metavar="command")
    for name, run in {"migrate": migrate, "setup": setup, "seed": seed}.items():
        commands.add_parser(name, help=run.__doc__, description=run.__doc__).set_defaults(run=run)
    verifying = commands.add_parser("verify", help=verify.__doc__, description=verify.__doc__)
    verifying.add_argument("--days", type=float, default=7, help="look at bookings made in this many days (7)")
    verifying.add_argument("--workflows", type=int, default=500, help="compare the newest N with their workflows (500)")
    verifying.set_defaults(run=verify)
    _takes_histories(commands.add_parser("replay", help=replay.__doc__, description=replay.__doc__))
    for register in REGISTERED:
        register(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when done, 1 when it failed, 2 when settings or arguments do not fit."""
    use_pinned_tzdata()
    given = parser().parse_args(arguments)
    try:
        return given.run(given)
    except (SettingsError, KeyringError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (MigrationError, DatabaseUnavailable, asyncpg.PostgresError, OSError, TimeoutError, RuntimeError) as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
