"""Access tokens: JWT (RFC 9068, `typ: at+jwt`) signed with Ed25519, checked without a database read."""

import base64
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from amrutam.crypto import SKEW, Keyring
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import TokenExpired, Unauthenticated
from amrutam.ids import new_id

_ALGORITHM = "EdDSA"
_TYPE = "at+jwt"
_REQUIRED = ["iss", "aud", "sub", "sid", "roles", "iat", "exp", "jti", "auth_time", "amr"]

# So many checked tokens are remembered by one process, about 1 KB each.
MOST_REMEMBERED = 10_000


class Principal(Message):
    """Somebody who has signed in: when, and when they last showed a second factor (None: they did not).

    The token is good while its session's tokens are of this version.
    """

    user_id: UUID
    session_id: UUID
    roles: frozenset[Role]
    token_version: int = 1
    authenticated_at: datetime | None = None
    factor_at: datetime | None = None


class AccessTokens:
    """Issues and checks access tokens. The keyring says which key signs when, and which are accepted until when."""

    def __init__(self, keyring: Keyring, issuer: str, life: timedelta) -> None:
        self._issuer = issuer
        self._life = life
        self._checked: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self.use(keyring)

    def use(self, keyring: Keyring) -> None:
        """Take the keys of another keyring from now on. What a key has signed that is not in it is refused."""
        self._schedule = keyring.signing
        self._private = {kid: keyring.signing_key(kid) for kid in keyring.signing.keys}
        self._public = {kid: key.public_key() for kid, key in self._private.items()}
        self._checked.clear()

    @property
    def life_seconds(self) -> int:
        """How long a token is good for."""
        return int(self._life.total_seconds())

    def issue(
        self,
        who: Principal,
        *,
        now: datetime,
        auth_time: datetime,
        methods: list[str],
        factor_at: datetime | None = None,
    ) -> str:
        """A signed token. `methods` are RFC 8176 names of how the person proved who they are, such as `pwd`."""
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": str(who.user_id),
            "sid": str(who.session_id),
            "roles": sorted(who.roles),
            "iat": int(now.timestamp()),
            "exp": int((now + self._life).timestamp()),
            "jti": str(new_id()),
            "auth_time": int(auth_time.timestamp()),
            "amr": methods,
            "ver": who.token_version,
        }
        if factor_at:
            claims["factor_at"] = int(factor_at.timestamp())
        kid = self._schedule.used_at(now)
        return jwt.encode(claims, self._private[kid], algorithm=_ALGORITHM, headers={"kid": kid, "typ": _TYPE})

    def check(self, token: str) -> Principal:
        """Who the token speaks for. Raises TokenExpired, Unauthenticated.

        A token that was found good is remembered until it expires, or the keys change: a signature costs far more.
        """
        known = self._checked.get(token)
        if known is None:
            return self._verify(token)
        expires_at, principal = known
        if expires_at <= time.time():
            del self._checked[token]
            raise TokenExpired
        self._checked.move_to_end(token)
        return principal

    def _verify(self, token: str) -> Principal:
        try:
            head = jwt.get_unverified_header(token)
            if head.get("typ") != _TYPE:
                raise Unauthenticated
            claims: dict[str, Any] = jwt.decode(
                token,
                self._accepted(datetime.now(UTC))[head["kid"]],
                algorithms=[_ALGORITHM],
                audience=self._issuer,
                issuer=self._issuer,
                options={"require": _REQUIRED, "verify_iat": False},  # checked below
            )
            if claims["iat"] > time.time() + SKEW.total_seconds():  # another host's clock may be ahead, but not by more
                raise Unauthenticated
            principal = _principal(claims)
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise Unauthenticated from None
        self._checked[token] = (claims["exp"], principal)
        if len(self._checked) > MOST_REMEMBERED:
            self._checked.popitem(last=False)
        return principal

    def _accepted(self, now: datetime) -> dict[str, Ed25519PublicKey]:
        """The keys whose tokens may still be good."""
        return {kid: self._public[kid] for kid in self._schedule.accepted_at(now, self._life)}

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JSON Web Key Set (RFC 7517, RFC 8037), the next one before it signs."""
        accepted = self._accepted(datetime.now(UTC))
        return {"keys": [_jwk(kid, key.public_bytes(Encoding.Raw, PublicFormat.Raw)) for kid, key in accepted.items()]}


def _principal(claims: dict[str, Any]) -> Principal:
    return Principal(
        user_id=UUID(str(claims["sub"])),
        session_id=UUID(str(claims["sid"])),
        roles=frozenset(claims["roles"]),
        token_version=claims.get("ver", 1),
        authenticated_at=_moment(claims["auth_time"]),
        factor_at=_moment(claims["factor_at"]) if "factor_at" in claims else None,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _jwk(kid: str, public: bytes) -> dict[str, str]:
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": _ALGORITHM, "kid": kid, "x": x}
