"""deploy/postgres/replica.sh, run on a real PostgreSQL under the demo's settings: the embedded one has no TLS."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from amrutam.stack.errors import StackError
from amrutam.stack.ports import LOOPBACK
from tests.deploy.compose import Project
from tests.deploy.postgres import PASSWORDS, REPLICATION, DeployedPostgres, Replica, run, run_init, running
from tests.deploy.test_compose import DEMO, PRODUCTION
from tests.polling import until

PASSWORD = PASSWORDS["REPLICATION_PASSWORD"]
SLOT = "replica_1"


@pytest.fixture(scope="module")
async def primary() -> AsyncGenerator[DeployedPostgres]:
    """With what `databases` makes."""
    async with running() as primary:
        await run_init(primary)
        yield primary


@pytest.fixture
def environment(primary: DeployedPostgres) -> dict[str, str]:
    """As compose gives it to the container; only where the host `postgres` is, is said beside it."""
    given = Project.load({**DEMO, "REPLICATION_PASSWORD": PASSWORD}).environment("postgres-replica-1")
    return {**given, "PGHOSTADDR": LOOPBACK, "PGPORT": str(primary.port)}


@pytest.fixture
async def replica(primary: DeployedPostgres, environment: dict[str, str]) -> AsyncGenerator[Replica]:
    """Started for the first time, beside what is left of a copy that was interrupted."""
    replica = primary.replica(SLOT, **environment)
    half = replica.data.with_name("docker.new")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (half / "half").touch()
    primary.own(replica.volume)
    await replica.start()
    try:
        yield replica
    finally:
        await replica.stop()
        replica.remove()


@asynccontextmanager
async def _root(server: DeployedPostgres | Replica) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await server.connect("amrutam")
    try:
        yield connection
    finally:
        await connection.close()


async def _write(primary: DeployedPostgres, line: str) -> None:
    async with _root(primary) as root:
        await root.execute("CREATE TABLE IF NOT EXISTS written (line text)")
        await root.execute("INSERT INTO written VALUES ($1)", line)


def _has(replica: Replica, line: str) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        async with _root(replica) as root:
            try:
                return await root.fetchval("SELECT EXISTS (SELECT FROM written WHERE line = $1)", line)
            except asyncpg.UndefinedTableError:
                return False

    return has


async def test_a_replica_follows_through_its_slot_and_copies_only_once(
    primary: DeployedPostgres, replica: Replica
) -> None:
    assert not (replica.data / "half").exists()
    await _write(primary, "while it runs")
    await until(_has(replica, "while it runs"))
    async with _root(primary) as root:
        follower = await root.fetchrow(
            "SELECT usename::text, application_name, slot_name::text FROM pg_stat_replication"
            " JOIN pg_replication_slots ON active_pid = pid"
        )
    assert follower
    assert tuple(follower) == (REPLICATION, SLOT, SLOT)

    mark = replica.data / "mark"
    mark.touch()
    await replica.stop()
    await _write(primary, "while it was away")
    await replica.start()
    await until(_has(replica, "while it was away"))
    assert mark.exists()


async def test_the_password_of_replication_is_in_no_file_and_on_no_command_line(replica: Replica) -> None:
    assert replica.process
    server = psutil.Process(replica.process.pid)
    assert not [each for each in (server, *server.children()) if PASSWORD in " ".join(each.cmdline())]
    files = [file for file in replica.volume.rglob("*") if file.is_file()]
    assert replica.data / "standby.signal" in files
    assert not [file for file in files if PASSWORD.encode() in file.read_bytes()]


async def test_a_password_that_was_changed_takes_effect_with_the_next_start(
    primary: DeployedPostgres, replica: Replica
) -> None:
    await replica.stop()
    await run_init(primary, REPLICATION_PASSWORD="another")
    try:
        replica.environment["PGPASSWORD"] = "another"
        await replica.start()
        await _write(primary, "under another password")
        await until(_has(replica, "under another password"))
    finally:
        await run_init(primary)


async def test_only_the_role_of_the_replicas_copies_and_it_enters_no_database(
    primary: DeployedPostgres, environment: dict[str, str], tmp_path: Path
) -> None:
    copy = ("pg_basebackup", "--no-password", "--pgdata", str(tmp_path / "copy"))
    superuser = {"PGUSER": "postgres", "PGPASSWORD": primary.password("postgres")}
    status, said = await run(primary, *copy, **{**environment, **superuser})
    assert status
    assert "no pg_hba.conf entry for replication connection" in said
    status, said = await run(primary, *copy, **{**environment, "PGPASSWORD": "guessed"})
    assert status
    assert "password authentication failed" in said
    for database in ("amrutam", "postgres"):
        status, said = await run(primary, "psql", "--no-password", "--command", "SELECT 1", database, **environment)
        assert status
        assert "pg_hba.conf rejects connection" in said


async def test_with_productions_environment_nothing_is_copied_over_a_line_without_tls(
    primary: DeployedPostgres, environment: dict[str, str]
) -> None:
    given = Project.load(PRODUCTION).environment("postgres-replica-1")
    assert given["PGSSLMODE"] == "verify-full"
    replica = primary.replica("replica_2", **{**environment, "PGSSLMODE": given["PGSSLMODE"]})
    with pytest.raises(StackError, match="verify-full"):
        await replica.start()
    assert not replica.data.exists()
    replica.remove()
