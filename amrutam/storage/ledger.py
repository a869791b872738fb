"""The double-entry ledger: movements whose entries add up to nothing, written once and never changed."""

from uuid import UUID

from amrutam.domain.payment import Account, Movement
from amrutam.storage.pool import Connection


async def write(db: Connection, payment_id: UUID, movement: Movement, currency: str) -> None:
    """Add a movement, once for each kind and cause. Raises ValueError for entries that do not add up to nothing."""
    movement.check()
    movement_id = await db.fetchval(
        """INSERT INTO ledger_movements (kind, cause, payment_id) VALUES ($1, $2, $3)
           ON CONFLICT (kind, cause) DO NOTHING RETURNING id""",
        movement.kind, movement.cause, payment_id,
    )  # fmt: skip
    if movement_id:
        await db.execute(
            """INSERT INTO ledger_entries (movement_id, account, amount, currency)
               SELECT $1, account, amount, $4 FROM unnest($2::text[], $3::bigint[]) AS entry (account, amount)""",
            movement_id, list(map(str, movement.entries)), list(movement.entries.values()), currency,
        )  # fmt: skip


async def balance(db: Connection, payment_id: UUID, account: Account) -> int:
    """What lies on an account of a payment, in minor units; above zero on the side where it usually lies."""
    total = await db.fetchval(
        """SELECT COALESCE(sum(e.amount), 0)::bigint
           FROM ledger_movements m JOIN ledger_entries e ON e.movement_id = m.id
           WHERE m.payment_id = $1 AND e.account = $2""",
        payment_id, str(account),
    )  # fmt: skip
    return total if account is Account.GATEWAY else -total
