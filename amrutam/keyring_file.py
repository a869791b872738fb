"""The keyring's file: written whole or not at all, and followed by the processes that run while it changes."""

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from amrutam.crypto import Keyring, KeyringError

# How long a process may go on with the keys that it has, in seconds, once the file has changed.
LOOK_SECONDS = 5.0

log = structlog.get_logger()

Edit = Callable[[dict[str, Any]], None]
"""Changes the file's content in place."""


def write_new(path: Path, text: str) -> None:
    """Write a file that only its owner may read. Raises FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - the mode must be right from the first byte
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def change(path: Path, edit: Edit) -> None:
    """Change a keyring in one step: whoever reads it sees it before or after, and so does a machine that loses power.

    One at a time. Owner and mode stay. Raises OSError, or KeyringError when the result is no keyring: the file is
    untouched then.
    """
    with _alone(path.parent):
        content = _read(path)
        edit(content)
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)  # of one who was killed here
        write_new(draft, json.dumps(content, indent=2) + "\n")
        try:
            Keyring.load(draft)
            before = path.stat()
            draft.chmod(before.st_mode & 0o777)
            os.chown(draft, before.st_uid, before.st_gid)
            draft.replace(path)
        except KeyringError as error:
            raise KeyringError(str(error).replace(str(draft), str(path))) from None
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        raise KeyringError(f"AMRUTAM_KEYRING: {path}: it is not JSON") from None


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """Have the folder's entry for the file on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def follow(path: Path, born_with: Keyring, use: Callable[[Keyring], None]) -> None:
    """Hand the keyring to `use` each time that its file has changed, until cancelled. It begins with one.

    A file that is gone, does not load, or belongs to another installation is logged, and the keys in use stay.
    """
    seen: tuple[int, ...] | None = None
    while True:
        stamp = _stamp(path)
        if stamp != seen:
            seen = stamp
            try:
                keyring = await asyncio.to_thread(Keyring.load, path)
                if (keyring.born, keyring.secret) != (born_with.born, born_with.secret):
                    raise KeyringError("it is another installation's")
                use(keyring)
                log.info("keyring.read", signing=sorted(keyring.signing.keys), master=sorted(keyring.master.keys))
            except KeyringError as error:
                log.error("keyring.not_taken", reason=str(error))
        await asyncio.sleep(LOOK_SECONDS)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
