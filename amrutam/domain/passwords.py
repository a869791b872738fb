"""What makes a password good: hard to guess and not a common one. Any characters may be in it, and none has to."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import ClassVar
from uuid import UUID

from zxcvbn_rs_py import zxcvbn

from amrutam.domain.auth import EmailAddress, GivenPassword, NewPassword, OpaqueToken
from amrutam.domain.common import Message
from amrutam.domain.errors import Fault
from amrutam.domain.events import Event

# Where zxcvbn's score of 3 begins, the least that its authors call safe: hashing alone makes that some weeks of work.
LEAST_GUESSES = 10**8
# Three names in a row count as many guesses, though whoever knows the person tries them early.
LEAST_CHARACTERS_BESIDE = 5
# A start that is strong makes the whole strong. zxcvbn holds the process while it works, its time grows with the square
# of the length, and each character that may stand for a letter multiplies it: with many of them, less is looked at.
MEASURED_CHARACTERS, MEASURED_OF_RIDDLES = 40, 16
MAY_STAND_FOR_LETTERS, MOST_OF_THEM = frozenset("4@8({[<369&#!1/|0$5+7%2"), 8
# What anybody would try first here (ASVS 5.0, 6.2.11).
WORDS_OF_THE_PLACE = ("amrutam", "ayurveda", "ayurvedic", "telemedicine", "namaste", "doctor", "patient", "hospital")

_WORD = re.compile(r"\w{3,}")


class ForgotPassword(Message):
    """Ask for a link that lets one choose another password."""

    email: EmailAddress


class ResetPassword(Message):
    """Choose another password with the token of the link."""

    token: OpaqueToken
    password: NewPassword


class ChangePassword(Message):
    """Choose another password while signed in."""

    current_password: GivenPassword
    new_password: NewPassword


class PasswordResetRequested(Event):
    """The person is to be sent the link of this token."""

    type: ClassVar[str] = "account.password_reset_requested"
    token_id: UUID


class PasswordChanged(Event):
    """The account has another password, changed by whoever was signed in or held a link."""

    type: ClassVar[str] = "account.password_changed"


def weaknesses(password: str, about: Iterable[str], pointer: str) -> list[Fault]:
    """What speaks against a new password. `about` is what others may know of its person: address, name.

    Takes some tenths of a millisecond, for a text made to be slow some milliseconds.
    """
    if password.casefold() in _common():
        return [Fault(pointer=pointer, code="common_password", detail="is one of the most common passwords")]
    known = [*WORDS_OF_THE_PLACE, *(word for text in about for word in (text, *_WORD.findall(text)))]
    if (
        zxcvbn(_measured(password), known).guesses < LEAST_GUESSES
        or _without(known, password) < LEAST_CHARACTERS_BESIDE
    ):
        detail = "is too easy to guess; a few words that do not belong together are better"
        return [Fault(pointer=pointer, code="weak_password", detail=detail)]
    return []


def _measured(password: str) -> str:
    start = password[:MEASURED_CHARACTERS]
    return start if len(MAY_STAND_FOR_LETTERS & set(start)) <= MOST_OF_THEM else start[:MEASURED_OF_RIDDLES]


def _without(words: Iterable[str], password: str) -> int:
    """How many characters are left when all of these words are cut out, the longest first."""
    longest_first = sorted(words, key=len, reverse=True)
    return len(re.sub("|".join(map(re.escape, longest_first)), "", password, flags=re.IGNORECASE))


@cache
def _common() -> frozenset[str]:
    """Read once, when the first password is chosen."""
    text = files("amrutam.domain").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))
