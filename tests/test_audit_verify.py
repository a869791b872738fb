"""Nobody touches the trail unseen: whatever a superuser does to it, verification names the first row."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from activities import audit as sealing
from activities.audit import AuditActivities, Sealing
from amrutam.audit_verify import Tampered, Verified, verify
from amrutam.crypto import Keyring
from amrutam.gateways.checkpoints import CheckpointFolder
from amrutam.ids import first_id_at, new_id
from amrutam.invariants import INVARIANTS
from amrutam.stack.servers import Servers
from amrutam.storage import audit
from amrutam.verify import Scope, offenders
from tests.audit_trails import OwnTrail, an_actor, make_template

KEYRING = Keyring.model_validate_json(Keyring.generate("demo"))


class Trail(OwnTrail):
    """A trail with its seals and checkpoints."""

    def __init__(self, servers: Servers, template: str, folder: Path) -> None:
        super().__init__(servers, template)
        self.folder = folder
        self.checkpoints = CheckpointFolder(folder, KEYRING)
        self.progress: list[int] = []

    async def seal(self) -> Sealing:
        """One round."""
        return await AuditActivities(self.app, self.checkpoints).seal()

    async def verify(self) -> Verified:
        """Raises Tampered."""
        return await verify(self.app, self.checkpoints, self.progress.append)

    async def broken(self) -> str:
        """What verification says of a trail that is not whole."""
        with pytest.raises(Tampered) as tampered:
            await self.verify()
        return str(tampered.value)


@pytest.fixture(scope="session")
async def template(servers: Servers) -> str:
    """The schema, to be copied."""
    return await make_template(servers)


@pytest.fixture
async def trail(
    servers: Servers, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Trail, None]:
    """Empty, sealed four rows at a time."""
    monkeypatch.setattr(sealing, "BATCH", 4)
    trail = Trail(servers, template, tmp_path / "checkpoints")
    await trail.open()
    yield trail
    await trail.close()


@pytest.fixture
async def rows(trail: Trail) -> list[UUID]:
    """Ten rows under three seals, in the order of commits."""
    rows = await trail.write(10)
    await trail.seal()
    return rows


async def test_an_empty_trail_is_whole(trail: Trail) -> None:
    assert await trail.seal() == Sealing(rows=0, seals=0, checkpoint=False, oldest_unsealed_seconds=0)
    assert await trail.verify() == Verified(0, 0, 0, 0, 0)


async def test_what_was_written_is_sealed_once_and_found_whole(trail: Trail) -> None:
    await trail.write(10)
    assert await trail.seal() == Sealing(rows=10, seals=3, checkpoint=True, oldest_unsealed_seconds=0)
    assert await trail.seal() == Sealing(rows=0, seals=0, checkpoint=False, oldest_unsealed_seconds=0)
    assert await trail.verify() == Verified(10, 3, 3, 0, 0)
    assert trail.progress == [4, 8, 10]


async def test_rows_that_wait_for_their_seal_are_counted(trail: Trail, rows: list[UUID]) -> None:
    await trail.write(3)
    found = await trail.verify()
    assert (found.rows, found.unsealed) == (len(rows), 3)
    assert found.oldest_unsealed_seconds > 0


COLUMNS = {
    "actor_id": "gen_random_uuid()",
    "actor_role": "'admin'",
    "action": "'booking.create'",
    "subject": "gen_random_uuid()",
    "patient_id": "gen_random_uuid()",
    "request_id": "request_id || 'x'",
    "trace_id": "repeat('0', 32)",
    "outcome": "'denied'",
    "sealed_for": "gen_random_uuid()",
}


async def test_a_row_that_was_changed_in_any_column_is_named(trail: Trail, rows: list[UUID]) -> None:
    for column, value in COLUMNS.items():
        await trail.tamper(f"CREATE TABLE before AS SELECT {column} AS it FROM audit WHERE id = '{rows[5]}'")  # noqa: S608 - named above
        await trail.tamper(f"UPDATE audit SET {column} = {value} WHERE id = $1", rows[5])  # noqa: S608 - the same
        assert (await trail.broken()).startswith(f"row {rows[5]} was changed "), column
        await trail.tamper(f"UPDATE audit SET {column} = (SELECT it FROM before) WHERE id = $1", rows[5])  # noqa: S608 - the same
        await trail.tamper("DROP TABLE before")
    assert await trail.verify()


async def test_the_sealed_address_and_reason_are_covered_too(trail: Trail, rows: list[UUID]) -> None:
    await trail.tamper("UPDATE audit SET sealed_for = id, address = 'x', reason = NULL WHERE id = $1", rows[2])
    assert (await trail.broken()).startswith(f"row {rows[2]} was changed ")


async def test_the_first_of_several_is_named(trail: Trail, rows: list[UUID]) -> None:
    await trail.tamper("UPDATE audit SET action = 'x.y' WHERE id = ANY ($1)", [rows[9], rows[3], rows[6]])
    await trail.tamper("DELETE FROM audit WHERE id = $1", rows[8])
    assert (await trail.broken()).startswith(f"row {rows[3]} was changed ")


@pytest.mark.parametrize("which", [0, 3, 4, 9])
async def test_a_row_that_was_removed_is_named(trail: Trail, rows: list[UUID], which: int) -> None:
    await trail.tamper("DELETE FROM audit WHERE id = $1", rows[which])
    assert (await trail.broken()).startswith(f"row {rows[which]} was removed ")


async def test_a_row_that_was_inserted_is_named(trail: Trail, rows: list[UUID]) -> None:
    late = new_id()
    insert = """INSERT INTO audit (id, xid, actor_role, action, subject, request_id)
                SELECT $1, xid, 'doctor', 'booking.read', $1, '' FROM audit WHERE id = $2"""
    async with trail.app.connection() as db:  # the application may do this; it does not go unseen
        await db.execute(insert, late, rows[4])
    assert (await trail.broken()).startswith(f"row {late} was inserted ")


async def test_a_row_before_the_first_one_is_named(trail: Trail, rows: list[UUID]) -> None:
    assert rows
    insert = "INSERT INTO audit (id, xid, actor_role, action, subject, request_id) VALUES ($1, '1', 'x', 'x.y', $1, '')"
    await trail.tamper(insert, early := new_id())
    assert (await trail.broken()).startswith(f"row {early} was inserted ")


SWAP = """UPDATE audit a SET xid = b.xid FROM audit b
          WHERE a.id = ANY ($1) AND b.id = ANY ($1) AND a.id <> b.id"""


@pytest.mark.parametrize(("one", "other"), [(1, 2), (1, 7), (0, 9)])
async def test_rows_that_were_reordered_are_named(trail: Trail, rows: list[UUID], one: int, other: int) -> None:
    await trail.tamper(SWAP, [rows[one], rows[other]])
    assert "was reordered" in (said := await trail.broken())
    assert said.startswith((f"row {rows[one]} ", f"row {rows[other]} "))


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_seal_that_was_changed_is_named(trail: Trail, rows: list[UUID], number: int) -> None:
    assert rows
    await trail.tamper("UPDATE audit_seals SET digest = sha256(digest) WHERE number = $1", number)
    assert await trail.broken() == f"seal {number} was changed"


@pytest.mark.parametrize("number", [1, 2])
async def test_a_seal_that_was_removed_is_named(trail: Trail, rows: list[UUID], number: int) -> None:
    assert rows
    await trail.tamper("DELETE FROM audit_seals WHERE number = $1", number)
    assert await trail.broken() == f"seal {number} was removed"


async def test_the_end_of_the_trail_is_not_cut_off_with_its_seals_unseen(trail: Trail, rows: list[UUID]) -> None:
    await trail.tamper("DELETE FROM audit WHERE id = ANY ($1)", rows[8:])
    await trail.tamper("DELETE FROM audit_seals WHERE number = 3")
    assert await trail.broken() == "seals were removed: there are 2, and a checkpoint of number 3"


async def test_a_trail_that_was_rewritten_with_all_its_seals_does_not_fit_the_checkpoints(
    trail: Trail, rows: list[UUID]
) -> None:
    await trail.tamper("DELETE FROM audit WHERE id = $1", rows[1])
    await trail.tamper("DELETE FROM audit_seals")
    await AuditActivities(trail.app, None).seal()
    assert await trail.broken() == "seal 3 is not the one of its checkpoint: it, or one before it, was rewritten"


async def test_checkpoints_that_are_gone_are_missed(trail: Trail, rows: list[UUID]) -> None:
    assert rows
    [file] = trail.folder.glob("*/*.json")
    file.unlink()
    assert "no checkpoint is there" in await trail.broken()
    found = await verify(trail.app, None, trail.progress.append)
    assert (found.rows, found.vouched) == (10, 0)


async def test_a_checkpoint_that_was_changed_is_named(trail: Trail, rows: list[UUID]) -> None:
    assert rows
    [file] = trail.folder.glob("*/*.json")
    file.chmod(0o600)
    file.write_text(file.read_text().replace('"number":3', '"number":2'))
    assert await trail.broken() == f"checkpoint {file}: changed, its signature does not fit"


async def test_a_checkpoint_that_was_not_written_in_one_round_is_written_in_the_next(trail: Trail) -> None:
    await trail.write(2)
    await AuditActivities(trail.app, None).seal()
    assert await trail.seal() == Sealing(rows=0, seals=0, checkpoint=True, oldest_unsealed_seconds=0)
    assert (await trail.verify()).vouched == 1


async def test_what_commits_late_and_out_of_order_is_sealed_all_the_same(trail: Trail) -> None:
    early, written = asyncio.Event(), asyncio.Event()

    async def slow_writer() -> None:
        async with trail.app.transaction() as db:
            await audit.append(db, an_actor(), "booking.read", new_id())
            early.set()
            await written.wait()

    slow = asyncio.create_task(slow_writer())
    await early.wait()
    await trail.write(5)
    assert (await trail.seal()).rows == 0  # the open transaction may yet come before all of them
    written.set()
    await slow
    assert (await trail.seal()).rows == 6
    assert (await trail.verify()).rows == 6


async def test_two_sealers_at_once_make_one_chain(trail: Trail) -> None:
    await trail.write(30)
    both = await asyncio.gather(trail.seal(), trail.seal(), trail.seal())
    rest = await trail.seal()
    assert sum(each.rows for each in (*both, rest)) == 30
    assert (await trail.verify()).rows == 30


async def test_a_round_that_takes_long_leaves_the_rest_to_the_next(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trail.write(5)
    monkeypatch.setattr(sealing, "ROUND_SECONDS", -1.0)
    done = await trail.seal()
    assert (done.rows, done.seals) == (0, 0)
    assert done.oldest_unsealed_seconds > 0


async def test_verification_may_begin_later_and_still_trusts_nothing(trail: Trail, rows: list[UUID]) -> None:
    await trail.tamper("UPDATE audit_seals SET sealed_at = now() - interval '9 days' WHERE number <= 2")
    yesterday = datetime.now(UTC) - timedelta(days=1)

    async def recent() -> Verified:
        return await verify(trail.app, trail.checkpoints, trail.progress.append, yesterday)

    await trail.tamper("UPDATE audit SET action = 'x.y' WHERE id = $1", rows[0])
    assert await recent() == Verified(2, 3, 3, 0, 0)  # what is older was not looked at
    await trail.tamper("UPDATE audit SET action = 'x.y' WHERE id = $1", rows[8])
    with pytest.raises(Tampered, match=f"row {rows[8]} was changed"):
        await recent()
    await trail.tamper("UPDATE audit_seals SET digest = sha256('') WHERE number = 2")
    with pytest.raises(Tampered, match="seal 3 was changed"):
        await recent()


async def test_a_row_that_waits_for_long_is_an_invariant_that_is_broken(trail: Trail) -> None:
    [invariant] = [each for each in INVARIANTS if each.name == "the audit trail is sealed"]
    now = datetime.now(UTC)
    fresh, old = first_id_at(now), first_id_at(now - timedelta(hours=1))
    for each in (fresh, old):
        await trail.tamper(
            "INSERT INTO audit (id, actor_role, action, subject, request_id) VALUES ($1, 'system', 'x.y', $1, '')", each
        )
    scope = Scope(now - timedelta(days=1))
    async with trail.app.transaction() as db:
        assert await offenders(db, invariant, scope) == [str(old)]
    await trail.seal()
    async with trail.app.transaction() as db:
        assert await offenders(db, invariant, scope) == []


async def test_erasing_somebody_breaks_no_seal(trail: Trail, rows: list[UUID]) -> None:
    assert rows
    await trail.tamper("DELETE FROM data_keys")
    assert (await trail.verify()).rows == len(rows)
