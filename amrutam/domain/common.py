"""Words that every feature uses."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic.json_schema import WithJsonSchema


class Message(BaseModel):
    """A value that travels: between processes, into a history, over the wire. Unknown fields are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", hide_input_in_errors=True
    )


class Role(StrEnum):
    """Who somebody is to the system."""

    PATIENT = "patient"
    DOCTOR = "doctor"
    SUPPORT = "support"
    ADMIN = "admin"


class Mode(StrEnum):
    """How doctor and patient meet."""

    VIDEO = "video"
    AUDIO = "audio"
    CHAT = "chat"


class Money(Message):
    """An amount in minor units (paise, cents) and its ISO 4217 code."""

    amount: int = Field(ge=0, le=10**12, description="in minor units", examples=[50000])
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code", examples=["INR"])


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# Far from the ends of the calendar, where zones and buffers could not be added any more.
EARLIEST_YEAR, LATEST_YEAR = 1900, 2199

_RFC3339 = re.compile(r"(\d{4})-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def _check_rfc3339(value: Any) -> Any:
    """Numbers, and text of digits alone, are no times here: pydantic would take them for seconds since 1970."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and (found := _RFC3339.fullmatch(value)):
        if not EARLIEST_YEAR <= int(found[1]) <= LATEST_YEAR:
            raise ValueError(f"should be a time of the years {EARLIEST_YEAR} to {LATEST_YEAR}")
        return value
    raise ValueError("should be an RFC 3339 time with its offset, such as 2026-03-01T10:00:00Z")


# Needs an offset on the way in, is `…Z` on the way out.
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_check_rfc3339),
    PlainSerializer(_rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-01T04:30:00Z"]}),
]


# What is not seen or turns the direction of reading, so that a name could pass for another. Indic joiners are not here.
_HIDDEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\u3164\u115f\u1160\uffa0]")


def _no_control_characters(value: str) -> str:
    if any(character < " " and character not in "\n\t" for character in value):
        raise ValueError("should hold no control characters")
    return value


def _one_visible_line(value: str) -> str:
    if any(character < " " or character == "\x7f" for character in value) or _HIDDEN.search(value):
        raise ValueError("should be one line without control or invisible characters")
    if not value:
        raise ValueError("should not be empty")
    return value


# One line of text, such as a name; surrounding space is dropped.
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_one_visible_line)]
# Free text of some paragraphs.
Prose = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=4000), AfterValidator(_no_control_characters)
]
