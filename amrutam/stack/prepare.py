"""`python -m amrutam.stack.prepare`: have the Temporal server at hand before the tests' own time begins to count."""

import asyncio
import sys
import tempfile
from pathlib import Path

from amrutam.stack.console import Console
from amrutam.stack.engine import choose
from amrutam.stack.errors import StackError


def main() -> int:
    """1, and why, when there is no server to be had; else 0."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(choose(Path(folder) / "engine.json", console, ui=True))
        except StackError as fault:
            console.plain(str(fault))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
