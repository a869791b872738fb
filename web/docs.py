"""The API's description, and a page to read and try it that needs nothing from outside."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from amrutam.domain.errors import NotFound
from web.context import Answer, Call
from web.routing import EVERYONE, Feature
from web.templates import page

docs = Feature("docs")

# Of Swagger UI's own files, the ones that the page uses.
_ASSETS: Mapping[str, str] = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
_DEMO_LOGINS = ("patient", "patient2", "doctor", "doctor2", "support", "admin")


@docs.route("GET", "/", allow=EVERYONE, owns="public", answers={302: None})
async def root(_call: Call) -> Answer:
    """Whoever opens the address in a browser finds the description."""
    return Answer(status=302, headers={"Location": "/docs"})


@docs.route("GET", "/openapi.json", allow=EVERYONE, owns="public", answers={200: None})
async def openapi(call: Call) -> Answer:
    """This description, as OpenAPI 3.1."""
    body, etag = _serialised(call)
    return Answer(body, etag=etag, headers={"Cache-Control": "no-cache"})


@docs.route("GET", "/docs", allow=EVERYONE, owns="public", answers={200: None})
async def read(call: Call) -> Answer:
    """The description as a page."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    logins = _DEMO_LOGINS if call.services.settings.demo else ()
    return Answer(
        page("docs.html", nonce=nonce, logins=logins),
        headers={"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy},
    )


@docs.route("GET", "/docs/{asset}", allow=EVERYONE, owns="public", answers={200: None}, errors=[NotFound])
async def asset(call: Call, asset: str) -> Answer:  # noqa: ARG001 - every handler takes the call
    """A file of the page."""
    if asset not in _ASSETS:
        raise NotFound
    headers = {"Content-Type": _ASSETS[asset], "Cache-Control": "public, max-age=86400"}
    return Answer(_file(asset), headers=headers)


def _serialised(call: Call) -> tuple[bytes, str]:
    body = json.dumps(call.request.app.ctx.openapi, ensure_ascii=False).encode()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


@lru_cache(maxsize=len(_ASSETS))
def _file(name: str) -> bytes:
    """One of Swagger UI's files, from the package that ships them (its code is never imported)."""
    package = find_spec("swagger_ui")
    if package is None or package.origin is None:
        raise NotFound
    return (Path(package.origin).parent / "static" / name).read_bytes()
