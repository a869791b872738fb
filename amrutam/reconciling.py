"""Our books beside a gateway's own list: what it has captured and we have not, and the other way round."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from amrutam.gateways.payments import Charge, PaymentGateway
from amrutam.storage import payment as payments
from amrutam.storage.pool import Database

# Clocks differ, and a charge at the edge of the time asked for may be on one side of it here and on the other there.
EDGE = timedelta(minutes=5)
_BATCH = 100


class Difference(NamedTuple):
    """A charge that is on one side alone, or not the same on both. `charge` is set where the gateway has it."""

    gateway: str
    charge_id: str
    words: str
    charge: Charge | None = None


async def differences(
    db: Database, gateways: Mapping[str, PaymentGateway], since: datetime, until: datetime
) -> AsyncGenerator[Difference]:
    """Of every gateway, what was captured from `since` until before `until`. Raises GatewayAway, GatewayRefused."""
    for gateway in gateways.values():
        told = dict[str, Charge]()
        batch = list[Charge]()
        async for charge in gateway.captured(since, until):
            told[charge.id] = charge
            batch.append(charge)
            if len(batch) == _BATCH:
                async for found in _not_here(db, gateway.name, batch):
                    yield found
                batch.clear()
        async for found in _not_here(db, gateway.name, batch):
            yield found
        async with db.connection() as connection:
            ours = await payments.charges_within(connection, gateway.name, since + EDGE, until - EDGE)
        for charge_id in ours:
            if charge_id not in told:
                yield Difference(gateway.name, charge_id, "is in our books, and the gateway does not know it")


async def _not_here(db: Database, gateway: str, told: list[Charge]) -> AsyncGenerator[Difference]:
    async with db.connection() as connection:
        known = await payments.amounts_of(connection, gateway, [charge.id for charge in told])
        ours = await payments.exist(connection, [charge.payment_id for charge in told if charge.payment_id])
    for charge in told:
        if charge.id not in known:
            whose = "of one of our payments" if charge.payment_id in ours else "of no payment of ours"
            yield Difference(gateway, charge.id, f"was captured, {whose}, and is not in our books", charge)
        elif known[charge.id] != charge.amount:
            yield Difference(gateway, charge.id, "is of another amount in our books", charge)
