"""Words as people type them: without accents, with a letter wrong here and there."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

# Shorter words must be right: one slip turns them into another word.
FORGIVEN_LENGTH = 4
# From this length on, two slips are forgiven.
LONG = 8
_APOSTROPHES = dict.fromkeys(map(ord, "'\u2019`"))
_SEPARATORS = re.compile(r"[\s.,;:!?()/\\\"_+*=<>|&%#@~^{}$\[\]-]+")


def words_of(text: str) -> list[str]:
    """The words in lower case, without accents, apostrophes and signs; in order. As SQL's `search_words` makes them."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(each for each in decomposed if not unicodedata.combining(each)).lower()
    return [word for word in _SEPARATORS.split(plain.translate(_APOSTROPHES)) if word]


def slips(word: str) -> set[str]:
    """The word, and what is left of it when one letter is missing.

    Two words that differ by one slip (a letter wrong, missing, too many, or two exchanged) have one of these in common.
    """
    if len(word) < FORGIVEN_LENGTH:
        return {word}
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}


def is_slip_of(typed: str, meant: str) -> bool:
    """Whether few enough letters are wrong for `typed` to stand for `meant`."""
    shorter = min(len(typed), len(meant))
    if shorter < FORGIVEN_LENGTH:
        return typed == meant
    return distance(typed, meant) <= (2 if shorter >= LONG else 1)


def distance(one: str, other: str) -> int:
    """How many slips lie between the two: a letter wrong, missing, too many, or two neighbours exchanged."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        previous, row, older = row, [i], before
        for j, facing in enumerate(other, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (letter != facing))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == facing:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        before = previous
    return row[-1]


class Dictionary:
    """Finds the known words nearest to one that was typed. Built once; a look-up takes some 10 microseconds."""

    def __init__(self, words: Iterable[str], *, forgiven_length: int = FORGIVEN_LENGTH) -> None:
        """Words with fewer letters than `forgiven_length` must be right."""
        self._forgiven_length = forgiven_length
        self._by_slip: dict[str, list[str]] = {}
        for word in words:
            for slip in slips(word):
                self._by_slip.setdefault(slip, []).append(word)

    def nearest(self, typed: str) -> list[str]:
        """The word itself where it is known, else those that it may have been meant for; empty where there is none."""
        candidates = set(self._candidates(typed))
        if typed in candidates:
            return [typed]
        if len(typed) < self._forgiven_length:
            return []
        return sorted(each for each in candidates if is_slip_of(typed, each))

    def _candidates(self, typed: str) -> Iterator[str]:
        for slip in slips(typed):
            yield from self._by_slip.get(slip, ())
