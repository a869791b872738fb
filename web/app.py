"""The API's process: its services are built when it starts and closed when it stops."""

from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from sanic import Sanic
from sanic.config import Config

from amrutam.crypto import Keyring
from amrutam.passwords import Passwords
from amrutam.settings import Settings
from amrutam.storage.cache import Cache
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.telemetry import OperatorPort
from amrutam.temporal import connect
from amrutam.tokens import AccessTokens
from web import errors, middleware
from web.auth import auth
from web.availability import availability
from web.booking import bookings
from web.context import Services
from web.docs import docs
from web.doctor import doctors
from web.gate import Gate
from web.health import detail, health
from web.me import me
from web.openapi import document
from web.outbox import outbox
from web.pages import pages
from web.routing import Feature

ALWAYS = (auth, me, doctors, availability, bookings, pages, docs, health)


def features(settings: Settings) -> list[Feature]:
    """What is mounted in this mode."""
    return [*ALWAYS, *([outbox] if settings.demo else [])]


async def build_services(settings: Settings, keyring: Keyring) -> Services:
    """Every client of this process. None of them needs its server to be there yet."""
    return Services(
        settings=settings,
        keyring=keyring,
        db=await Database.connect(
            settings.database_url.get_secret_value(), size=settings.database_pool_size, application="amrutam-web"
        ),
        cache=Cache(Redis.from_url(settings.redis_url.get_secret_value(), **Cache.CONNECTION)),
        temporal=await connect(settings, keyring, lazy=True),
        tokens=AccessTokens(keyring, settings.public_url, timedelta(seconds=settings.access_token_seconds)),
        person_keys=PersonKeys(keyring),
        operation_keys=keyring.master.sealing("operations"),
        passwords=Passwords(),
        gate=Gate(),
    )


def create_app(settings: Settings, keyring: Keyring) -> "Sanic[Any, Any]":
    """The application, with nothing connected."""
    config = Config(env_prefix=None)
    config.update(
        {
            "REQUEST_MAX_SIZE": settings.max_body_bytes,
            "REQUEST_TIMEOUT": settings.request_timeout_seconds,
            # Body and handler have a time limit each, kept by the router; this only catches what slips past it.
            "RESPONSE_TIMEOUT": settings.request_timeout_seconds * 3,
            "KEEP_ALIVE_TIMEOUT": 75,
            "GRACEFUL_SHUTDOWN_TIMEOUT": 8.0,
            "ACCESS_LOG": False,
            "FALLBACK_ERROR_FORMAT": "json",
            "MOTD": False,
            "AUTO_EXTEND": False,
        }
    )
    app: Sanic[Any, Any] = Sanic("amrutam", config=config, configure_logging=False, strict_slashes=True)
    app.error_handler.add(Exception, errors.handle)
    middleware.install(app, settings)
    mounted = features(settings)
    app.ctx.openapi = document([route for feature in mounted for route in feature.routes])
    for feature in mounted:
        feature.mount(app, lambda: app.ctx.services)

    async def start(_: "Sanic[Any, Any]") -> None:
        services = await build_services(settings, keyring)
        app.ctx.services = services
        app.ctx.operators = OperatorPort(settings.metrics_host, settings.metrics_port, lambda: detail(services))
        app.ctx.operators.start()

    async def stop(_: "Sanic[Any, Any]") -> None:
        app.ctx.operators.stop()
        await app.ctx.services.cache.close()
        await app.ctx.services.db.close()

    app.register_listener(start, "before_server_start")
    app.register_listener(stop, "after_server_stop")
    return app
