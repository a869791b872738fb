"""The account that PostgreSQL runs under, and a folder that this account can reach.

PostgreSQL refuses to run as root. Started by root it runs as `nobody`; and where that account cannot enter the
checkout (a folder of mode 0700 above it), its data and a copy of its programs lie in a folder of our own. The mode of
a folder that was there before is never changed.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OWN_FOLDERS = Path("/var/lib/amrutam")
# In the data folder: names the folder of our own, so that it is found again and removed by `make clean`.
OWN_FOLDER_NOTE = "own-folder"


@dataclass(frozen=True)
class Account:
    """A user of this machine, by number."""

    uid: int
    gid: int

    @classmethod
    def for_data(cls, data: Path) -> "Account | None":
        """Who runs PostgreSQL on this folder: its owner when it exists, else nobody. None: as whoever we are."""
        if os.geteuid() != 0:
            return None
        if data.exists() and (owner := data.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid)
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def can_enter(self, folder: Path) -> bool:
        """Whether every folder down to this one lets the account in."""
        return self.run("/bin/sh", "-c", 'cd "$1"', "sh", str(folder))

    def run(self, *command: str) -> bool:
        """Whether this command succeeds under the account."""
        try:
            done = subprocess.run(  # noqa: S603 - our own commands
                command, user=self.uid, group=self.gid, extra_groups=[], cwd="/", capture_output=True, check=False
            )
        except PermissionError:
            return False
        return done.returncode == 0


def reachable_home(folder: Path, account: Account | None) -> Path:
    """`folder`, or the folder of our own that stands in for it because the account cannot enter `folder`."""
    note = folder / OWN_FOLDER_NOTE
    if note.exists():
        return Path(note.read_text().strip())
    if account is None or account.can_enter(folder):
        return folder
    own = OWN_FOLDERS / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    note.write_text(f"{own}\n")  # before it is made, so that it cannot be forgotten
    for made in (OWN_FOLDERS, own):
        made.mkdir(mode=0o755, parents=True, exist_ok=True)
        made.chmod(0o755)
    return own


def reachable_programs(programs: Path, libraries: Path, home: Path, account: Account | None) -> Path:
    """The folder of PostgreSQL's programs, or a copy in `home` when the account cannot run them where they are."""
    if account is None or account.run(str(programs / "postgres"), "--version"):
        return programs
    stamp = hashlib.sha256(f"{programs} {(programs / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:16]
    copy = home / f"programs-{stamp}"
    if not copy.exists():
        # The programs look for their libraries beside the package, so the copy keeps the wheel's shape.
        package = programs.parent.parent
        fresh = home / f"programs-{stamp}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(programs.parent, fresh / package.name / programs.parent.name)
        shutil.copytree(libraries, fresh / libraries.name)
        fresh.chmod(0o755)
        fresh.rename(copy)
    return copy / package_path(programs)


def package_path(programs: Path) -> Path:
    """`<package>/<install>/bin`, the last three parts of the programs' path."""
    return Path(*programs.parts[-3:])


def forget_own_folder(folder: Path) -> None:
    """Remove the folder of our own that stands in for this data folder, if there is one."""
    note = folder / OWN_FOLDER_NOTE
    if not note.exists():
        return
    own = Path(note.read_text().strip())
    if own.parent == OWN_FOLDERS:
        shutil.rmtree(own, ignore_errors=True)
    note.unlink()
