"""Every route that demo mode mounts."""

from web.app import ALWAYS
from web.outbox import outbox
from web.routing import Route

ROUTES: list[Route] = [route for feature in (*ALWAYS, outbox) for route in feature.routes]


def name(route: Route) -> str:
    """As a person names it."""
    return f"{route.method} {route.path}"
