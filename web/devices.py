"""Devices on which somebody has signed in before. Such a device keeps its own allowance of guesses.

A device carries a token that names it and the account, signed by us, in a cookie or, for apps without cookies, in a
header. It opens nothing, and nothing of it is stored here.
"""

import base64
import hmac
from typing import cast
from uuid import UUID

from sanic import Request

from amrutam.crypto import Keyring
from amrutam.ids import new_id
from web.context import Call
from web.parsing import header

COOKIE = "amrutam_device"
HEADER = "X-Device-Token"
LIFE_SECONDS = 365 * 24 * 3600
NOBODY = UUID(int=0)


def known_device(call: Call, user_id: UUID | None) -> UUID | None:
    """The device that calls, if this person has signed in on it before."""
    sent = _sent(call.request)
    name, _, _ = sent.partition(".")
    try:
        device_id = UUID(hex=name)
    except ValueError:
        return None
    # Compared for nobody's account too, so that the time does not tell whether there is one.
    ours = _token(call.services.keyring, device_id, user_id or NOBODY)
    return device_id if hmac.compare_digest(sent.encode(), ours.encode()) and user_id else None


def device_headers(call: Call, user_id: UUID) -> dict[str, str]:
    """What makes the device known, for the answer to somebody who has just signed in."""
    device_id = known_device(call, user_id) or new_id()
    token = _token(call.services.keyring, device_id, user_id)
    secure = "; Secure" if call.services.settings.public_url.startswith("https://") else ""
    cookie = f"{COOKIE}={token}; Path=/v1/auth; Max-Age={LIFE_SECONDS}; HttpOnly; SameSite=Strict{secure}"
    return {"Set-Cookie": cookie, HEADER: token}


def _sent(request: Request) -> str:
    return header(request, HEADER) or cast("str | None", request.cookies.get(COOKIE)) or ""


def _token(keyring: Keyring, device_id: UUID, user_id: UUID) -> str:
    mark = keyring.mark("device", device_id.bytes, user_id.bytes)
    return f"{device_id.hex}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"
