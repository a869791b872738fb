"""Sessions: how somebody who has signed in stays signed in, and when a refresh token is not good any more."""

from datetime import timedelta
from enum import Enum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.auth import OpaqueToken
from amrutam.domain.common import Instant, Message, Role
from amrutam.domain.events import Event

# Two tabs that wake together, or an answer lost on the way: the token just replaced is taken once more for this long.
GRACE = timedelta(seconds=10)
USES_WITHIN_GRACE = 2

# The version of no token: what is known of a session that has ended.
ENDED = 0

SUSPENDED = "This account is suspended; ask an administrator."


class Refresh(Message):
    """Exchange a refresh token for new tokens. Each is good for one use."""

    refresh_token: OpaqueToken


class LogOut(Message):
    """End the session."""

    refresh_token: OpaqueToken | None = None


class Session(Message):
    """One sign-in, on one device. `methods` are RFC 8176 names of how the person proved who they are, `factor_at` is
    when they last showed a second factor in it.
    """

    id: UUID
    user_id: UUID
    roles: frozenset[Role]
    authenticated_at: Instant
    methods: list[str]
    factor_at: Instant | None = None
    token_version: int = Field(default=1, description="access tokens of a lower one are not good any more")


class OpenSession(Message):
    """A session as its own person sees it in the list of theirs."""

    id: UUID
    device_name: str | None = Field(description="what the person called the device when signing in")
    user_agent: str = Field(description="browser and system, or the app's name", examples=["Firefox on Android"])
    place: str | None = Field(description="network address of its last use", examples=["203.0.113.7"])
    created_at: Instant
    last_used_at: Instant = Field(description="to within the life of an access token")
    current: bool = Field(description="whether this request came with it")


class RefreshToken(Message):
    """A refresh token that was presented, and how it stands in its session's chain."""

    session: Session
    session_over: bool
    used_ago: timedelta | None
    successors: int
    successor_used: bool


class Verdict(Enum):
    """What is done with a refresh token."""

    ROTATE = "rotate"
    REFUSE = "refuse"
    END_SESSION = "end_session"


def judge(token: RefreshToken | None) -> Verdict:
    """A token is good once. Its reuse means that two hold it, and one of them may be a thief: the session ends.

    Excepted is the immediate predecessor for `GRACE`, so that neither a lost answer nor a second tab logs anyone out.
    """
    if token is None or token.session_over:
        return Verdict.REFUSE
    if token.used_ago is None:
        return Verdict.ROTATE
    if token.used_ago > GRACE or token.successor_used:
        return Verdict.END_SESSION
    return Verdict.ROTATE if token.successors < USES_WITHIN_GRACE else Verdict.REFUSE


class Standing(Enum):
    """How an access token stands, by what is known of its session."""

    LIVE = "live"
    OUTDATED = "outdated"
    OVER = "over"
    UNKNOWN = "unknown"


def stand(version: int, marker: bytes | None) -> Standing:
    """`marker` is the version of good tokens, or `ENDED`. A token from after it was set says that it is old itself."""
    if marker is None:
        return Standing.UNKNOWN
    good = int(marker)
    if good == version:
        return Standing.LIVE
    if good == ENDED:
        return Standing.OVER
    return Standing.OUTDATED if version < good else Standing.UNKNOWN


class SessionsChanged(Event):
    """From which version on the access tokens of these sessions of one person are good (`ENDED`: none is)."""

    type: ClassVar[str] = "account.sessions_changed"
    versions: dict[UUID, int]


class SessionOpenedOnNewDevice(Event):
    """Somebody has signed in to this account on a device that it was not used on before."""

    type: ClassVar[str] = "session.opened_on_new_device"
    session_id: UUID
