"""Doctors as patients find them, and what they may say about themselves."""

from enum import StrEnum
from typing import Annotated, ClassVar, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field

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


class Rating(Message):
    """What patients thought: stars from 1 to 5, null until there is a review."""

    average: float | None
    count: int


UNRATED = Rating(average=None, count=0)


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


class EditDoctor(Message):
    """The whole profile as it shall be. Another name or registration asks for verification again."""

    full_name: Line = Field(examples=["Dr. Asha Menon"])
    gender: Gender | None = None
    specialties: Specialties = Field(examples=[["cardiology"]])
    languages: Languages = Field(examples=[["en", "hi"]])
    bio: Prose = ""
    years_of_experience: int | None = Field(default=None, ge=0, le=80, strict=True)
    qualifications: Prose = Field(default="", examples=["MBBS, MD (Medicine)"])
    registration: Registration | None = None
    fees: Fees = Field(default={}, examples=[{"video": {"amount": 50000, "currency": "INR"}}])

    @property
    def modes(self) -> list[Mode]:
        """Those with a fee, in the order of `Mode`."""
        return [mode for mode in Mode if mode in self.fees]

    @property
    def lowest_fee(self) -> int | None:
        """In minor units."""
        return min((fee.amount for fee in self.fees.values()), default=None)


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
    time_zone: str = Field(description="IANA time zone of the doctor's hours")
    rating: Rating
    next_available_at: Instant | None = Field(description="null while it is not known; ask for the slots")
    verified: bool = Field(description="whether the registration was checked; others cannot be found or booked")


def stays_verified(doctor: Doctor, edit: EditDoctor) -> bool:
    """Whether what was verified, the name and the registration, is still what the profile says."""
    unchanged = edit.full_name == doctor.full_name and edit.registration == doctor.registration
    return doctor.verified and unchanged


class DoctorChanged(Event):
    """A profile, its fees or its verification is another one now."""

    type: ClassVar[str] = "doctor.changed"
    verified: bool
