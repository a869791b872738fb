"""Doctors as patients find them, and what they may say about themselves."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar, cast
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Instant, Line, Message, Mode, Money, Prose
from amrutam.domain.events import Event

T = TypeVar("T")


class Gender(StrEnum):
    """How a doctor wishes to be described; patients may ask for it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"


class Registration(Message):
    """The licence to practise: a number and the medical council that gave it."""

    number: Line = Field(examples=["KMC-48213"])
    council: Line = Field(examples=["Karnataka Medical Council"])


def average_of_stars(average: float | None) -> float | None:
    """As people read it: to two places."""
    return None if average is None else round(average, 2)


class Rating(Message):
    """What patients thought: stars from 1 to 5, null until there is a review."""

    average: Annotated[float | None, AfterValidator(average_of_stars)]
    count: int


def _distinct(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("should name each one once")
    return values


def _one_currency(fees: dict[Mode, Money]) -> dict[Mode, Money]:
    if len({fee.currency for fee in fees.values()}) > 1:
        raise ValueError("should all be in one currency")
    return fees


Specialties = Annotated[list[Specialty], Field(max_length=10), AfterValidator(_distinct)]
Languages = Annotated[list[Language], Field(max_length=20), AfterValidator(_distinct)]
Fees = Annotated[
    dict[Mode, Money],
    AfterValidator(_one_currency),
    Field(description="what a visit costs; a mode without a fee is not offered, an amount of 0 is free"),
]


# What a profile shows and its doctor does not set here. It may be sent back as it was read.
READ_ONLY = frozenset({"id", "time_zone", "rating", "next_available_at", "verified", "photo_url"})


class EditDoctor(Message):
    """The whole profile as it shall be. Another name or registration asks for verification again.

    It may be sent as it was read: `id`, `time_zone`, `rating`, `next_available_at`, `verified` and `photo_url` change
    nothing.
    """

    full_name: Line = Field(examples=["Dr. Asha Menon"])
    gender: Gender | None = None
    specialties: Specialties = Field(examples=[["cardiology"]])
    languages: Languages = Field(examples=[["en", "hi"]])
    bio: Prose = ""
    years_of_experience: int | None = Field(default=None, ge=0, le=80, strict=True)
    qualifications: Prose = Field(default="", examples=["MBBS, MD (Medicine)"])
    registration: Registration | None = None
    fees: Fees = Field(default={}, examples=[{"video": {"amount": 50000, "currency": "INR"}}])
    modes: list[Mode] | None = Field(default=None, description="those with a fee, unless it names fewer of them")

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_read(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in cast("dict[str, Any]", given).items() if key not in READ_ONLY}

    @field_validator("modes")
    @classmethod
    def _have_fees(cls, modes: list[Mode] | None, info: ValidationInfo) -> list[Mode] | None:
        if unpriced := [mode for mode in modes or [] if mode not in info.data.get("fees", {})]:
            raise ValueError(f"should have a fee in `fees` (0 is free): {', '.join(unpriced)}")
        return modes

    @property
    def offered(self) -> list[Mode]:
        """In the order of `Mode`."""
        return [mode for mode in Mode if mode in (self.fees if self.modes is None else self.modes)]

    @property
    def lowest_fee(self) -> int | None:
        """In minor units."""
        return min((self.fees[mode].amount for mode in self.offered), default=None)


class Doctor(Message):
    """A doctor's public profile."""

    id: UUID
    full_name: str
    gender: Gender | None
    specialties: list[Specialty]
    languages: list[Language]
    bio: str
    years_of_experience: int | None
    qualifications: str
    registration: Registration | None
    modes: list[Mode]
    fees: dict[Mode, Money]
    photo_url: str | None = Field(description="of a square WebP, under this very host; null without a photo")
    time_zone: str = Field(description="IANA time zone of the doctor's hours")
    rating: Rating
    next_available_at: Instant | None = Field(description="null while it is not known; ask for the slots")
    verified: bool = Field(description="whether the registration was checked; others cannot be found or booked")


def is_still_what_was_verified(doctor: Doctor, edit: EditDoctor) -> bool:
    """Whether name and registration stay what the profile says now."""
    return edit.full_name == doctor.full_name and edit.registration == doctor.registration


class DoctorChanged(Event):
    """A profile, its fees or its verification is another one now."""

    type: ClassVar[str] = "doctor.changed"
    verified: bool
