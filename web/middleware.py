"""What happens around every request: its ids, its log line, its figures, and the headers of every answer."""

import re
import secrets
import time
from functools import lru_cache
from typing import Any, cast

import structlog
from prometheus_client import Histogram
from sanic import HTTPResponse, Request, Sanic
from sanic.response import BaseHTTPResponse

from amrutam.settings import Settings
from amrutam.telemetry import HTTP_SECONDS, REQUESTS
from web.parsing import header
from web.replies import FixedHeaders

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_SENDABLE = (
    "authorization, content-type, idempotency-key, if-match, if-none-match, traceparent, x-consistency-token, "
    "x-device-token, x-request-id"
)
_READABLE = (
    "etag, idempotency-replayed, location, ratelimit, ratelimit-policy, retry-after, x-consistency-token, "
    "x-device-token, x-request-id"
)


def install(app: "Sanic[Any, Any]", settings: Settings) -> None:
    """Put the middleware around every route of `app`."""
    always = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    }
    if settings.public_url.startswith("https://"):
        always["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
    fixed = FixedHeaders(always)
    origins = frozenset(settings.cors_origins)
    app.ctx.stopping = False

    async def stopping(_: "Sanic[Any, Any]") -> None:
        app.ctx.stopping = True

    async def before(request: Request) -> HTTPResponse | None:
        identify(request)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return HTTPResponse(None, 204)
        return None

    async def after(request: Request, response: BaseHTTPResponse) -> None:
        fixed.add_to(response, _context(request, "rate_limit", ()))
        headers = response.headers
        headers["X-Request-Id"] = _context(request, "request_id", "")
        if _context(request, "personal", default=False):
            headers.setdefault("Cache-Control", "no-store")
        if origins:
            _allow_origin(request, response, origins)
        if app.ctx.stopping:  # else the process would wait for a client that keeps its connection
            cast("Any", request.stream).keep_alive = False
        _record(request, response)

    app.register_middleware(before, "request")
    app.register_middleware(after, "response")
    app.register_listener(stopping, "before_server_stop")


def identify(request: Request) -> None:
    """Give the request its ids, once: the caller's own where they are well formed."""
    context = request.ctx
    if hasattr(context, "request_id"):
        return
    context.started = time.perf_counter()
    sent, fresh = header(request, "x-request-id"), secrets.token_hex(32)
    context.request_id = sent if _REQUEST_ID.fullmatch(sent) else fresh[:32]
    parent = _TRACEPARENT.fullmatch(header(request, "traceparent"))
    context.trace_id = parent.group(1) if parent else fresh[32:]
    structlog.contextvars.bind_contextvars(request_id=context.request_id, trace_id=context.trace_id)


def _context(request: Request, name: str, default: Any) -> Any:
    return getattr(request.ctx, name, default)


def _allow_origin(request: Request, response: BaseHTTPResponse, origins: frozenset[str]) -> None:
    origin = header(request, "origin")
    response.headers["Vary"] = "Origin"
    if origin not in origins and "*" not in origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = _READABLE
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Allow-Headers"] = _SENDABLE
        response.headers["Access-Control-Max-Age"] = "600"


def _record(request: Request, response: BaseHTTPResponse) -> None:
    """One log line and one observation for each request. Never the query string, never a body."""
    started = _context(request, "started", None)
    if started is None:
        return
    seconds = time.perf_counter() - started
    route = _context(request, "route", "unmatched")
    _histogram(request.method, route, response.status // 100).observe(seconds)
    context = request.ctx
    REQUESTS.write(
        {
            "method": request.method,
            "route": route,
            "status": response.status,
            "code": _context(request, "code", None),
            "ms": round(seconds * 1000, 2),
            "user_id": _context(request, "user_id", None),
            "request_id": context.request_id,
            "trace_id": context.trace_id,
        }
    )


@lru_cache(maxsize=1024)
def _histogram(method: str, route: str, hundreds: int) -> Histogram:
    return HTTP_SECONDS.labels(method, route, f"{hundreds}xx")
