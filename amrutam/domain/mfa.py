"""The second factor: codes of an authenticator app (TOTP, RFC 6238), recovery codes, and how long one counts."""

import base64
import hmac
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field, SecretStr
from pyotp.hotp import HOTP
from pyotp.totp import TOTP

from amrutam.domain.auth import GivenPassword, OpaqueToken
from amrutam.domain.common import Message, Role
from amrutam.domain.events import Event

ISSUER = "Amrutam"
STEP_SECONDS = 30
# How many steps a phone's clock may be off, either way.
DRIFT_STEPS = 1
# How long a factor that was shown counts for what needs one.
RECENT = timedelta(minutes=10)
# The time between password and code, and for setting up an app.
CHALLENGE_LIFE = timedelta(minutes=5)
# Codes that are heard for one challenge; who has mistyped so often starts again with the password.
CHALLENGE_ATTEMPTS = 5
RECOVERY_CODES = 10
RECOVERY_BYTES = 90

# As RFC 4226 recommends.
SECRET_BYTES = 20

_TOTP_DIGITS = 6
_RANDOM_LENGTH = 9
# Crockford's base 32: nothing in it looks like something else.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MISREAD = str.maketrans("ilo", "110", " -")

Code = Annotated[
    SecretStr,
    Field(min_length=1, max_length=32, description="six digits of the app, or a recovery code", examples=["123456"]),
]


class Factor(StrEnum):
    """What somebody shows beside the password."""

    TOTP = "totp"
    RECOVERY_CODE = "recovery_code"

    @property
    def method(self) -> str:
        """Its name in `amr` (RFC 8176, which knows recovery codes only as a further factor)."""
        return "otp" if self is Factor.TOTP else "mfa"


class Purpose(StrEnum):
    """What a challenge is good for."""

    VERIFY = "verify"
    ENROLL = "enroll"


class EnrollFactor(Message):
    """Set up an authenticator app."""

    password: GivenPassword | None = Field(None, description="needed when the sign-in is older than ten minutes")


class ConfirmFactor(Message):
    """Show that the app works."""

    code: Code = Field(description="six digits of the app", examples=["123456"])


class VerifyFactor(Message):
    """The second half of signing in."""

    mfa_token: OpaqueToken
    factor: Factor
    code: Code


class DisableFactor(Message):
    """Do without a second factor again."""

    password: GivenPassword
    code: Code


class ReplaceRecoveryCodes(Message):
    """Ask for new recovery codes."""


class StepUp(Message):
    """Show the second factor once more."""

    code: Code


class Challenge(Message):
    """Somebody has given the right password and is to give a code, or to enroll a factor."""

    id: UUID
    user_id: UUID
    roles: frozenset[Role]
    device_name: str | None


class TotpProof(Message):
    """A code of the app was right, for this time step."""

    step: int

    factor: ClassVar[Factor] = Factor.TOTP


class RecoveryProof(Message):
    """A recovery code was right, the one of this slot with this hash."""

    slot: int
    code_hash: str

    factor: ClassVar[Factor] = Factor.RECOVERY_CODE


Proof = TotpProof | RecoveryProof


class MfaEnabled(Event):
    """A second factor is asked for from now on."""

    type: ClassVar[str] = "mfa.enabled"


class MfaDisabled(Event):
    """The password is enough again."""

    type: ClassVar[str] = "mfa.disabled"


class RecoveryCodeUsed(Event):
    """A recovery code was used in place of the app."""

    type: ClassVar[str] = "mfa.recovery_code_used"


class RecoveryCodesReplaced(Event):
    """There are new recovery codes; the old ones are void."""

    type: ClassVar[str] = "mfa.recovery_codes_replaced"


def secret_of(chance: bytes) -> str:
    """`SECRET_BYTES` random bytes as authenticator apps take them, in base 32."""
    return base64.b32encode(chance).decode()


def otpauth_uri(secret: str, email: str) -> str:
    """What an authenticator app reads from the QR code."""
    return TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now: datetime, last_step: int) -> int | None:
    """The time step whose code this is: within the drift, and later than the last that was taken. None: a wrong code.

    Every step is compared, in constant time, so that how long it takes tells nothing.
    """
    present, codes = int(now.timestamp()) // STEP_SECONDS, HOTP(secret)
    given, found = _plain(code).encode(), None
    for step in range(present - DRIFT_STEPS, present + DRIFT_STEPS + 1):
        if hmac.compare_digest(codes.at(step).encode(), given) and step > last_step and found is None:
            found = step
    return found


def recovery_codes_of(chance: bytes) -> list[str]:
    """Ten codes, such as `3k7f2-9qxmz`, from `RECOVERY_BYTES` random bytes: the code's number, then 45 bits."""
    characters = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in chance)
    tails = [characters[slot * _RANDOM_LENGTH : (slot + 1) * _RANDOM_LENGTH] for slot in range(RECOVERY_CODES)]
    return [f"{slot}{tail[:4]}-{tail[4:]}" for slot, tail in enumerate(tails)]


def recovery_slot(code: str) -> int | None:
    """The slot of a recovery code. None: it has not the form of one."""
    plain = plain_recovery_code(code)
    formed = len(plain) == 1 + _RANDOM_LENGTH and set(plain) <= set(_ALPHABET) and plain[0].isdecimal()
    return int(plain[0]) if formed else None


def plain_recovery_code(code: str) -> str:
    """As it is hashed: however a person writes it down and reads it."""
    return code.lower().translate(_MISREAD)


def factor_of(code: str) -> Factor:
    """Which factor a code belongs to, where nobody says."""
    return Factor.TOTP if len(_plain(code)) == _TOTP_DIGITS else Factor.RECOVERY_CODE


def is_recent(shown: datetime | None, now: datetime) -> bool:
    """Whether what was shown then still counts."""
    return shown is not None and now - shown <= RECENT


def _plain(code: str) -> str:
    return code.replace(" ", "")
