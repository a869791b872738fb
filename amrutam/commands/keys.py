"""`python -m amrutam keys …`: the keys of this installation."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from amrutam import keyring_file, rotation
from amrutam.commands import Commands
from amrutam.crypto import SKEW, Keyring, SigningKeys, first_key, random_key
from amrutam.preflight import load
from amrutam.settings import Settings, SettingsError
from amrutam.stack.console import Console
from amrutam.storage.pool import Database

# Over the 5 minutes for which others may keep the published keys, and the seconds until each process has read the file.
LEAD_MINUTES = 10
# Time to copy the file to other machines. On one machine the shortest is enough.
LEAD_SECONDS = 300
SHORTEST_LEAD = int(2 * keyring_file.LOOK_SECONDS)
BAR = 30  # characters


def register(commands: Commands) -> None:
    """Add the commands."""
    actions = commands.add_parser("keys", help="Keys of this installation.").add_subparsers(
        required=True, metavar="action"
    )
    actions.add_parser("init", help=init.__doc__, description=init.__doc__).set_defaults(run=init)
    rotating = actions.add_parser("rotate-signing", help=rotate_signing.__doc__, description=rotate_signing.__doc__)
    rotating.add_argument(
        "--minutes",
        type=_minutes,
        default=LEAD_MINUTES,
        help=f"publish the new key for N minutes before it signs ({LEAD_MINUTES})",
    )
    rotating.add_argument(
        "--at-once",
        action="store_true",
        help="the old key may be in other hands: the new one signs now, and every access token given so far is refused",
    )
    rotating.set_defaults(run=rotate_signing)
    sealing = actions.add_parser("rotate", help=rotate.__doc__, description=rotate.__doc__)
    sealing.add_argument(
        "--lead",
        type=_lead,
        default=LEAD_SECONDS,
        metavar="SECONDS",
        help=f"the time in which every machine gets the changed file before the new key is used ({LEAD_SECONDS})",
    )
    sealing.add_argument("--index", action="store_true", help="the key of the blind indices instead")
    sealing.set_defaults(run=rotate)
    indexing = actions.add_parser("index", help=index.__doc__, description=index.__doc__)
    indexing.set_defaults(run=index)
    retiring = actions.add_parser("retire", help=retire.__doc__, description=retire.__doc__)
    retiring.add_argument("name", help="as it stands in the keyring, such as master-1")
    retiring.set_defaults(run=retire)


def init(_: argparse.Namespace) -> int:
    """Write a new keyring to AMRUTAM_KEYRING, readable by its owner only. One that is there keeps its keys, and gets
    those that an older version did not have.
    """
    path = Path(os.environ.get("AMRUTAM_KEYRING", ""))
    if not path.name:
        raise SettingsError("AMRUTAM_KEYRING: needed, the path of the file to write")
    if path.exists():
        added = _complete(path)
        Keyring.load(path)
        _say(f"{path} has keys for {added} now; back it up" if added else f"{path} is there already")
        return 0
    keyring_file.write_new(path, Keyring.generate("demo" if os.environ.get("AMRUTAM_MODE") == "demo" else "production"))
    _say(f"{path} written; back it up apart from the database")
    return 0


def _complete(path: Path) -> str:
    """Add the set of keys that older keyrings lack; returns its name."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError:
        return ""  # loading it says what is wrong
    if not isinstance(content, dict) or "index" in content:
        return ""
    keyring_file.change(path, lambda content: content.setdefault("index", first_key("index")))
    return "index"


def rotate(given: argparse.Namespace) -> int:
    """Add a key-encryption key and move everything to it, while everybody works: each person's data key is wrapped
    anew, what came of requests is sealed anew. Killed, it goes on where it was when run again. Old keys stay until
    `keys retire`. Exit status 1 when something did not move.
    """
    settings, _ = load()
    use: rotation.Use = "index" if given.index else "master"
    path, console = settings.amrutam_keyring, Console()
    keys = rotation.begin(path, use, timedelta(seconds=given.lead))
    console.say(f"{keys.next} takes over at {keys.next_from:%Y-%m-%d %H:%M:%S} UTC; copy {path} to every machine now")

    async def run() -> int:
        await rotation.wait(keys, lambda left: console.progress(f"{keys.next} takes over everywhere in {left:.0f} s"))
        keyring = Keyring.load(path)
        async with _database(settings) as db:
            uses = await rotation.move_all(db, keyring, use, _bar(console))
        _tell(console, uses)
        target = rotation.keys_of(keyring, use).used_at(datetime.now(UTC))
        if rotation.left(uses, target):
            console.plain(f"not everything lies under {target}; run it again, or see which values do not open")
            return 1
        rotation.finish(path, use)
        old = sorted(keys.keys.keys() - {target})
        console.plain(f"everything lies under {target}; remove what is not used any more: keys retire {' '.join(old)}")
        return 0

    return asyncio.run(run())


