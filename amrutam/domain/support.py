"""What support staff see of people."""

from uuid import UUID

from pydantic import Field

from amrutam.domain.common import Instant, Message, Role

_SHOWN_DIGITS = 4


class PatientFound(Message):
    """A patient as support sees them: enough to tell two people apart, nothing clinical."""

    id: UUID
    full_name: str
    email: str
    email_verified: bool = Field(description="whether the person has shown that the address is theirs")
    phone: str | None = Field(description="its last four digits", examples=["*********3210"])
    created_at: Instant
    roles: list[Role]


def masked(phone: str) -> str:
    """A telephone number of which only the last four digits are told."""
    return "*" * (len(phone) - _SHOWN_DIGITS) + phone[-_SHOWN_DIGITS:]
