"""How much somebody may ask for, and how often somebody may guess. Times are microseconds of whoever keeps the state.

These rules are kept in Redis by scripts that say the same (`amrutam/storage/admission.py`, `guessing.py`), and here for
when Redis is away; tests hold the two to one another.
"""

from dataclasses import dataclass
from typing import NamedTuple

SECOND = 1_000_000
MILLISECOND = 1_000


@dataclass(frozen=True, slots=True)
class Quota:
    """`units` may be spent at once; what is spent comes back evenly, all of it within `seconds` (GCRA)."""

    units: int
    seconds: int

    @property
    def interval(self) -> int:
        """The time in which one unit comes back."""
        return max(1, self.seconds * SECOND // self.units)


class Decision(NamedTuple):
    """`wait` is 0 for what is admitted, else the time until it would be; `spent` is the time until all is back."""

    wait: int
    spent: int


def admit(spent: int, cost: int, whole: int) -> Decision:
    """Spend `cost` where `spent` of `whole` is out already, each as the time in which it comes back."""
    spent = min(max(spent, 0), whole)
    if spent + cost > whole:
        return Decision(spent + cost - whole, spent)
    return Decision(0, spent + cost)


@dataclass(frozen=True, slots=True)
class Patience:
    """`allowance` failures cost nothing. Each further one makes everybody wait, `first`, then twice as long each time.

    One failure is forgotten in each `forget`.
    """

    allowance: int
    forget: int
    first: int = SECOND
    longest: int = 15 * 60 * SECOND

    def scaled(self, factor: int) -> "Patience":
        """The same with so many times the allowance."""
        return Patience(self.allowance * factor, self.forget, self.first, self.longest)


class Guesses(NamedTuple):
    """What is remembered of failed guesses: how many at `at`, and until when no other is heard."""

    failures: float = 0.0
    at: int = 0
    closed_until: int = 0


# Strangers' guesses at one account from one network. Whoever guesses from elsewhere does not close this to its person.
HERE = Patience(allowance=4, forget=15 * 60 * SECOND)
# All strangers' guesses at one account, so that many networks together are slow too.
ACCOUNT = Patience(allowance=19, forget=15 * 60 * SECOND)
# One network's guesses at all accounts. Many people may share it.
NETWORK = Patience(allowance=49, forget=60 * SECOND)
# A device on which the person has signed in before: only who holds it can use this up.
DEVICE = Patience(allowance=4, forget=15 * 60 * SECOND)
# All such devices of one person, so that many that somebody hoarded are slow together. Strangers do not count here.
DEVICES = Patience(allowance=19, forget=15 * 60 * SECOND)


def remembered(guesses: Guesses, patience: Patience, now: int) -> float:
    """Failures that are not forgotten yet."""
    return max(0.0, guesses.failures - max(0, now - guesses.at) / patience.forget)


def guess(guesses: Guesses, patience: Patience, now: int) -> Guesses:
    """Count a guess, before it is known whether it is right."""
    failures = remembered(guesses, patience, now) + 1
    over = int(failures - patience.allowance + 0.5)  # what was forgotten since the first of them counts by halves
    wait = 0 if over < 1 else min(patience.longest, patience.first * 2 ** min(over - 1, 40))
    # No more is remembered than makes the longest wait: an hour later all this is nearly over, whoever did it.
    return Guesses(min(failures, patience.allowance + most_over(patience)), now, now + wait)


def taken_back(guesses: Guesses) -> Guesses:
    """The same without the last guess, which was right, or was never answered."""
    return Guesses(max(0.0, guesses.failures - 1), guesses.at, 0)


def most_over(patience: Patience) -> int:
    """So many failures over the allowance that the wait is the longest."""
    return (patience.longest // patience.first).bit_length() + 1
