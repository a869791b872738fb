"""How a text is understood: slips of the pen, complaints, and who comes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrutam.domain.catalogue import Specialty, specialty_name
from amrutam.domain.conditions import phrase_at
from amrutam.domain.doctor_search import EVERYBODY, Fit, terms, tiers, whole
from amrutam.domain.spelling import Dictionary, distance, is_slip_of, slips, words_of

WORD = st.text("abcdefghij", min_size=5, max_size=12)


def _meant(text: str) -> set[Specialty]:
    phrase = phrase_at(words_of(text), 0)
    return set(phrase.meaning.called | phrase.meaning.treating) if phrase else set()


@st.composite
def _slipped(draw: st.DrawFn) -> tuple[str, str]:
    """A word, and the same with one letter wrong, missing or too many, or two exchanged."""
    word = draw(WORD)
    place, letter = draw(st.integers(0, len(word) - 2)), draw(st.sampled_from("abcxyz"))
    head, tail = word[:place], word[place:]
    kinds = (letter + tail[1:], tail[1:], letter + tail, tail[1] + tail[0] + tail[2:])
    return word, head + draw(st.sampled_from(kinds))


@given(_slipped())
def test_one_slip_is_always_forgiven(pair: tuple[str, str]) -> None:
    meant, typed = pair
    assert distance(typed, meant) <= 1
    if len(typed) >= 4:
        assert slips(typed) & slips(meant)
        assert meant in Dictionary([meant]).nearest(typed)


@pytest.mark.parametrize(
    ("one", "other", "count"), [("menen", "menon", 1), ("jhon", "john", 1), ("kumar", "kumari", 1), ("asha", "usah", 2)]
)
def test_slips_are_counted(one: str, other: str, count: int) -> None:
    assert distance(one, other) == distance(other, one) == count


def test_short_words_must_be_right() -> None:
    assert not is_slip_of("ent", "ant")
    assert is_slip_of("ent", "ent")


def test_words_lose_their_accents_and_signs() -> None:
    assert words_of("Dr. José  O\u2019Brien-Schäfer, MD") == ["dr", "jose", "obrien", "schafer", "md"]


def test_every_specialty_is_found_by_its_name_and_its_code() -> None:
    for specialty in Specialty:
        assert specialty in _meant(specialty_name(specialty).replace(",", "")), specialty
        assert specialty in _meant(specialty.replace("_", " ")), specialty


@pytest.mark.parametrize(
    ("text", "specialty"),
    [
        ("skin rash", Specialty.DERMATOLOGY),
        ("diabetis", Specialty.DIABETOLOGY),
        ("chest pain", Specialty.CARDIOLOGY),
        ("back pian", Specialty.ORTHOPEDICS),
        ("anxeity", Specialty.PSYCHIATRY),
        ("bukhar", Specialty.GENERAL_MEDICINE),
        ("khansi", Specialty.PULMONOLOGY),
        ("toothache", Specialty.DENTISTRY),
        ("gynaecologist", Specialty.GYNECOLOGY),
        ("heart doctor", Specialty.CARDIOLOGY),
        ("pet dard", Specialty.GASTROENTEROLOGY),
        ("derma", Specialty.DERMATOLOGY),
    ],
)
def test_complaints_and_callings_lead_to_who_treats_them(text: str, specialty: Specialty) -> None:
    assert specialty in _meant(text)


@pytest.mark.parametrize("name", ["khan", "josé", "asha", "menon", "singh", "iyer", "nair", "rao", "fischer", "garcia"])
def test_a_name_is_no_complaint(name: str) -> None:
    assert _meant(name) == set()


def test_a_phrase_is_one_term_and_titles_are_none() -> None:
    assert len(terms(words_of("chest pain"), {})) == 1
    for text in ("doctor", "the best doctor near me"):
        assert tiers(terms(words_of(text), {})) == [*EVERYBODY]
    assert len(terms(["me"], {})) == 1  # somebody begins to type a name
    [term] = terms(["dr", "menen"], {"menen": ["menon"]})
    assert term.facets[Fit.SIMILAR_NAME] == {"n:menon"}


def test_who_fits_every_word_comes_before_who_fits_one() -> None:
    found = tiers(terms(["menen", "dermatolgy"], {"menen": ["menon"]}))
    assert found[0].all_of == (frozenset({"n:menon"}), frozenset({"s:dermatology"}))
    assert found[0].none_of == ()
    assert {"n:menon"} in [set(each) for tier in found[1:] for each in tier.all_of]
    for number, tier in enumerate(found):
        assert len(tier.none_of) == number


def test_an_exact_name_comes_before_its_beginning_and_both_before_a_similar_one() -> None:
    names = {"menon": ["menon", "menonite", "memon"]}
    found = tiers(terms(["menon"], names))
    assert [set(tier.all_of[0]) for tier in found[:3]] == [{"n:menon"}, {"n:menonite"}, {"n:memon"}]
    [only] = whole(terms(["menon"], names))
    assert set(only.all_of[0]) == {"n:menon", "n:menonite", "w:menon"}


def test_a_name_that_there_is_stands_for_itself_though_a_complaint_is_a_slip_away() -> None:
    with_it = tiers(terms(["ashma"], {"ashma": ["ashma"]}))
    without = tiers(terms(["ashma"], {}))
    assert not any("s:pulmonology" in facets for tier in with_it for facets in tier.all_of)
    assert any("s:pulmonology" in facets for tier in without for facets in tier.all_of)
