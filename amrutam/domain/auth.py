"""Accounts and sessions: what people say when they register, sign in and stay signed in, and the rules for it."""

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, SecretStr, StringConstraints, WithJsonSchema

from amrutam.domain.common import Instant, Line, Message, Prose, Role
from amrutam.domain.errors import Fault
from amrutam.domain.events import Event
from amrutam.domain.wallclock import CalendarDate, TimeZone

OLDEST_YEARS = 130

_PHONE = re.compile(r"\+[1-9][0-9]{7,14}")
_PHONE_PUNCTUATION = re.compile(r"[ ().-]")


def _normal_address(value: str) -> str:
    """In lower case, the domain as DNS writes it (IDNA), so that one mailbox is one account."""
    try:
        address = validate_email(
            value, check_deliverability=False, test_environment=True, allow_smtputf8=False, strict=True
        )
    except EmailNotValidError:
        raise ValueError("should be an email address, such as asha@example.com") from None
    return f"{address.local_part}@{address.ascii_domain}".lower()


def _normal_phone(value: str) -> str:
    number = _PHONE_PUNCTUATION.sub("", value)
    if not _PHONE.fullmatch(number):
        raise ValueError("should be a phone number with its country code, such as +919876543210")
    return number


EmailAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_normal_address),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254, "examples": ["asha@example.com"]}),
]
Phone = Annotated[
    str,
    StringConstraints(max_length=32),
    AfterValidator(_normal_phone),
    Field(description="with its country code (E.164)", examples=["+919876543210"]),
]
# BCP 47: language, then script, region and variants where they matter.
Locale = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*$",
        max_length=35,
    ),
    Field(description="BCP 47 language tag", examples=["en-IN"]),
]
NewPassword = Annotated[SecretStr, Field(min_length=8, max_length=256)]
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=256)]
OpaqueToken = Annotated[SecretStr, Field(min_length=1, max_length=512)]


class Sex(StrEnum):
    """As FHIR's administrative gender has it."""

    MALE = "male"
    FEMALE = "female"
    OTHER = "other"
    UNKNOWN = "unknown"


class Profile(Message):
    """What an account says of its person."""

    full_name: Line
    date_of_birth: CalendarDate | None = None
    sex: Sex | None = None
    phone: Phone | None = None
    address: Annotated[Prose, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="postal address"
    )
    time_zone: TimeZone = "UTC"
    locale: Locale = "en"

    def faults(self, today: date) -> list[Fault]:
        """What one field alone does not tell."""
        if self.date_of_birth and not _is_alive(self.date_of_birth, today):
            detail = f"should be in the last {OLDEST_YEARS} years"
            return [Fault(pointer="/date_of_birth", code="date_out_of_range", detail=detail)]
        return []

    def bare(self) -> "Profile":
        """The same without what a wider message adds to it, such as a password."""
        return Profile.model_validate({name: getattr(self, name) for name in Profile.model_fields})


class Register(Profile):
    """Ask for an account. Support staff and administrators are invited instead."""

    email: EmailAddress
    password: NewPassword
    role: Literal[Role.PATIENT, Role.DOCTOR]


def _is_alive(born: date, today: date) -> bool:
    birthday_to_come = (today.month, today.day) < (born.month, born.day)
    return born < today and today.year - born.year - birthday_to_come < OLDEST_YEARS


class VerifyEmail(Message):
    """The token of a verification link."""

    token: OpaqueToken


class ResendVerification(Message):
    """Ask for another verification mail."""

    email: EmailAddress


class LogIn(Message):
    """Sign in."""

    email: EmailAddress
    password: GivenPassword
    device_name: Line | None = Field(
        default=None, description="how the person calls this device", examples=["Asha's phone"]
    )


class EditPerson(Message):
    """Say something else of oneself. What is left out stays; null takes away what may be absent."""

    # Left out, the first and the last two keep their values: their defaults are never read, and null is refused.
    full_name: Line = Field(default_factory=str)
    date_of_birth: CalendarDate | None = None
    sex: Sex | None = None
    phone: Phone | None = None
    address: Annotated[Prose, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="postal address"
    )
    time_zone: TimeZone = Field(default_factory=str)
    locale: Locale = Field(default_factory=str)

    def of(self, person: "Person") -> Profile:
        """What the person says of themselves then."""
        said = {name: getattr(person, name) for name in Profile.model_fields}
        return Profile.model_validate(said | {name: getattr(self, name) for name in self.model_fields_set})


class Person(Profile):
    """An account as its own person sees it."""

    id: UUID
    email: str
    roles: list[Role]
    created_at: Instant
    version: int


class AccountRegistered(Event):
    """Somebody asked for an account with an address that had none."""

    type: ClassVar[str] = "account.registered"


class AccountVerificationRequested(Event):
    """The person is to be sent the link of this email token."""

    type: ClassVar[str] = "account.verification_requested"
    token_id: UUID


class RegistrationRepeated(Event):
    """Somebody asked for an account with the address of a verified one; its owner is told, nobody else."""

    type: ClassVar[str] = "account.registration_repeated"


class AccountEdited(Event):
    """The person says something else of themselves."""

    type: ClassVar[str] = "account.edited"


class AccountVerified(Event):
    """The person has opened the link: the address is theirs."""

    type: ClassVar[str] = "account.verified"
