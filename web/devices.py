"""Devices on which somebody has signed in before. Such a device keeps its own allowance of guesses.

A device carries a token that names it, the time of its issue and the account's generation of devices, signed by us for
this account, in a cookie or, for apps without cookies, in a header. It opens nothing, and nothing of it is stored here.
It is good for a year, and until the person's sessions are all ended: by them, with a new password, or by an operator.
"""

import base64
import hmac
from datetime import datetime
from typing import NamedTuple, cast
from uuid import UUID

from sanic import Request

from amrutam.crypto import Keyring
from amrutam.ids import new_id
from amrutam.storage import sessions
from amrutam.storage.pool import Connection
from web.context import Call
from web.parsing import header

COOKIE = "amrutam_device"
HEADER = "X-Device-Token"
LIFE_SECONDS = 365 * 24 * 3600
NOBODY = UUID(int=0)


class DeviceToken(NamedTuple):
    """What a token says. `issued_at` is in seconds since 1970, `generation` the account's at that time."""

    device_id: UUID
    issued_at: int
    generation: int

    def is_fresh(self, now: datetime) -> bool:
        """Whether it is not too old."""
        return now.timestamp() < self.issued_at + LIFE_SECONDS

    def signed(self, keyring: Keyring, user_id: UUID) -> str:
        """The token as this account's devices carry it."""
        said = f"{self.device_id.hex}.{self.issued_at}.{self.generation}"
        mark = keyring.mark("device", said.encode(), user_id.bytes)
        return f"{said}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def recognised_device(call: Call, user_id: UUID | None) -> UUID | None:
    """The device that calls, if this person has ever signed in on it. Good for naming it, not for an allowance."""
    token = _token(call, user_id)
    return token.device_id if token else None


async def known_device(call: Call, user_id: UUID | None) -> UUID | None:
    """The device that calls, if this person has signed in on it within the year, and not ended all sessions since."""
    token = _token(call, user_id)
    if token is None or user_id is None or not token.is_fresh(call.now):
        return None
    async with call.services.db.connection() as db:
        generation = await sessions.device_generation(db, user_id)
    return token.device_id if token.generation == generation else None


async def device_headers(call: Call, db: Connection, user_id: UUID) -> dict[str, str]:
    """What makes the device known, for the answer to somebody who has just shown who they are."""
    generation = await sessions.device_generation(db, user_id) or 0
    device_id = recognised_device(call, user_id) or new_id()
    token = DeviceToken(device_id, int(call.now.timestamp()), generation).signed(call.services.keyring, user_id)
    secure = "; Secure" if call.services.settings.public_url.startswith("https://") else ""
    cookie = f"{COOKIE}={token}; Path=/v1/auth; Max-Age={LIFE_SECONDS}; HttpOnly; SameSite=Strict{secure}"
    return {"Set-Cookie": cookie, HEADER: token}


def _token(call: Call, user_id: UUID | None) -> DeviceToken | None:
    """What came, if it was signed for this account."""
    sent = _sent(call.request)
    try:
        name, issued_at, generation, _ = sent.split(".")
        token = DeviceToken(UUID(hex=name), int(issued_at), int(generation))
    except ValueError:
        return None
    # Compared for nobody's account too, so that the time does not tell whether there is one.
    ours = token.signed(call.services.keyring, user_id or NOBODY)
    return token if hmac.compare_digest(sent.encode(), ours.encode()) and user_id else None


def _sent(request: Request) -> str:
    return header(request, HEADER) or cast("str | None", request.cookies.get(COOKIE)) or ""
