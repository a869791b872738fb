"""Access tokens: JWT (RFC 9068, `typ: at+jwt`) signed with Ed25519, checked without a database read."""

import base64
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from amrutam.crypto import Keyring
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import TokenExpired, Unauthenticated
from amrutam.ids import new_id

_ALGORITHM = "EdDSA"
_TYPE = "at+jwt"
_REQUIRED = ["iss", "aud", "sub", "sid", "roles", "iat", "exp", "jti", "auth_time", "amr"]


class Principal(Message):
    """Somebody who has signed in."""

    user_id: UUID
    session_id: UUID
    roles: frozenset[Role]


class AccessTokens:
    """Issues and checks access tokens. Every key of the keyring is accepted, the current one signs."""

    def __init__(self, keyring: Keyring, issuer: str, life: timedelta) -> None:
        self._issuer = issuer
        self._life = life
        self._kid = keyring.signing.current
        self._private = keyring.signing_key(self._kid)
        self._public = {kid: keyring.signing_key(kid).public_key() for kid in keyring.signing.keys}

    @property
    def life_seconds(self) -> int:
        """How long a token is good for."""
        return int(self._life.total_seconds())

    def issue(self, who: Principal, *, now: datetime, auth_time: datetime, methods: list[str]) -> str:
        """A signed token. `methods` are RFC 8176 names of how the person proved who they are, such as `pwd`."""
        claims = {
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
        }
        return jwt.encode(claims, self._private, algorithm=_ALGORITHM, headers={"kid": self._kid, "typ": _TYPE})

    def check(self, token: str) -> Principal:
        """Who the token speaks for. Raises TokenExpired, Unauthenticated."""
        try:
            head = jwt.get_unverified_header(token)
            if head.get("typ") != _TYPE:
                raise Unauthenticated
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public[head["kid"]],
                algorithms=[_ALGORITHM],
                audience=self._issuer,
                issuer=self._issuer,
                # Not `iat`: another host's clock may be some seconds ahead, and `exp` bounds the token in any case.
                options={"require": _REQUIRED, "verify_iat": False},
            )
            return Principal(
                user_id=UUID(str(claims["sub"])), session_id=UUID(str(claims["sid"])), roles=frozenset(claims["roles"])
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise Unauthenticated from None

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JSON Web Key Set (RFC 7517, RFC 8037)."""
        return {
            "keys": [_jwk(kid, key.public_bytes(Encoding.Raw, PublicFormat.Raw)) for kid, key in self._public.items()]
        }


def _jwk(kid: str, public: bytes) -> dict[str, str]:
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": _ALGORITHM, "kid": kid, "x": x}
