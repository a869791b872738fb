"""Refusals as HTTP problems (RFC 9457). The only place that knows which status a domain error has."""

import json
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from redis.exceptions import RedisError
from sanic import Request
from sanic.exceptions import SanicException
from sanic.response import HTTPResponse

from amrutam.domain import errors as e
from amrutam.gateways.documents import DocumentsUnavailable
from amrutam.kms import KmsUnavailable
from amrutam.storage.pool import DatabaseUnavailable
from amrutam.telemetry import HTTP_ERRORS
from web.middleware import identify
from web.replies import Reply

STATUS: Mapping[type[e.DomainError], int] = {
    e.BadRequest: 400,
    e.MalformedJson: 400,
    e.IdempotencyKeyMissing: 400,
    e.Unauthenticated: 401,
    e.TokenExpired: 401,
    e.InvalidCredentials: 401,
    e.Forbidden: 403,
    e.EmailUnverified: 403,
    e.StepUpRequired: 403,
    e.MfaEnrollmentRequired: 403,
    e.NotFound: 404,
    e.MethodNotAllowed: 405,
    e.RequestTimeout: 408,
    e.SlotTaken: 409,
    e.PatientBusy: 409,
    e.HoldExpired: 409,
    e.InvalidState: 409,
    e.OperationInProgress: 409,
    e.Stale: 412,
    e.TooLarge: 413,
    e.UnsupportedMediaType: 415,
    e.ValidationFailed: 422,
    e.NotASlot: 422,
    e.DoctorUnavailable: 422,
    e.InvalidCursor: 422,
    e.IdempotencyKeyReused: 422,
    e.IfMatchMissing: 428,
    e.RateLimited: 429,
    e.TooManyHolds: 429,
    e.Internal: 500,
    e.Unavailable: 503,
}

_RETRY_AFTER: Mapping[type[e.DomainError], str] = {e.OperationInProgress: "1", e.Unavailable: "2", e.TooManyHolds: "60"}

# What Sanic itself refuses before a handler runs, by its status.
_BY_STATUS: Mapping[int, type[e.DomainError]] = {
    404: e.NotFound,
    405: e.MethodNotAllowed,
    408: e.RequestTimeout,
    413: e.TooLarge,
    415: e.UnsupportedMediaType,
    503: e.Unavailable,
}

log = structlog.get_logger()


def problem(error: e.DomainError, instance: str, request_id: str) -> dict[str, object]:
    """The body of a refusal."""
    return {
        "type": f"/problems/{error.code}",
        "title": title(type(error)),
        "status": STATUS[type(error)],
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "request_id": request_id,
        "errors": [fault.model_dump() for fault in error.faults],
    }


def title(error: type[e.DomainError]) -> str:
    """The default message of this kind of refusal, without its full stop."""
    return error().detail.rstrip(".")


def answer(request: Request, error: e.DomainError) -> HTTPResponse:
    """The whole response for a refusal."""
    identify(request)  # a request that is not valid HTTP has met no middleware yet
    kind = type(error)
    headers = {"Cache-Control": "no-store"}
    if kind in _RETRY_AFTER:
        headers["Retry-After"] = _RETRY_AFTER[kind]
    if isinstance(error, e.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    if STATUS[kind] == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    request.ctx.code = error.code
    body = json.dumps(problem(error, request.path, request.ctx.request_id))
    return Reply(body, STATUS[kind], headers, "application/problem+json")


def handle(request: Request, error: Exception) -> HTTPResponse:
    """What a client hears of any exception. Nothing of an unexpected one but its request id."""
    refusal = _as_refusal(error)
    if refusal is None:
        log.error("http.failed", route=_route(request), exc_info=error)
        refusal = e.Internal()
    if STATUS[type(refusal)] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        HTTP_ERRORS.labels(_route(request), refusal.code).inc()
    response = answer(request, refusal)
    if isinstance(error, SanicException):
        response.headers.update(error.headers or {})
    return response


def _as_refusal(error: Exception) -> e.DomainError | None:
    match error:
        case e.NotYours():
            return e.NotFound()  # so that nothing tells the two apart
        case e.DomainError():
            return error
        case DatabaseUnavailable() | RedisError() | KmsUnavailable() | DocumentsUnavailable():
            log.warning("http.part_away", part=type(error).__name__)
            return e.Unavailable()
        case SanicException():
            known = _BY_STATUS.get(error.status_code)
            return (
                known() if known else e.BadRequest() if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else None
            )
        case _:
            return None


def _route(request: Request) -> str:
    return getattr(request.ctx, "route", "unmatched")
