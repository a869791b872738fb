"""Keys take over from one another: what lies under the old one moves, whoever is killed, and nothing is lost."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from amrutam import keyring_file, rotation
from amrutam.cli import main
from amrutam.crypto import OPERATIONS, Keyring, KeyringError, SealError, place
from amrutam.domain.auth import Profile
from amrutam.domain.common import Role
from amrutam.domain.errors import SlotTaken
from amrutam.ids import new_id
from amrutam.stack.servers import Servers
from amrutam.storage import auth, operations, support
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from tests.audit_trails import OwnTrail, make_template

NO_LEAD = timedelta()


@pytest.fixture(scope="module")
async def template(servers: Servers) -> str:
    return await make_template(servers)


@pytest.fixture
async def own(servers: Servers, template: str) -> AsyncGenerator[Database]:
    """A database with nobody else in it."""
    trail = OwnTrail(servers, template)
    await trail.open()
    yield trail.app
    await trail.close()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new keyring. Nobody else uses it, so nothing has to settle."""
    monkeypatch.setattr(rotation, "SETTLE", timedelta())
    path = tmp_path / "keyring.json"
    keyring_file.write_new(path, Keyring.generate("demo"))
    return path


class Sealed:
    """A person's telephone number, and what came of two of their requests, in the rows of a database."""

    def __init__(self, db: Database, person: UUID, done: UUID, refused: UUID) -> None:
        self._db = db
        self.phone = f"+{10**14 + person.int % 10**14}"
        self.person, self.done, self.refused = person, done, refused

    @classmethod
    async def write(cls, db: Database, keyring: Keyring) -> "Sealed":
        """New rows, under the keys that this keyring uses now."""
        ids = [new_id() for _ in range(3)]
        sealed, keys = cls(db, *ids), keyring.master.sealing(OPERATIONS)
        profile = Profile(full_name="Asha Rao", phone=sealed.phone)
        async with db.transaction() as connection:
            email = f"{sealed.person.hex}@test.amrutam.test"
            await auth.insert(connection, PersonKeys(keyring), sealed.person, email, "hash", [Role.PATIENT], profile)
            for each in (sealed.done, sealed.refused):
                await operations.begin(connection, keys, sealed.person, each.hex, "test", b"mac", each)
            await operations.finish(connection, keys, sealed.done, b"booked")
            await operations.refuse(connection, keys, sealed.refused, SlotTaken().refusal())
        return sealed

    async def check(self, keyring: Keyring) -> None:
        """All of it can be read with this keyring."""
        keys, person_keys = keyring.master.sealing(OPERATIONS), PersonKeys(keyring)
        async with self._db.connection() as connection:
            person = await auth.person(connection, person_keys, self.person)
            assert person
            assert person.phone == self.phone
            found = await support.find_patients(connection, person_keys, None, self.phone, None, 100)
            assert [each.id for each in found] == [self.person]
            done = await operations.find(connection, keys, self.person, self.done)
            assert done
            assert done.outcome == b"booked"
            refused = await operations.find(connection, keys, self.person, self.refused)
            assert refused
            assert refused.refusal
            assert refused.refusal.code == "slot_taken"


def _nobody_watches(_: rotation.Shown) -> None:
    pass


async def _move(db: Database, path: Path, use: rotation.Use = "master") -> dict[str, dict[str, int]]:
    uses = await rotation.move_all(db, Keyring.load(path), use, _nobody_watches)
    return {table: dict(counted) for table, counted in uses.items()}


@pytest.mark.parametrize("use", ["master", "index"])
async def test_everything_moves_to_the_new_key_and_the_old_one_goes(
    own: Database, path: Path, use: rotation.Use
) -> None:
    before = [await Sealed.write(own, Keyring.load(path)) for _ in range(3)]
    rotation.begin(path, use, NO_LEAD)
    await _move(own, path, use)
    rotation.finish(path, use)
    await rotation.retire(own, path, f"{use}-1", _nobody_watches)
    keyring = Keyring.load(path)
    assert rotation.keys_of(keyring, use).keys.keys() == {f"{use}-2"}
    for each in (*before, await Sealed.write(own, keyring)):
        await each.check(keyring)


async def test_how_many_values_lie_under_which_key_is_counted(own: Database, path: Path) -> None:
    for _ in range(2):
        await Sealed.write(own, Keyring.load(path))
    rotation.begin(path, "master", NO_LEAD)
    await Sealed.write(own, Keyring.load(path))
    counted = await rotation.count(own, Keyring.load(path), "master", _nobody_watches)
    assert counted == {
        "data keys": Counter({"master-1": 2, "master-2": 1}),
        "outcomes": Counter({"master-1": 4, "master-2": 2}),
    }
    assert await _move(own, path) == {"data keys": {"master-2": 3}, "outcomes": {"master-2": 6}}


async def test_before_it_takes_over_a_new_key_opens_and_does_not_seal(own: Database, path: Path) -> None:
    old = Keyring.load(path)
    keys = rotation.begin(path, "master", timedelta(minutes=5))
    assert (keys.current, keys.next) == ("master-1", "master-2")
    sealed = await Sealed.write(own, Keyring.load(path))
    await sealed.check(old)  # a process that has not read the file yet


async def test_asking_again_goes_on_with_the_key_that_is_about_to_take_over(path: Path) -> None:
    first = rotation.begin(path, "master", timedelta(minutes=5))
    assert rotation.begin(path, "master", timedelta(minutes=9)) == first
    rotation.finish(path, "master")  # too early: the old one stays the current one
    assert Keyring.load(path).master.current == "master-1"


