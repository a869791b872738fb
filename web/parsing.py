"""The edge: bytes become models here, or a clear refusal that names each field."""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from sanic import Request
from sanic.exceptions import PayloadTooLarge

from amrutam.domain.documents import MediaType, Upload, check
from amrutam.domain.errors import (
    Fault,
    MalformedJson,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
    ValidationFailed,
)

M = TypeVar("M", bound=BaseModel)

_QUERIES: dict[tuple[type[BaseModel], str], BaseModel] = {}
_MOST_QUERIES = 2048

# An upload may be so many times as large as what is taken, and still hear why it is not.
_PATIENCE = 10

# Python's own way of showing a member of an enumeration.
_MEMBER = re.compile(r"<\w+\.\w+: ('\w+')>")


def header(request: Request, name: str) -> str:
    """A header's value, the first where it is repeated, `""` where it is absent."""
    return cast("str | None", request.headers.get(name)) or ""


async def receive_body(request: Request, most_bytes: int, seconds: float) -> None:
    """Read the whole body into `request.body`. Raises RequestTimeout when it does not arrive in time, and
    Sanic's PayloadTooLarge when there is more of it.
    """
    stream = cast("Any", request.stream)
    stream.request_max_size = most_bytes
    try:
        async with asyncio.timeout(seconds):
            await request.receive_body()
    except TimeoutError:
        # Sanic would wait for the rest before it lets the connection go.
        stream.keep_alive, stream.request_body = False, None
        raise RequestTimeout from None


async def receive_upload(request: Request, upload: Upload, seconds: float) -> None:
    """The same for a file. Raises RequestTimeout, TooLarge that says what would be right."""
    try:
        await receive_body(request, upload.most_bytes, seconds)
    except PayloadTooLarge:
        await _let_pass(request, upload.most_bytes * _PATIENCE, seconds)
        raise TooLarge(upload.right) from None


async def _let_pass(request: Request, most_bytes: int, seconds: float) -> None:
    """Read what is not kept: a client that is still sending when the connection closes never sees the refusal."""
    stream = cast("Any", request.stream)
    stream.request_max_size = most_bytes
    try:
        async with asyncio.timeout(seconds):
            async for _ in stream:
                pass
    except (TimeoutError, PayloadTooLarge):
        stream.request_body = None
    stream.keep_alive = False


def file(request: Request, upload: Upload) -> MediaType:
    """What the file is that came as the body. Raises UnsupportedMediaType, ValidationFailed."""
    said = header(request, "content-type").partition(";")[0].strip().lower()
    return check(request.body, said, upload)


def body(request: Request, model: type[M]) -> M:
    """The JSON body as `model`; none counts as `{}`. Raises MalformedJson, UnsupportedMediaType, ValidationFailed."""
    raw: bytes = request.body or b""
    if raw and (request.content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send `Content-Type: application/json`.")
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            raise MalformedJson(f"The body is not valid JSON: {details[0]['msg'].partition(': ')[2]}.") from None
        raise ValidationFailed(faults=[_fault(detail) for detail in details]) from None


def query(request: Request, model: type[M]) -> M:
    """The query string as `model`. A field that is a list may be given repeatedly. Raises ValidationFailed.

    What was asked lately is not read again: the models are frozen, and their fields do not depend on the moment.
    """
    place = (model, request.query_string)
    if (known := _QUERIES.get(place)) is not None:
        return cast("M", known)
    found = _query(request, model)
    _QUERIES[place] = found
    if len(_QUERIES) > _MOST_QUERIES:
        del _QUERIES[next(iter(_QUERIES))]
    return found


def _query(request: Request, model: type[M]) -> M:
    given: dict[str, Any] = {}
    pairs = cast("list[tuple[str, str]]", request.get_query_args(keep_blank_values=True))
    for name, value in pairs:
        field = model.model_fields.get(name) or next(
            (each for each in model.model_fields.values() if each.alias == name), None
        )
        if field is not None and get_origin(field.annotation) is list:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise ValidationFailed(faults=[Fault(pointer=f"/{name}", code="repeated", detail="Give it once.")])
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise ValidationFailed(faults=[_fault(detail) for detail in details]) from None


def _fault(detail: ErrorDetails) -> Fault:
    return Fault(pointer=_pointer(detail["loc"]), code=detail["type"], detail=_words(detail))


def _words(detail: ErrorDetails) -> str:
    """pydantic's message in words that a client's developer knows."""
    context: dict[str, Any] = detail.get("ctx", {})
    match detail["type"], context.get("field_type"):
        case "too_short", "Value":
            return f"should have at least {context['min_length']} characters"
        case "too_long", "Value":
            return f"should have at most {context['max_length']} characters"
        case _:
            words = detail["msg"].removeprefix("Value error, ").replace(" after validation", "")
            return _MEMBER.sub(r"\1", words).replace("Tuple", "List")


def _pointer(location: Sequence[int | str]) -> str:
    """A JSON pointer (RFC 6901). Where a name is wrong, not its value, pydantic adds `[key]`; it is no place."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location if part != "[key]"]
    return "".join(f"/{part}" for part in parts)


def dump(value: Any) -> bytes:
    """Compact JSON of a plain mapping."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
