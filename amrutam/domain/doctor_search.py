"""Finding doctors: what can be asked for, and how a text is understood.

A text is cut into terms: known phrases for specialties and complaints, else single words, which are looked up among the
words of all names. Each term becomes sets of facets, one for each level of fit. Tiers follow from the levels: doctors
who fit every term come before those who fit some, and closer fits before looser ones.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Message, Mode
from amrutam.domain.conditions import Phrase, phrase_at
from amrutam.domain.doctor import Gender
from amrutam.domain.spelling import is_slip_of, words_of

# Words beyond these say nothing that the first ones did not.
MOST_WORDS = 8
# What every doctor is, and what people write around what they look for. A phrase may hold such words, too.
_TITLES = frozenset(words_of("dr doctor doctors doc prof professor specialist consultation consultant clinic online"))
_NOISE = _TITLES | frozenset(
    words_of(
        "mr mrs ms miss near me nearby best good top the a an in for and or of with my i need want find ji ke ka ki"
    )
)
# Of two words' trigrams, from 0 to 1: what is more alike may be the same name in another spelling.
_ALIKE = 0.5
# First letters that are facets of their own.
_LETTERS = 3


class Sort(StrEnum):
    """In which order doctors are listed; those who are alike by their ids."""

    SOONEST = "soonest"  # the next free time, in the mode that is asked for
    FEE = "fee"  # the cheapest first, by the amount in minor units, of the mode that is asked for
    RATING = "rating"  # the best first, then the soonest
    RELEVANCE = "relevance"  # how well the text fits, then as by rating


class Filters(Message):
    """Which doctors a search finds: all that fit everything that is given."""

    specialty: Specialty | None = None
    language: Language | None = None
    mode: Mode | None = None
    max_fee: int | None = None
    min_rating: float | None = None
    gender: Gender | None = None
    available_from: datetime | None = None
    available_to: datetime | None = None

    @property
    def asks_for_times(self) -> bool:
        """Whether somebody has to be free within a time."""
        return self.available_from is not None or self.available_to is not None


class Fit(IntEnum):
    """How a doctor fits a term."""

    CONDITION = 1
    SPECIALTY = 2
    SIMILAR_NAME = 3
    NAME_BEGINS_SO = 4
    NAME = 5


Facets = frozenset[str]


class Term(NamedTuple):
    """What one word or phrase of the text may mean: facets by how they fit."""

    facets: Mapping[Fit, Facets]

    def at_least(self, fit: Fit) -> Facets:
        """Those that fit so well or better."""
        return frozenset[str]().union(*(found for level, found in self.facets.items() if level >= fit))


class Tier(NamedTuple):
    """Doctors who have a facet of each of `all_of`, and not of each of one of `none_of`."""

    all_of: tuple[Facets, ...] = ()
    none_of: tuple[tuple[Facets, ...], ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether a name is among what all of them have."""
        return any(facet.startswith("n:") for any_of in self.all_of for facet in any_of)


EVERYBODY = (Tier(),)


def terms(words: Sequence[str], names: Mapping[str, Iterable[str]]) -> list[Term]:
    """The terms of a text. `names` are the words of doctors' names that are like each word."""
    words, found, place = words[:MOST_WORDS], list[Term](), 0
    while place < len(words):
        phrase = phrase_at(words, place)
        if phrase and phrase.length > 1:
            found.append(Term(_facets(phrase)))
            place += phrase.length
        else:
            if words[place] not in _NOISE:
                found.append(_single(words[place], phrase, names.get(words[place], ())))
            place += 1
    if not found and len(words) == 1 and words[0] not in _TITLES:
        return [_single(words[0], None, names.get(words[0], ()))]
    return found


def _single(word: str, phrase: Phrase | None, names: Iterable[str]) -> Term:
    exact, begins, similar = set[str](), set[str](), set[str]()
    if len(word) <= _LETTERS:
        begins.add(f"p:{word}")
    for name in names:
        group = exact if name == word else begins if name.startswith(word) else similar
        group.add(f"n:{name}")
    # Whoever types a name that there is means it, not the complaint that it is a slip away from.
    meant = _facets(phrase) if phrase and (phrase.literal or not exact) else {}
    made: dict[Fit, Set[str]] = {Fit.NAME: exact, Fit.NAME_BEGINS_SO: begins, Fit.SIMILAR_NAME: similar, **meant}
    made[Fit.CONDITION] = {f"w:{word}", *made.get(Fit.CONDITION, ())}
    return Term({fit: frozenset(facets) for fit, facets in made.items() if facets})


def _facets(phrase: Phrase) -> dict[Fit, Facets]:
    meant = {Fit.SPECIALTY: phrase.meaning.called, Fit.CONDITION: phrase.meaning.treating}
    return {fit: frozenset(f"s:{each}" for each in found) for fit, found in meant.items() if found}


def is_like(typed: str, name: str, similarity: float) -> bool:
    """Whether a word of a name may be meant by what was typed. `similarity` is that of their trigrams, 0 to 1."""
    return typed in name or similarity >= _ALIKE or is_slip_of(typed, name)


def tiers(found: Sequence[Term]) -> list[Tier]:
    """The best fit first; doctors are in the first tier that they fit. Empty where nobody can fit."""
    made = list[Tier]()
    if not found:
        return [*EVERYBODY]
    for fit in sorted(Fit, reverse=True):
        _add(made, tuple(term.at_least(fit) for term in found))
    if len(found) > 1:
        for fit in (Fit.SIMILAR_NAME, Fit.SPECIALTY, Fit.CONDITION):
            _add(made, (frozenset[str]().union(*(term.at_least(fit) for term in found)),))
    return made


def _add(made: list[Tier], all_of: tuple[Facets, ...]) -> None:
    """Unless nobody can fit, or only those who fitted before."""
    if len(all_of) == 1:  # who did not fit before has one of the facets that are new
        all_of = (all_of[0].difference(*(tier.all_of[0] for tier in made if len(tier.all_of) == 1)),)
    before = tuple(tier.all_of for tier in made)
    if all(all_of) and all_of not in before:
        made.append(Tier(all_of, before))


def whole(found: Sequence[Term]) -> list[Tier]:
    """For an order that does not ask how well the text fits: who fits every term, and only if there is none of them,
    who fits some. Names count as they were typed; only where there is none such, as they may have been meant.
    """
    meant = tuple(_as_typed(term) for term in found)
    made = list[Tier]()
    if not found:
        return [*EVERYBODY]
    _add(made, meant)
    if len(found) > 1:
        _add(made, (frozenset[str]().union(*meant),))
    return made


def _as_typed(term: Term) -> Facets:
    if term.at_least(Fit.NAME_BEGINS_SO):
        return term.at_least(Fit.CONDITION) - term.facets.get(Fit.SIMILAR_NAME, frozenset())
    return term.at_least(Fit.CONDITION)