async def test_one_who_is_killed_half_way_goes_on_where_it_was(
    own: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    sealed = [await Sealed.write(own, Keyring.load(path)) for _ in range(5)]
    rotation.begin(path, "master", NO_LEAD)

    def killed(shown: rotation.Shown) -> None:
        if shown.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotation.move_all(own, Keyring.load(path), "master", killed)
    counted = await rotation.count(own, Keyring.load(path), "master", _nobody_watches)
    assert counted["data keys"] == Counter({"master-2": 4, "master-1": 1})
    for each in sealed:
        await each.check(Keyring.load(path))
    assert await _move(own, path) == {"data keys": {"master-2": 5}, "outcomes": {"master-2": 10}}


async def test_a_key_that_is_in_use_cannot_go(own: Database, path: Path) -> None:
    sealed = await Sealed.write(own, Keyring.load(path))
    for when in ("before", "while"):
        with pytest.raises(rotation.RotationError, match="new values are sealed with it"):
            await rotation.retire(own, path, "master-1", _nobody_watches)
        if when == "before":
            rotation.begin(path, "master", NO_LEAD)
    rotation.finish(path, "master")
    with pytest.raises(rotation.RotationError, match="1 data keys, 2 outcomes lie under it"):
        await rotation.retire(own, path, "master-1", _nobody_watches)
    with pytest.raises(rotation.RotationError, match="new values are sealed with it"):
        await rotation.retire(own, path, "master-2", _nobody_watches)
    for name in ("signing-1", "codec-1", "master-9"):
        with pytest.raises(rotation.RotationError, match="no key of this name"):
            await rotation.retire(own, path, name, _nobody_watches)
    await sealed.check(Keyring.load(path))


async def test_what_a_process_with_an_old_file_writes_meanwhile_moves_too(own: Database, path: Path) -> None:
    old = Keyring.load(path)
    await Sealed.write(own, old)
    rotation.begin(path, "master", NO_LEAD)
    late: list[Sealed] = []
    moving = asyncio.Event()

    async def with_an_old_file() -> None:
        await moving.wait()
        late.append(await Sealed.write(own, old))

    beside = asyncio.create_task(with_an_old_file())
    await rotation.move_all(own, Keyring.load(path), "master", lambda _: moving.set())
    await beside
    assert await _move(own, path) == {"data keys": {"master-2": 2}, "outcomes": {"master-2": 4}}
    await late[0].check(Keyring.load(path))


async def test_a_value_that_does_not_open_stays_is_told_and_keeps_its_key(own: Database, path: Path) -> None:
    whole, cut = [await Sealed.write(own, Keyring.load(path)) for _ in range(2)]
    async with own.connection() as connection:
        await connection.execute(
            "UPDATE data_keys SET wrapped = substr(wrapped, 1, length(wrapped) - 1) WHERE person_id = $1", cut.person
        )
    rotation.begin(path, "master", NO_LEAD)
    with capture_logs() as logs:
        moved = await _move(own, path)
    assert moved["data keys"] == {"master-1": 1, "master-2": 1}
    broken = {(line["what"], line["place"]) for line in logs if line["event"] == "seal.broken"}
    assert broken == {("data_key", place("data_keys", cut.person, "wrapped").decode())}
    rotation.finish(path, "master")
    with pytest.raises(rotation.RotationError, match="1 data keys lie under it"):
        await rotation.retire(own, path, "master-1", _nobody_watches)
    assert await _move(own, path, "index") == {"telephone index": {"index-1": 2}}
    await whole.check(Keyring.load(path))
    with pytest.raises(SealError):
        await cut.check(Keyring.load(path))


async def test_numbers_of_an_older_version_get_into_the_index_whoever_is_broken_or_erased(
    own: Database, path: Path
) -> None:
    sealed, broken, erased = [await Sealed.write(own, Keyring.load(path)) for _ in range(3)]
    async with own.connection() as connection:
        await connection.execute("UPDATE users SET phone_index = NULL")
        await connection.execute("UPDATE data_keys SET wrapped = '\\x01' WHERE person_id = $1", broken.person)
        await connection.execute("DELETE FROM data_keys WHERE person_id = $1", erased.person)
    before = await rotation.count(own, Keyring.load(path), "index", _nobody_watches)
    assert before == {"telephone index": Counter({"<none>": 3})}
    after = await rotation.index_phones(own, Keyring.load(path), _nobody_watches)
    assert after == {"telephone index": Counter({"index-1": 1, "<none>": 2})}
    await sealed.check(Keyring.load(path))


async def test_waiting_tells_how_long(path: Path) -> None:
    keys = rotation.begin(path, "master", timedelta(milliseconds=30))
    told: list[float] = []
    await rotation.wait(keys, told.append)
    assert told
    assert keys.used_at(datetime.now(UTC)) == "master-2"


async def test_a_keyring_of_an_older_version_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    content = json.loads(Keyring.generate("demo"))
    del content["index"]
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(KeyringError, match=r"index: Field required.*keys init"):
        Keyring.load(path)


def test_init_adds_the_keys_that_an_older_version_lacked_and_changes_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMRUTAM_KEYRING", str(path))
    before = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({name: keys for name, keys in before.items() if name != "index"}), "utf-8")
    for _ in range(2):
        assert main(["keys", "init"]) == 0
    after = json.loads(path.read_text("utf-8"))
    assert {**after, "index": None} == {**before, "index": None}
    assert Keyring.load(path).index.current == "index-1"
