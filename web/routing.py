"""Routes: one declaration that authorises, validates, renders, documents and is tested.

A handler is `async def name(call, …)`. Beside `call` it may take `command` (the JSON body), `query` (the query string),
both pydantic models, and path parameters by name. `@feature.post(path, …)` says the rest.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, Protocol, get_type_hints

from pydantic import BaseModel
from sanic import HTTPResponse, Request, Sanic

from amrutam.domain.common import Role
from amrutam.domain.documents import Upload
from amrutam.domain.errors import DomainError, Forbidden, NotYours, Unauthenticated, Unavailable
from amrutam.telemetry import HTTP_IN_FLIGHT
from web import consistency, idempotency, limits, parsing
from web.context import Answer, Call, Services
from web.denials import note_denied
from web.factor import FactorRule, begin_enrolling, is_enrolling, is_missing, refuse
from web.quotas import default_cost
from web.replies import Reply
from web.staff_session import authenticate_browser

EVERYONE: frozenset[Role] = frozenset()

# Path parameters that are no text.
_KINDS = {"id": "uuid", "refund_id": "uuid"}


class Idempotency(Enum):
    """Whether a write takes an `Idempotency-Key`."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Handler(Protocol):
    """A handler, as the router calls it."""

    def __call__(self, call: Call, /, **given: Any) -> Awaitable[Answer]: ...


@dataclass(frozen=True)
class Route:
    """Everything that is declared of one route."""

    feature: str
    method: str
    path: str
    handler: Handler
    roles: frozenset[Role]
    owns: str
    answers: dict[int, type[BaseModel] | None]
    errors: tuple[type[DomainError], ...]
    idempotency: Idempotency
    audited: bool
    limit: int
    step_up: bool
    factor: FactorRule
    browser: bool
    command: type[BaseModel] | None
    query: type[BaseModel] | None
    upload: Upload | None
    sends: tuple[str, ...]

    @property
    def name(self) -> str:
        """The handler's name with its feature: unique, and the OpenAPI operationId."""
        return f"{self.feature}_{getattr(self.handler, '__name__', '')}"

    @property
    def is_open(self) -> bool:
        """Whether strangers may call it."""
        return self.roles == EVERYONE

    @property
    def description(self) -> str:
        """The handler's docstring."""
        return inspect.getdoc(self.handler) or ""


