"""Monthly partitions of the hot tables: made ahead by a function that the schema's owner lends to the application."""

from amrutam.storage.pool import Connection


async def ensure(db: Connection) -> list[str]:
    """Make what is missing; returns the new partitions' names."""
    return [row["name"] for row in await db.fetch("SELECT ensure_partitions() AS name")]


MISSING = """
SELECT name || to_char(month, '"_"YYYY"_"MM') AS child
FROM partitioned_tables, generate_series(0, 1) AS step,
     LATERAL (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step)) AS m (month)
WHERE NOT EXISTS (
    SELECT FROM pg_inherits
    WHERE inhparent = to_regclass(name) AND inhrelid = to_regclass(name || to_char(month, '"_"YYYY"_"MM')))"""


async def missing(db: Connection) -> list[str]:
    """The partitions that this month and the next need and that are not there."""
    return [row["child"] for row in await db.fetch(MISSING)]
