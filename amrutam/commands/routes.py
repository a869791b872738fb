"""`python -m amrutam routes`: every route, who may call it, and what is kept on the way."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from amrutam.commands import Commands
from amrutam.settings import Settings

COLUMNS = ("route", "roles", "rule", "audit", "idempotency", "limit", "step_up")


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("routes", help=routes.__doc__, description=routes.__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=routes)


def routes(given: argparse.Namespace) -> int:
    """Print every route: who may call it, the rule of ownership, whether it is audited, takes an idempotency key, what
    it costs of a caller's limit, and whether it wants a second factor that was shown within ten minutes.
    """
    rows = [described(route) for route in mounted(os.environ.get("AMRUTAM_MODE", "production"))]
    text = json.dumps(rows, indent=2) if given.json else table([row.values() for row in rows])
    sys.stdout.write(f"{text}\n")
    return 0


def mounted(mode: str) -> list[Any]:
    """The routes of this mode, by path. By name, since the web lies above this layer."""
    web = import_module("web.app")
    settings = Settings.model_construct(amrutam_mode=mode)  # nothing else decides what is mounted
    found = [route for feature in web.features(settings) for route in feature.routes]
    return sorted(found, key=lambda route: (route.path, route.method))


def described(route: Any) -> dict[str, Any]:
    """One route, in the order of `COLUMNS`."""
    values = (
        f"{route.method} {route.path}",
        sorted(route.roles) or ["everyone"],
        route.owns,
        route.audited,
        route.idempotency.value,
        route.limit,
        route.step_up,
    )
    return dict(zip(COLUMNS, values, strict=True))


def table(rows: Sequence[Iterable[Any]]) -> str:
    """Columns under their names, each as wide as its widest value."""
    cells = [[column.replace("_", "-") for column in COLUMNS], *[[_cell(value) for value in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "-"
        case list():
            return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of roles
        case _:
            return str(value)
