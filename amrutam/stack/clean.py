"""`python -m amrutam.stack.clean`: stop what a killed launcher left running here, and delete the data."""

import asyncio
import sys

from amrutam.stack.console import Console
from amrutam.stack.errors import StackError
from amrutam.stack.folders import Folders
from amrutam.stack.process import stop_leftovers
from amrutam.stack.servers import remove_data
from amrutam.stack.up import DATA


def main() -> int:
    """1 while a `make up` runs on the data, else 0."""
    console, folders = Console(), Folders(DATA)
    if not folders.run.exists():
        return 0
    try:
        with folders.lock():
            for name in asyncio.run(stop_leftovers(folders.run)):
                console.plain(f"{name} was left over: stopped")
            remove_data(folders.root)
    except StackError as fault:
        console.plain(str(fault))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