def index(_: argparse.Namespace) -> int:
    """Have every telephone number in the index by which support finds people; for numbers of an older version."""
    settings, keyring = load()
    console = Console()

    async def run() -> int:
        async with _database(settings) as db:
            uses = await rotation.index_phones(db, keyring, _bar(console))
        _tell(console, uses)
        return 1 if rotation.left(uses, rotation.keys_of(keyring, "index").used_at(datetime.now(UTC))) else 0

    return asyncio.run(run())


def retire(given: argparse.Namespace) -> int:
    """Remove a key from the keyring, when nothing lies under it any more. Backups of the database from before its
    rotation need it: keep the backup of the keyring that belongs to them.
    """
    settings, _ = load()
    console = Console()

    async def run() -> int:
        async with _database(settings) as db:
            try:
                await rotation.retire(db, settings.amrutam_keyring, given.name, _bar(console))
            except rotation.RotationError as refusal:
                console.plain(str(refusal))
                return 1
        console.plain(f"{given.name} is gone; copy {settings.amrutam_keyring} to every machine, and back it up")
        return 0

    return asyncio.run(run())


@asynccontextmanager
async def _database(settings: Settings) -> AsyncGenerator[Database]:
    db = await Database.connect(settings.database_url.get_secret_value(), size=2, application="amrutam-keys")
    try:
        yield db
    finally:
        await db.close()


def _bar(console: Console) -> rotation.Show:
    """A bar that grows, with the share that is done."""

    def show(shown: rotation.Shown) -> None:
        full = BAR * shown.done // shown.of
        bar = "#" * full + "." * (BAR - full)
        console.progress(f"{shown.table:<16} [{bar}] {shown.done:,} of {shown.of:,}")

    return show


def _tell(console: Console, uses: rotation.Uses) -> None:
    for table, counted in uses.items():
        where = ", ".join(f"{number:,} under {key}" for key, number in sorted(counted.items()))
        console.plain(f"{table:<16} {where or 'none'}")


def rotate_signing(given: argparse.Namespace) -> int:
    """Add a key for access tokens. It is published at once and signs some minutes later; the old one stays good until
    its last token has expired, so that nobody is signed out. Running processes read the file by themselves.
    """
    settings, _ = load()
    now, token_life = datetime.now(UTC), timedelta(seconds=settings.access_token_seconds)

    def edit(content: dict[str, Any]) -> None:
        signing = SigningKeys.model_validate(content["signing"])
        content["signing"] = (
            replaced(signing) if given.at_once else rotated(signing, now, timedelta(minutes=given.minutes), token_life)
        )

    keyring_file.change(settings.amrutam_keyring, edit)
    signing = Keyring.load(settings.amrutam_keyring).signing
    if signing.next_from:
        _say(f"{signing.next} is published now, and signs from {signing.next_from:%Y-%m-%d %H:%M:%S} UTC on")
    else:
        _say(f"{signing.current} signs; every access token given before is refused, refresh tokens stay good")
    _say(f"{settings.amrutam_keyring} has changed: back it up, and copy it to every machine that holds one")
    return 0


def rotated(signing: SigningKeys, now: datetime, lead: timedelta, token_life: timedelta) -> dict[str, Any]:
    """The signing keys with one more, which takes over after `lead`; whichever signs now stays.

    Raises SettingsError while the last rotation is under way: a key would go whose tokens are still good.
    """
    if signing.next_from and now < (done := signing.next_from + token_life + SKEW):
        raise SettingsError(f"the last rotation is under way until {done:%Y-%m-%d %H:%M:%S} UTC; rotate after that")
    name, signs = rotation.new_name("signing", signing), signing.used_at(now)
    return {
        "current": signs,
        "next": name,
        "next_from": (now + lead).isoformat(),
        "keys": {signs: signing.keys[signs].get_secret_value(), name: random_key()},
    }


def replaced(signing: SigningKeys) -> dict[str, Any]:
    """A new signing key alone."""
    name = rotation.new_name("signing", signing)
    return {"current": name, "keys": {name: random_key()}}


def _minutes(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _lead(text: str) -> int:
    if (number := int(text)) < SHORTEST_LEAD:
        raise argparse.ArgumentTypeError(f"at least {SHORTEST_LEAD} s: processes look at the file every few seconds")
    return number


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
