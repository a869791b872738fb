"""Pages that a browser shows."""

from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(loader=PackageLoader("amrutam", "templates/pages"), autoescape=True, undefined=StrictUndefined)


def page(name: str, **values: Any) -> bytes:
    """A page of `amrutam/templates/pages`, with every value escaped."""
    return _environment().get_template(name).render(**values).encode()
