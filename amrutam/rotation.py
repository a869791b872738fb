"""A key takes over from another while everybody works.

The new key lies in the keyring for a while before anything is sealed with it, so that every process has it by then.
Then what lies under other keys moves to it, and is counted. A key under which something lies is never removed. Each
step can be killed and run again.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from amrutam import keyring_file
from amrutam.crypto import Keyring, KeySet, random_key
from amrutam.kms import KeyringKms
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.storage.rewrapping import FIRST, DataKeys, Outcomes, Phones, Table

Use = Literal["master", "index"]
"""A set of keys: those that wrap data keys and seal outcomes, or those of the blind indices."""

BATCH = 200  # rows are held for the time of a batch, some 20 ms
# Over the longest transaction: whatever was sealed before the new key took over has committed by then, or never will.
SETTLE = timedelta(seconds=7)
# What was written under an old key in spite of that (a process with an old file) moves with another round.
ROUNDS = 3

Uses = Mapping[str, Counter[str]]
"""How many values of each table lie under each key."""


class RotationError(Exception):
    """The keys cannot rotate, or one cannot go; nothing is lost, and the file is as it was."""


class Shown(NamedTuple):
    """How far a walk has come."""

    table: str
    done: int
    of: int


Show = Callable[[Shown], None]


def begin(path: Path, use: Use, lead: timedelta) -> KeySet:
    """Add a key that takes over after `lead`, unless one is about to. Returns the keys as they stand."""

    def edit(content: dict[str, Any]) -> None:
        keys = KeySet.model_validate(content[use])
        if keys.next is None:
            name = new_name(use, keys)
            content[use]["keys"][name] = random_key()
            content[use] |= {"next": name, "next_from": (datetime.now(UTC) + lead).isoformat()}

    keyring_file.change(path, edit)
    return keys_of(Keyring.load(path), use)


async def wait(keys: KeySet, show: Callable[[float], None]) -> None:
    """Until the key that is about to take over has done so everywhere; `show` hears the seconds that are left."""
    if keys.next_from is None:
        return
    while (left := (keys.next_from + SETTLE - datetime.now(UTC)).total_seconds()) > 0:
        show(left)
        await asyncio.sleep(min(left, 1))


async def move_all(db: Database, keyring: Keyring, use: Use, show: Show) -> Uses:
    """Move everything to the key that is used now; returns what lies where then. Raises KmsUnavailable."""
    target, tables = keys_of(keyring, use).used_at(datetime.now(UTC)), _tables(keyring, use)
    uses: Uses = {}
    for _ in range(ROUNDS):
        for table in tables:
            await _walk(db, table, target, show)
        uses = await count(db, keyring, use, show)
        if not left(uses, target):
            break
    return uses


async def index_phones(db: Database, keyring: Keyring, show: Show) -> Uses:
    """Have every telephone number in the blind index, under the key that is used now."""
    return await move_all(db, keyring, "index", show)


async def count(db: Database, keyring: Keyring, use: Use, show: Show) -> Uses:
    """How many values of each table lie under each key of this set."""
    return {table.name: await _walk(db, table, None, show) for table in _tables(keyring, use)}


def finish(path: Path, use: Use) -> None:
    """The key that took over is the current one from now on; the others stay, for opening."""

    def edit(content: dict[str, Any]) -> None:
        keys = KeySet.model_validate(content[use])
        content[use] = {"current": keys.used_at(datetime.now(UTC)), "keys": content[use]["keys"]}

    keyring_file.change(path, edit)


async def retire(db: Database, path: Path, name: str, show: Show) -> None:
    """Remove a key under which nothing lies. Raises RotationError for any other."""
    keyring = Keyring.load(path)
    use = _use_of(keyring, name)
    keys = keys_of(keyring, use)
    if name in {keys.current, keys.next}:
        raise RotationError(f"{name} is in use: new values are sealed with it")
    uses = await count(db, keyring, use, show)
    if used := [f"{counted[name]:,} {table}" for table, counted in uses.items() if counted[name]]:
        raise RotationError(f"{name} is in use: {', '.join(used)} lie under it; `keys rotate` moves them")
    keyring_file.change(path, lambda content: content[use]["keys"].pop(name))


def left(uses: Uses, target: str) -> dict[str, Counter[str]]:
    """What does not lie under `target`."""
    others = {
        table: Counter({key: n for key, n in counted.items() if key != target}) for table, counted in uses.items()
    }
    return {table: counted for table, counted in others.items() if counted}


def keys_of(keyring: Keyring, use: Use) -> KeySet:
    """The keys of one set."""
    return keyring.master if use == "master" else keyring.index


def new_name(use: str, keys: KeySet) -> str:
    """A number over all that are there: a name is never used twice."""
    numbers = (int(found[1]) for name in keys.keys if (found := re.search(r"([0-9]+)$", name)))
    return f"{use}-{max(numbers, default=0) + 1}"


def _tables(keyring: Keyring, use: Use) -> Sequence[Table]:
    if use == "index":
        return (Phones(PersonKeys(keyring)),)
    return (DataKeys(KeyringKms(keyring)), Outcomes(keyring))


def _use_of(keyring: Keyring, name: str) -> Use:
    if name in keyring.master.keys:
        return "master"
    if name in keyring.index.keys:
        return "index"
    raise RotationError(f"{name}: no key of this name that could be retired; keys that sign go by themselves")


async def _walk(db: Database, table: Table, wanted: str | None, show: Show) -> Counter[str]:
    """Read the whole table and move what does not lie under `wanted`; returns under which keys everything was found."""
    after, done, found_under = FIRST, 0, Counter[str]()
    async with db.connection() as connection:
        of = await table.count(connection)
    while True:
        async with db.connection() as connection:
            found = await table.read(connection, after, BATCH, wanted)
            if others := [each for each in found if each.value is not None]:
                await table.write(connection, await table.moved(connection, others))
        if not found:
            return found_under
        found_under.update(each.key for each in found)
        after, done = found[-1].id, done + len(found)
        show(Shown(table.name, done, max(of, done)))
