"""Operator commands that have a file of their own; each registers itself with the parser of `amrutam.cli`."""

import argparse
from typing import Protocol


class Commands(Protocol):
    """Where a command is added: what `argparse.ArgumentParser.add_subparsers` gives."""

    def add_parser(
        self, name: str, *, help: str | None = None, description: str | None = None
    ) -> argparse.ArgumentParser:
        """A parser for one more command."""
        ...
