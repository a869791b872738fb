"""The limits of reading: a Sanic process that does nothing but return a Redis value, or a row by its key.

`python -m bench.limits PORT`, with REDIS_URL and MIGRATION_DATABASE_URL in the environment.
"""

import os
import sys
from typing import Any

import asyncpg
from redis.asyncio import Redis
from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config

from amrutam.stack.ports import LOOPBACK

POOL = 16
JSON = "application/json"


async def from_redis(request: Request, key: str) -> HTTPResponse:
    """One GET."""
    return HTTPResponse(await request.app.ctx.redis.get(key), content_type=JSON)


async def from_row(request: Request, key: str) -> HTTPResponse:
    """One row by its primary key."""
    body = await request.app.ctx.pool.fetchval("SELECT body FROM bench.answers WHERE key = $1", key)
    return HTTPResponse(body, content_type=JSON)


async def connect(app: "Sanic[Any, Any]") -> None:
    """Redis and a pool as large as the API's."""
    app.ctx.redis = Redis.from_url(os.environ["REDIS_URL"])
    app.ctx.pool = await asyncpg.create_pool(os.environ["MIGRATION_DATABASE_URL"], min_size=POOL, max_size=POOL)


async def close(app: "Sanic[Any, Any]") -> None:
    """Both."""
    await app.ctx.redis.aclose()
    await app.ctx.pool.close()


def main(port: int) -> None:
    """Serve until SIGTERM."""
    config = Config(env_prefix=None)
    config.update({"ACCESS_LOG": False, "MOTD": False, "AUTO_EXTEND": False})
    app: Sanic[Any, Any] = Sanic("limits", config=config, configure_logging=False)
    app.add_route(from_redis, "/redis/<key>")
    app.add_route(from_row, "/row/<key>")
    app.register_listener(connect, "before_server_start")
    app.register_listener(close, "after_server_stop")
    app.run(host=LOOPBACK, port=port, single_process=True, access_log=False, motd=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
