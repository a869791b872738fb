"""Sessions: how somebody who has signed in stays signed in, and when a refresh token is not good any more."""

from datetime import timedelta
from enum import Enum
from uuid import UUID

from amrutam.domain.auth import OpaqueToken
from amrutam.domain.common import Instant, Message, Role

# Two tabs that wake together, or an answer lost on the way: the token just replaced is taken once more for this long.
GRACE = timedelta(seconds=10)
USES_WITHIN_GRACE = 2


class Refresh(Message):
    """Exchange a refresh token for new tokens. Each is good for one use."""

    refresh_token: OpaqueToken


class LogOut(Message):
    """End the session."""

    refresh_token: OpaqueToken | None = None


class Session(Message):
    """One sign-in, on one device. `methods` are RFC 8176 names of how the person proved who they are."""

    id: UUID
    user_id: UUID
    roles: frozenset[Role]
    authenticated_at: Instant
    methods: list[str]


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
