"""Which passwords are refused, and that no rule of composition stands in a person's way."""

import pytest

from amrutam.domain.passwords import weaknesses

ASHA = ("asha.rao@example.com", "Asha Rao")


def _codes(password: str) -> list[str]:
    return [fault.code for fault in weaknesses(password, ASHA, "/password")]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "Amrutam-demo-1",
        "kxtvpqjwzmrh",
        "8204917365820417",
        "नमस्ते दुनिया कैसे हो",
        "🦆🌵🎻🧊🪁🧿🪔🛶",
        "  spaces  count  as  well  ",
        "4@8({[<369&#!1/|0$5+7%2" * 11,
        "x7" * 3 + "correct horse battery staple" * 8,
    ],
)
def test_a_password_of_any_characters_is_taken_when_it_is_hard_to_guess(password: str) -> None:
    assert _codes(password) == []


@pytest.mark.parametrize(
    "password", ["password", "PassWord", "12345678", "qwertyuiop", "iloveyou1", "trustno1", "football1"]
)
def test_a_common_password_is_refused_in_upper_and_lower_case(password: str) -> None:
    assert _codes(password) == ["common_password"]


@pytest.mark.parametrize(
    "password",
    [
        "aaaaaaaaaaaaaaaa",
        "abcdefghijklmnop",
        "P@ssw0rd2024",
        "1234567890!@#$%^&*()",
        "asdfghjkl;'#",
        "20260301",
        "hunter2hunter2",
        "Monkey123!",
    ],
)
def test_a_password_that_follows_a_pattern_is_refused(password: str) -> None:
    assert _codes(password) == ["weak_password"]


@pytest.mark.parametrize(
    "password",
    ["asha.rao@example.com", "ashaasharao", "AshaRao1990", "rao.asha1", "exampleasha", "amrutam123", "Amrutam@123"],
)
def test_a_password_made_of_what_everybody_knows_of_the_person_and_the_place_is_refused(password: str) -> None:
    assert _codes(password) == ["weak_password"]


def test_somebody_elses_name_is_no_weakness_and_nobodys_words_are_remembered() -> None:
    assert weaknesses("Venkataraghavan-77", ("venkataraghavan@example.com",), "/password") != []
    assert weaknesses("Venkataraghavan-77", ASHA, "/password") == []


def test_a_fault_names_the_field_and_never_the_password() -> None:
    [fault] = weaknesses("hunter2hunter2", ASHA, "/new_password")
    assert fault.pointer == "/new_password"
    assert "hunter2" not in fault.model_dump_json()
