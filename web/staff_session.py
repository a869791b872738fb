"""Browsers of staff: the cookie that signing in at /staff gives, and the token without which it changes nothing.

A form of the page carries a token that is made of the cookie. Another site can have a browser send the cookie's request
at most; it reads neither, so it cannot add the token (a synchroniser token, bound to the session).
"""

import base64
import hmac
import re
import secrets
from datetime import timedelta
from typing import cast

from amrutam.domain.errors import Forbidden, Unauthenticated
from amrutam.storage import staff_sessions
from amrutam.storage.auth import token_hash
from amrutam.storage.staff_sessions import StaffSession
from amrutam.tokens import Principal
from web.context import Call
from web.parsing import header

CSRF_HEADER = "X-CSRF-Token"
SESSION, FORM = "amrutam_staff", "amrutam_staff_form"
READS = frozenset({"GET", "HEAD"})
_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # so many bytes as url-safe base64


def new_token() -> str:
    """What a cookie holds."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def sent(call: Call, kind: str) -> str:
    """The cookie that came. `""` for none, and for one that is not ours: it goes into a header, and is looked for."""
    cookie = cast("str | None", call.request.cookies.get(_name(call, kind))) or ""
    return cookie if _TOKEN.fullmatch(cookie) else ""


def set_cookie(call: Call, kind: str, token: str, *, max_age: int | None = None) -> dict[str, str]:
    """The header that gives the cookie; a `max_age` of 0 seconds takes it back. Without one it goes with the browser.

    Of this host alone, sent to it alone, and never with a request that another site began.
    """
    secure = "; Secure" if _https(call) else ""
    life = "" if max_age is None else f"; Max-Age={max_age}"
    return {"Set-Cookie": f"{_name(call, kind)}={token}; Path=/{life}; HttpOnly; SameSite=Strict{secure}"}


def csrf_token(call: Call, kind: str, cookie: str) -> str:
    """What a form must carry beside this cookie."""
    return base64.urlsafe_b64encode(call.services.keyring.mark(f"csrf/{kind}", cookie.encode())).rstrip(b"=").decode()


def check_csrf(call: Call, kind: str) -> None:
    """Raises Forbidden unless the request carries the token of its cookie."""
    cookie, given = sent(call, kind), header(call.request, CSRF_HEADER)
    if not cookie or not hmac.compare_digest(given.encode(), csrf_token(call, kind, cookie).encode()):
        raise Forbidden("This page is too old, or was not ours; load it again.")


async def visitor(call: Call) -> StaffSession | None:
    """Who is signed in on the browser that calls."""
    cookie = sent(call, SESSION)
    if not cookie:
        return None
    idle = timedelta(minutes=call.services.settings.staff_idle_minutes)
    async with call.services.db.connection() as db:
        return await staff_sessions.find(db, token_hash(cookie), idle)


async def authenticate_browser(call: Call) -> None:
    """Who calls, on a route for browsers. Raises Unauthenticated, and Forbidden for a write without its token."""
    session = await visitor(call)
    if session is None:
        raise Unauthenticated("Sign in at /staff.")
    call.principal = Principal(
        user_id=session.user_id,
        session_id=session.session_id,
        roles=session.roles,
        authenticated_at=session.authenticated_at,
        factor_at=session.factor_at,
    )
    call.request.ctx.user_id = str(session.user_id)
    if call.request.method not in READS:
        check_csrf(call, SESSION)


def _name(call: Call, kind: str) -> str:
    """`__Host-`: the browser takes it by https and from this very host alone."""
    return f"__Host-{kind}" if _https(call) else kind


def _https(call: Call) -> bool:
    return call.services.settings.public_url.startswith("https://")
