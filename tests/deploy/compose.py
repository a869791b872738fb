"""docker-compose.yml as `docker compose config` would resolve it: variables, env files and profiles."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).parents[2]

# $$, or ${NAME}, ${NAME:-default}, ${NAME:?what it is}. No other form is used.
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\})")


class MissingVariable(Exception):
    """A variable that must be given is not."""


def environment_file(path: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The assignments of an env file, with `variables` put in. Raises MissingVariable."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: resolved(value, variables or {}) for name, _, value in (line.partition("=") for line in lines)}


def resolved(text: str, variables: Mapping[str, str]) -> str:
    """`text` with every variable put in. Raises MissingVariable."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        given = variables.get(match["name"], "")
        if not given and match["kind"] == "?":
            raise MissingVariable(f"{match['name']}: {match['word']}")
        return given or (match["word"] or "" if match["kind"] == "-" else "")

    return _VARIABLE.sub(value, text)


def read(path: Path = ROOT / "docker-compose.yml") -> dict[str, Any]:
    """The file as it is written, anchors merged."""
    return cast("dict[str, Any]", yaml.safe_load(path.read_text()))


@dataclass(frozen=True)
class Project:
    """The services that start, each with its whole environment."""

    services: Mapping[str, dict[str, Any]]

    @classmethod
    def load(cls, variables: Mapping[str, str]) -> "Project":
        """With these variables, as an env file or the shell gives them. Raises MissingVariable."""
        profiles = set(variables.get("COMPOSE_PROFILES", "").split(","))
        services = cast("dict[str, dict[str, Any]]", _put_in(read()["services"], variables))
        wanted = {name: it for name, it in services.items() if profiles.issuperset(it.get("profiles", []))}
        return cls({name: it | {"environment": _environment(it, variables)} for name, it in wanted.items()})

    def environment(self, service: str) -> dict[str, str]:
        """What the processes of this service find."""
        return self.services[service]["environment"]


def _environment(service: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    files = [environment_file(ROOT / file, variables) for file in service.get("env_file", [])]
    merged: dict[str, str] = {}
    for part in [*files, service.get("environment", {})]:
        merged |= part
    return merged


def _put_in(node: object, variables: Mapping[str, str]) -> object:
    if isinstance(node, str):
        return resolved(node, variables)
    if isinstance(node, dict):
        return {key: _put_in(value, variables) for key, value in cast("dict[str, object]", node).items()}
    if isinstance(node, list):
        return [_put_in(each, variables) for each in cast("list[object]", node)]
    return node