class Feature:
    """The routes of one feature."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.routes: list[Route] = []

    def route(
        self,
        method: str,
        path: str,
        *,
        allow: Collection[Role],
        owns: str,
        answers: dict[int, type[BaseModel] | None],
        errors: Sequence[type[DomainError]] = (),
        idempotency: Idempotency = Idempotency.NONE,
        audited: bool = False,
        limit: int | None = None,
        step_up: bool = False,
        factor: FactorRule = FactorRule.AS_ROLE_NEEDS,
        browser: bool = False,
        upload: Upload | None = None,
        sends: tuple[str, ...] = (),
    ) -> Callable[[Callable[..., Awaitable[Answer]]], Handler]:
        """Declare a route. `allow` names the roles (none: everyone); `owns` the rule of ownership that it keeps.

        `limit` is what a request costs its caller, by default as `web.quotas` has it for the method. `step_up`: the
        caller's second factor was shown within ten minutes. `factor`: whether those whose role needs one may lack it.
        `browser`: the caller is known by the cookie that signing in at /staff gives, and by no access token.
        `upload`: the body is a file; the handler takes its `kind`. `sends`: the answer is one, of these content types.
        """

        def declare(handler: Callable[..., Awaitable[Answer]]) -> Handler:
            hints = get_type_hints(handler)
            self.routes.append(
                Route(
                    feature=self.name,
                    method=method,
                    path=path,
                    handler=handler,
                    roles=frozenset(allow),
                    owns=owns,
                    answers=answers,
                    errors=tuple(errors),
                    idempotency=idempotency,
                    audited=audited,
                    limit=default_cost(method) if limit is None else limit,
                    step_up=step_up,
                    factor=factor,
                    browser=browser,
                    command=hints.get("command"),
                    query=hints.get("query"),
                    upload=upload,
                    sends=sends,
                )
            )
            return handler

        return declare

    def mount(self, app: "Sanic[Any, Any]", services: Callable[[], Services]) -> None:
        """Add the routes to the application."""
        for route in self.routes:
            app.add_route(
                _serve(route, services),
                _sanic_path(route.path),
                methods=["GET", "HEAD"] if route.method == "GET" else [route.method],
                name=route.name,
                stream=True,  # so that a stranger is refused before the body is read, and a slow body is given up
            )


def _sanic_path(path: str) -> str:
    """`/v1/bookings/{id}` as Sanic writes it; ids are UUIDs and anything else is no such page."""
    return re.sub(r"{(\w+)}", lambda found: f"<{found[1]}:{_KINDS.get(found[1], 'str')}>", path)


def _serve(route: Route, services: Callable[[], Services]) -> Callable[..., Coroutine[Any, Any, HTTPResponse]]:
    async def serve(request: Request, **path: Any) -> HTTPResponse:
        request.ctx.route = route.path
        request.ctx.personal = not route.is_open
        call = Call(services(), request, route.roles)
        with HTTP_IN_FLIGHT.track_inprogress():
            try:
                await _enter(route, call)
                settings = call.services.settings
                if route.upload:
                    await parsing.receive_upload(request, route.upload, settings.upload_timeout_seconds)
                elif route.method != "GET":
                    await parsing.receive_body(request, settings.max_body_bytes, settings.request_timeout_seconds)
                async with asyncio.timeout(settings.request_timeout_seconds):
                    response = render(call, await _handle(route, call, path))
                if route.method != "GET" and route.path.startswith(consistency.SCOPE):
                    await consistency.tell(call, response)
                return response
            except (Forbidden, NotYours) as denial:
                await note_denied(call, route.name, path.get("id"), denial)
                raise
            except TimeoutError:
                raise Unavailable from None

    return serve


async def _handle(route: Route, call: Call, path: dict[str, Any]) -> Answer:
    """Parse, make the record, call the handler."""
    given = dict(path)
    if route.query:
        given["query"] = parsing.query(call.request, route.query)
    if route.command:
        given["command"] = parsing.body(call.request, route.command)
    if route.upload:
        given["kind"] = parsing.file(call.request, route.upload)
    if route.idempotency is not Idempotency.NONE:
        required = route.idempotency is Idempotency.REQUIRED
        call.operation = await idempotency.begin(call, route.name, required=required)
    return await route.handler(call, **given)


async def _enter(route: Route, call: Call) -> None:
    """Who calls, whether they ask for too much, whether their role may, and whether they showed the factor it takes.

    Raises RateLimited, Unauthenticated, TokenExpired, Forbidden, StepUpRequired, MfaEnrollmentRequired.
    """
    enrolling = route.factor is FactorRule.ENROLLING and is_enrolling(call)
    try:
        if not (route.browser or enrolling):
            authenticate(call)
    except DomainError:
        if route.limit:
            await limits.admit(call, route.limit)  # a wrong token is its network's
        raise
    marker = await limits.admit(call, route.limit) if route.limit else None
    if enrolling:
        await begin_enrolling(call)
        return
    if route.browser:  # once its network has paid, so that a stranger's cookies cost no query without end
        await authenticate_browser(call)
    elif call.principal:
        await call.services.markers.check(call.principal.session_id, call.principal.token_version, marker)
    if call.principal:
        if not call.roles & call.principal.roles:
            raise Forbidden
        if is_missing(call, route.factor, step_up=route.step_up):
            await refuse(call)


def authenticate(call: Call) -> None:
    """Find out who calls, where that matters. Raises Unauthenticated, TokenExpired."""
    if not call.roles:
        return
    scheme, _, token = parsing.header(call.request, "authorization").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    call.principal = call.services.tokens.check(token.strip())
    call.request.ctx.user_id = str(call.principal.user_id)


def render(call: Call, answer: Answer) -> HTTPResponse:
    """The response for an answer: 304 where the caller has it already."""
    headers = dict(answer.headers)
    if answer.etag:
        headers["ETag"] = answer.etag
        if call.request.method in {"GET", "HEAD"} and parsing.header(call.request, "if-none-match") == answer.etag:
            return Reply(None, 304, headers)
    if call.operation and not call.operation.fresh and answer.status < HTTPStatus.MULTIPLE_CHOICES:
        headers["Idempotency-Replayed"] = "true"
    content_type = headers.pop("Content-Type", "application/json")
    return Reply(_json(answer.body), answer.status, headers, content_type)


def _json(body: Any) -> bytes | None:
    match body:
        case None | bytes():
            return body
        case BaseModel():
            return body.model_dump_json(by_alias=True).encode()
        case _:
            return parsing.dump(body)
