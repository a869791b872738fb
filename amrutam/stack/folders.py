"""Where the stack keeps its things, and the lock that keeps a second one out."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from amrutam.stack.errors import StackError


class Folders:
    """The data folder and what lies in it. Made on the first use; everything private but the way through."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.logs = self.root / "logs"
        self.run = self.root / "run"
        self.temporal = self.root / "temporal"
        self.valkey = self.root / "valkey"
        self.keys = self.root / "keys"
        self.mail = self.root / "mail"
        self.audit = self.root / "audit"
        self.documents = self.root / "documents"
        self.sandbox = self.root / "sandbox"

    def make(self) -> None:
        """Make them. Others may pass through the data folder, as PostgreSQL's account must, and see nothing."""
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        servers = (self.logs, self.run, self.temporal, self.valkey, self.sandbox)
        for folder in (*servers, self.keys, self.mail, self.audit, self.documents):
            folder.mkdir(mode=0o700, exist_ok=True)

    def lock(self) -> TextIO:
        """Hold the data folder for as long as the answer is open. Raises StackError while another one holds it."""
        lock = (self.run / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StackError(f"Amrutam already runs on {self.root} (process {holder}). Stop that one first.") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock


def write_private(path: Path, text: str) -> None:
    """A file that only its owner can read, complete or not there at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
