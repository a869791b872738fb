"""OpenAPI 3.1 from the declarations that validate, authorise and answer."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from amrutam import __version__
from amrutam.domain import errors as e
from web.errors import STATUS, title
from web.factor import FactorRule
from web.routing import Idempotency, Route

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"{(\w+)}")

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_DONE = {True: "The file.", False: "Done."}

# What any route may answer beside what it declares.
_ALWAYS: tuple[type[e.DomainError], ...] = (e.Internal, e.Unavailable)

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Why a request was refused (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "stable; decide by this"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer to the field (RFC 6901)"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole description as JSON-ready data."""
    schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amrutam",
            "version": __version__,
            "description": "Find a doctor, see the free times, book one, change your mind. Times are RFC 3339 in "
            "UTC, money is in minor units, lists are paged by cursor, refusals are problems (RFC 9457). `RateLimit` "
            "says what is left of your limit and in how many seconds all of it is back. Send the `X-Device-Token` "
            "of an earlier sign-in with the next one, where cookies are not kept: a known device is not kept waiting "
            "for what strangers try. It is good for a year, and until the password changes or all is signed out; each "
            "sign-in gives a fresh one.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(route.feature for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**schemas.definitions, "Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "browser": {"type": "apiKey", "in": "cookie", "name": "amrutam_staff", "description": "of /staff"},
            },
        },
    }


class _Schemas:
    """Every model's schema once, and references to them."""

    def __init__(self, received: Iterable[type[BaseModel]], sent: Iterable[type[BaseModel]]) -> None:
        wanted = [*((model, "validation") for model in received), *((model, "serialization") for model in sent)]
        self._references, whole = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF)  # pyright: ignore[reportArgumentType] - the modes are literals
        self.definitions: dict[str, Any] = whole.get("$defs", {})

    def received(self, model: type[BaseModel]) -> dict[str, Any]:
        """A reference to what clients send."""
        return self._references[(model, "validation")]

    def forget(self, model: type[BaseModel]) -> None:
        """Leave out a model that nothing refers to."""
        del self.definitions[self.received(model)["$ref"].rpartition("/")[2]]

    def sent(self, model: type[BaseModel]) -> dict[str, Any]:
        """A reference to what clients receive."""
        return self._references[(model, "serialization")]


def _schemas(routes: Sequence[Route]) -> _Schemas:
    received = [model for route in routes for model in (route.command, route.query) if model]
    schemas = _Schemas(received, [model for route in routes for model in route.answers.values() if model])
    for query in {route.query for route in routes if route.query}:
        schemas.forget(query)  # its fields are parameters; only what they refer to is a schema
    return schemas


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    summary, _, rest = route.description.partition(". ")
    who = "everyone" if route.is_open else ", ".join(sorted(route.roles))
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.feature],
        "summary": summary.rstrip("."),
        "description": f"{rest}\n\nWho: {who}; {route.owns}.".strip(),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {**_answers(route, schemas), **_refusals(route)},
        "security": [] if route.is_open else [{"browser" if route.browser else "bearer": []}],
    }
    if route.command:
        needed = any(field.is_required() for field in route.command.model_fields.values())
        content = {"application/json": {"schema": schemas.received(route.command)}}
        operation["requestBody"] = {"required": needed, "content": content}
    if route.upload:
        operation["requestBody"] = {
            "description": route.upload.right,
            "required": True,
            "content": dict.fromkeys(map(str, route.upload.kinds), _BINARY),
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in _PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template=_REF)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "description": each.pop("description", ""),
            "schema": each,
        }
        for name, each in schema["properties"].items()
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    headers: list[dict[str, Any]] = []
    if route.idempotency is not Idempotency.NONE:
        headers.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": route.idempotency is Idempotency.REQUIRED,
                "description": "a new one for each thing you want done; the same one to ask again",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
            }
        )
    if route.browser and route.method != "GET":
        headers.append(
            {
                "name": "X-CSRF-Token",
                "in": "header",
                "required": True,
                "description": "the token that the page was given",
                "schema": {"type": "string"},
            }
        )
    if e.Stale in route.errors:
        headers.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": "the ETag that you read",
                "schema": {"type": "string"},
            }
        )
    return headers


def _answers(route: Route, schemas: _Schemas) -> dict[str, Any]:
    return {
        str(status): {
            "description": (model.__doc__ or "").partition("\n")[0] if model else _DONE[bool(route.sends)],
            **({"content": {"application/json": {"schema": schemas.sent(model)}}} if model else {}),
            **({"content": dict.fromkeys(map(str, route.sends), _BINARY)} if route.sends and not model else {}),
        }
        for status, model in route.answers.items()
    }


def _refusals(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[type[e.DomainError]]] = {}
    for error in dict.fromkeys([*route.errors, *_implied(route), *_ALWAYS]):
        by_status.setdefault(STATUS[error], []).append(error)
    return {str(status): _refusal(status, by_status[status]) for status in sorted(by_status)}


def _implied(route: Route) -> list[type[e.DomainError]]:
    """What the declaration itself makes possible."""
    implied: list[type[e.DomainError]] = []
    if not route.is_open:
        implied += [e.Unauthenticated, e.TokenExpired, e.Forbidden]
        if route.step_up or route.factor is FactorRule.AS_ROLE_NEEDS:
            implied += [e.StepUpRequired, e.MfaEnrollmentRequired]
    if route.command:
        implied += [e.MalformedJson, e.ValidationFailed, e.TooLarge, e.UnsupportedMediaType]
    if route.upload:
        implied += [e.ValidationFailed, e.TooLarge, e.UnsupportedMediaType]
    if route.query:
        implied += [e.ValidationFailed]
    if route.idempotency is not Idempotency.NONE:
        implied += [e.IdempotencyKeyMissing, e.IdempotencyKeyReused]
    if e.Stale in route.errors:
        implied += [e.IfMatchMissing]
    if route.limit:
        implied += [e.RateLimited]
    return implied


def _refusal(status: int, kinds: Sequence[type[e.DomainError]]) -> dict[str, Any]:
    examples: dict[str, Any] = {
        kind.code: {
            "summary": title(kind),
            "value": {
                "type": f"/problems/{kind.code}",
                "title": title(kind),
                "status": status,
                "detail": kind().detail,
                "instance": "/v1/…",
                "code": kind.code,
                "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "errors": [],
            },
        }
        for kind in kinds
    }
    return {
        "description": " · ".join(f"`{kind.code}`: {kind().detail}" for kind in kinds),
        "content": {
            "application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}, "examples": examples}
        },
    }
