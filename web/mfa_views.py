"""What the API says of a second factor."""

import io

import segno
from pydantic import Field

from amrutam.domain.common import Instant, Message
from amrutam.domain.mfa import Factor


class Enrollment(Message):
    """What an authenticator app needs. The factor is on once a code of it was confirmed."""

    secret: str = Field(description="base 32, for typing", examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"])
    otpauth_uri: str = Field(description="what the QR code says")
    qr_svg: str = Field(description="the QR code, an `<svg>` to be shown as it is")


class RecoveryCodes(Message):
    """Each is good once, in place of the app. They are shown now and never again."""

    recovery_codes: list[str] = Field(description="ten", examples=[["0k7f2-9qxmz", "13hpc-v8dra"]])


class SteppedUp(Message):
    """An access token with which for ten minutes more can be done."""

    access_token: str
    expires_in: int


class FactorView(Message):
    """How the caller's second factor stands."""

    enabled: bool
    required: bool = Field(description="whether a role of the caller needs one")
    factors: list[Factor] = Field(description="what is taken at sign-in")
    enabled_at: Instant | None
    recovery_codes_left: int


def qr_svg(uri: str) -> str:
    """A QR code as an SVG image that needs nothing from outside, dark on white so that it reads in a dark app too."""
    drawing = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(drawing, kind="svg", xmldecl=False, scale=5, light="#fff")
    return drawing.getvalue().decode()
