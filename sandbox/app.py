"""The gateway's process, put together."""

import asyncio
import logging
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config
from sanic.response import json

from sandbox.api import Api
from sandbox.pages import Pages
from sandbox.settings import Settings
from sandbox.store import Store
from sandbox.work import work

_log = logging.getLogger("sandbox")


def create_app(settings: Settings) -> "Sanic[Any, Any]":
    """The application, with its memory open. Raises OSError, sqlite3.Error where there is no place for that."""
    config = Config(env_prefix=None)
    config.update(
        {
            "REQUEST_MAX_SIZE": 64 * 1024,
            "REQUEST_TIMEOUT": 10,
            "RESPONSE_TIMEOUT": 10,
            "GRACEFUL_SHUTDOWN_TIMEOUT": 2.0,
            "ACCESS_LOG": False,
            "FALLBACK_ERROR_FORMAT": "json",
            "MOTD": False,
            "AUTO_EXTEND": False,
        }
    )
    app: Sanic[Any, Any] = Sanic("sandbox", config=config, configure_logging=False, strict_slashes=True)
    store = Store(settings.folder)
    Api(store, settings).mount(app)
    Pages(store, settings).mount(app)
    app.add_route(_health, "/health", name="health")

    async def start(_: "Sanic[Any, Any]") -> None:
        app.ctx.work = asyncio.create_task(work(store, settings))
        app.ctx.work.add_done_callback(lambda task: _end_with(app, task))

    async def stop(_: "Sanic[Any, Any]") -> None:
        app.ctx.work.cancel()
        await asyncio.wait([app.ctx.work])
        store.close()

    app.register_listener(start, "before_server_start")
    app.register_listener(stop, "after_server_stop")
    return app


def _end_with(app: "Sanic[Any, Any]", task: "asyncio.Task[None]") -> None:
    """A gateway that tells nobody anything is none: let whoever watches the process see that."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("the work has ended", exc_info=error)
        app.ctx.failed = True
        app.stop()


async def _health(_request: Request) -> HTTPResponse:
    """It answers."""
    return json({"status": "ok"})
