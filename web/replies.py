"""Responses that cost little to send: headers that are the same on every answer are encoded once."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from sanic import HTTPResponse
from sanic.response import BaseHTTPResponse

Pair = tuple[bytes, bytes]

_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Reply(HTTPResponse):
    """A response whose fixed headers are given as bytes."""

    __slots__ = ("fixed",)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.fixed: Sequence[Pair] = ()

    @property
    def processed_headers(self) -> Iterator[Pair]:
        """Every header as bytes. A value with a line break in it loses that, as Sanic has it."""
        headers = cast("dict[str, object]", self.headers)
        if self.status not in _WITHOUT_BODY:
            headers.setdefault("content-type", self.content_type)
        for name, value in headers.items():
            text = str(value)
            if not text.isprintable():
                text = self._sanitize_header_value(text)
            yield name.encode("ascii"), text.encode(errors="surrogateescape")
        yield from self.fixed


class FixedHeaders:
    """Headers of every answer, for those that do not bring their own."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._pairs = [(name, (name.lower().encode(), value.encode())) for name, value in headers.items()]

    def add_to(self, response: BaseHTTPResponse, more: Sequence[Pair]) -> None:
        """Add them, and `more`; where it is our own response, as bytes."""
        present = response.headers
        if isinstance(response, Reply):
            response.fixed = [*(pair for name, pair in self._pairs if name not in present), *more]
            return
        for name, value in self._headers.items():
            present.setdefault(name, value)
        for name, value in more:
            present[name.decode()] = value.decode()
