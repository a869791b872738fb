"""Is this process alive, and can it serve? Status only: details are on the operators' own port."""

import asyncio
from typing import Literal

from redis.exceptions import RedisError

from amrutam.domain.common import Message
from amrutam.domain.errors import Unavailable
from amrutam.preflight import database_state
from amrutam.temporal import is_reachable
from web.context import Answer, Call, Services
from web.quotas import NOTHING
from web.routing import EVERYONE, Feature

health = Feature("health")


class Health(Message):
    """The process's state."""

    status: Literal["ok"] = "ok"


@health.route("GET", "/health/live", allow=EVERYONE, owns="public", answers={200: Health}, limit=NOTHING)
async def live(_call: Call) -> Answer:
    """The process runs and its event loop turns."""
    return Answer(Health(), headers={"Cache-Control": "no-store"})


@health.route(
    "GET",
    "/health/ready",
    allow=EVERYONE,
    owns="public",
    answers={200: Health},
    errors=[Unavailable],
    limit=NOTHING,  # a balancer asks often, and must hear the truth
)
async def ready(call: Call) -> Answer:
    """PostgreSQL and Temporal answer. Redis is not asked: without it the service is slower, and right."""
    parts = await detail(call.services)
    if parts["postgresql"] != "ok" or parts["temporal"] != "ok":
        raise Unavailable
    return Answer(Health(), headers={"Cache-Control": "no-store"})


async def detail(services: Services) -> dict[str, str]:
    """Each part's state in words."""
    database, temporal, redis = await asyncio.gather(
        database_state(services.db), is_reachable(services.temporal), _redis_state(services)
    )
    parts = {"postgresql": database, "temporal": "ok" if temporal else "away", "redis": redis}
    return {**parts, **services.nodes.state()}


async def _redis_state(services: Services) -> str:
    try:
        await services.cache.ping()
    except (RedisError, OSError) as error:
        return f"away: {type(error).__name__}"
    return "ok"
