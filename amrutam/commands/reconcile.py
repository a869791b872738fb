"""`python -m amrutam reconcile`: do our books and the gateways' agree?"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime, timedelta

from amrutam.commands import Commands
from amrutam.preflight import load


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("reconcile", help=reconcile.__doc__, description=reconcile.__doc__)
    parser.add_argument("--hours", type=float, default=48, help="what was captured in this many hours (48)")
    parser.set_defaults(run=reconcile)


def reconcile(given: argparse.Namespace) -> int:
    """Compare our books with each gateway's own list of charges. Exit status 1 when they differ, 2 when one is away."""
    from amrutam.gateways.payment_choice import payment_gateways  # noqa: PLC0415 - only this command needs it
    from amrutam.gateways.payments import GatewayAway, GatewayRefused  # noqa: PLC0415 - the same
    from amrutam.reconciling import differences  # noqa: PLC0415 - the same
    from amrutam.storage.pool import Database  # noqa: PLC0415 - the same

    async def run() -> int:
        settings, _ = load()
        now, count = datetime.now(UTC), 0
        gateways = payment_gateways(settings)
        db = await Database.connect(settings.database_url.get_secret_value(), size=1, application="amrutam-reconcile")
        try:
            async for found in differences(db, gateways, now - timedelta(hours=given.hours), now):
                count += 1
                sys.stdout.write(f"{found.gateway} {found.charge_id} {found.words}\n")
        except (GatewayAway, GatewayRefused) as away:
            sys.stderr.write(f"a gateway cannot be asked: {away}\n")
            return 2
        finally:
            for gateway in gateways.values():
                await gateway.aclose()
            await db.close()
        sys.stdout.write(f"{count} differences\n" if count else f"no differences at {', '.join(gateways) or 'none'}\n")
        return 1 if count else 0

    return asyncio.run(run())
