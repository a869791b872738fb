"""The API's process: its services are built when it starts and closed when it stops."""

import asyncio
from datetime import timedelta
from typing import Any

from sanic import Sanic
from sanic.config import Config

from amrutam.crypto import OPERATIONS, Keyring
from amrutam.gateways.documents import documents_for
from amrutam.gateways.payment_choice import payment_gateways
from amrutam.keyring_file import follow
from amrutam.papers import PaperPool
from amrutam.passwords import Passwords
from amrutam.pictures import Pictures
from amrutam.settings import Settings
from amrutam.settling import settle
from amrutam.storage.admission import Admissions
from amrutam.storage.breaker import redis_client
from amrutam.storage.cache import Cache
from amrutam.storage.guessing import Guessing
from amrutam.storage.line import Line
from amrutam.storage.nodes import Nodes
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_markers import SessionMarkers
from amrutam.storage.session_memory import SessionMemory
from amrutam.telemetry import OperatorPort
from amrutam.temporal import connect
from amrutam.tokens import AccessTokens
from web import errors, middleware
from web.admin_doctors import admin_doctors
from web.admin_reviews import admin_reviews
from web.audit import audit
from web.auth import auth
from web.availability import availability
from web.booking import bookings
from web.booking_papers import booking_papers
from web.cancel_day import cancel_day
from web.context import Services
from web.docs import docs
from web.doctor import doctors
from web.documents import documents
from web.email_change import email_change
from web.gate import Gate
from web.health import detail, health
from web.hold import holds
from web.invitations import invitations
from web.me import me
from web.mfa import second_factor
from web.notifications import notifications
from web.openapi import document
from web.outbox import outbox
from web.pages import pages
from web.passwords import passwords
from web.payment import payments
from web.photo import photo
from web.quotas import Quotas
from web.refunds import refunds
from web.reviews import reviews
from web.routing import Feature
from web.sessions import signing_in
from web.staff import staff
from web.staff_pages import staff_pages
from web.support import support
from web.verification import verification

ALWAYS = (
    auth,
    signing_in,
    second_factor,
    passwords,
    email_change,
    me,
    notifications,
    audit,
    doctors,
    photo,
    documents,
    availability,
    cancel_day,
    verification,
    admin_doctors,
    bookings,
    booking_papers,
    payments,
    refunds,
    holds,
    reviews,
    admin_reviews,
    support,
    pages,
    staff,
    invitations,
    staff_pages,
    docs,
    health,
)


def features(settings: Settings) -> list[Feature]:
    """What is mounted in this mode."""
    return [*ALWAYS, *([outbox] if settings.demo else [])]


async def build_services(settings: Settings, keyring: Keyring) -> Services:
    """Every client of this process. None of them needs its server to be there yet."""
    redis_url = settings.redis_url.get_secret_value()
    scripts = Scripts(redis_url)
    line = Line(redis_client(redis_url, connections=1))
    sessions = SessionMemory(line)
    db = await Database.connect(
        settings.database_url.get_secret_value(), size=settings.database_pool_size, application="amrutam-web"
    )
    nodes = Nodes(db, await _replicas(settings), settings.replica_most_lag_seconds)
    token_life = timedelta(seconds=settings.access_token_seconds)
    return Services(
        settings=settings,
        keyring=keyring,
        db=db,
        nodes=nodes,
        line=line,
        cache=Cache(redis_client(redis_url), nodes, line),
        temporal=await connect(settings, keyring, lazy=True),
        tokens=AccessTokens(keyring, settings.public_url, token_life),
        person_keys=PersonKeys(keyring),
        operation_keys=keyring.master.sealing(OPERATIONS),
        passwords=Passwords(memory_kib=settings.password_memory_kib, passes=settings.password_passes),
        documents=documents_for(settings),
        pictures=Pictures(),
        gateways=payment_gateways(settings),
        papers=PaperPool(),
        gate=Gate(),
        quotas=Quotas.of(settings),
        admissions=Admissions(scripts, sessions),
        guessing=Guessing(scripts),
        scripts=scripts,
        markers=SessionMarkers(scripts, db, token_life, sessions),
    )


async def _replicas(settings: Settings) -> list[Database]:
    """A pool each, of the application's role."""
    size = settings.database_pool_size
    return [
        await Database.connect(url, size=size, application="amrutam-web", replica=True) for url in settings.replica_urls
    ]


def create_app(settings: Settings, keyring: Keyring) -> "Sanic[Any, Any]":
    """The application, with nothing connected."""
    config = Config(env_prefix=None)
    config.update(
        {
            "REQUEST_MAX_SIZE": settings.max_body_bytes,
            "REQUEST_TIMEOUT": settings.request_timeout_seconds,
            # Body and handler have a time limit each, kept by the router; this only catches what slips past it.
            "RESPONSE_TIMEOUT": settings.upload_timeout_seconds + settings.request_timeout_seconds * 2,
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
        app.ctx.following = asyncio.create_task(follow(settings.amrutam_keyring, keyring, services.use))
        app.ctx.services = services
        app.ctx.operators = OperatorPort(settings.metrics_host, settings.metrics_port, lambda: detail(services))
        app.ctx.operators.start()
        services.line.start()
        services.nodes.start()
        settle()

    async def stop(_: "Sanic[Any, Any]") -> None:
        app.ctx.operators.stop()
        app.ctx.following.cancel()
        await app.ctx.services.papers.close()
        await app.ctx.services.line.close()
        await app.ctx.services.scripts.close()
        await app.ctx.services.cache.close()
        await app.ctx.services.nodes.close()
        await app.ctx.services.db.close()

    app.register_listener(start, "before_server_start")
    app.register_listener(stop, "after_server_stop")
    return app
