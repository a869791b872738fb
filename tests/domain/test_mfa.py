"""Rules of the second factor: codes by the clock, recovery codes as people write them, and how long one counts."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrutam.domain import mfa
from amrutam.domain.mfa import RECENT, RECOVERY_BYTES, SECRET_BYTES, STEP_SECONDS, Factor

# RFC 6238, appendix B: the secret "12345678901234567890"; of its eight digits an app shows the last six.
RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
RFC_CODES = [
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
]
AT_59 = datetime.fromtimestamp(59, UTC)
CHANCE = bytes(range(RECOVERY_BYTES))


@pytest.mark.parametrize(("moment", "code"), RFC_CODES)
def test_codes_are_those_of_the_standard(moment: int, code: str) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    assert mfa.matching_step(RFC_SECRET, code, now, 0) == moment // STEP_SECONDS


@pytest.mark.parametrize(("seconds", "good"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_be_off_by_one_step_either_way(seconds: int, good: bool) -> None:
    now = datetime.fromtimestamp(1111111111 + seconds, UTC)
    assert (mfa.matching_step(RFC_SECRET, "050471", now, 0) is not None) is good


def test_a_step_that_was_taken_is_not_taken_again_nor_one_before_it() -> None:
    assert mfa.matching_step(RFC_SECRET, "287082", AT_59, last_step=0) == 1
    assert mfa.matching_step(RFC_SECRET, "287082", AT_59, last_step=1) is None
    assert mfa.matching_step(RFC_SECRET, "287082", AT_59, last_step=2) is None


@pytest.mark.parametrize("code", ["287081", "28708", "2870820", "", "-287082", "٢٨٧٠٨٢", "0x46162", "287082\n"])
def test_what_is_not_the_code_is_none(code: str) -> None:
    assert mfa.matching_step(RFC_SECRET, code, AT_59, 0) is None


def test_a_code_may_be_typed_with_a_space_as_apps_show_it() -> None:
    assert mfa.matching_step(RFC_SECRET, "287 082", AT_59, 0) == 1


@given(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_a_secret_is_what_apps_take(chance: bytes) -> None:
    secret = mfa.secret_of(chance)
    assert base64.b32decode(secret) == chance
    assert "=" not in secret


def test_the_uri_names_the_account_and_holds_the_secret() -> None:
    uri = urlsplit(mfa.otpauth_uri(RFC_SECRET, "asha+1@example.com"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert unquote(uri.path) == "/Amrutam:asha+1@example.com"
    assert parse_qs(uri.query) == {"secret": [RFC_SECRET], "issuer": ["Amrutam"]}


@given(st.binary(min_size=RECOVERY_BYTES, max_size=RECOVERY_BYTES))
def test_recovery_codes_are_ten_each_with_its_number_first(chance: bytes) -> None:
    codes = mfa.recovery_codes_of(chance)
    assert len(set(codes)) == mfa.RECOVERY_CODES
    assert [mfa.recovery_slot(code) for code in codes] == list(range(10))
    assert {len(code) for code in codes} == {11}
    assert all(mfa.factor_of(code) is Factor.RECOVERY_CODE for code in codes)


def test_every_random_byte_of_recovery_codes_counts() -> None:
    whole = mfa.recovery_codes_of(CHANCE)
    for place in range(RECOVERY_BYTES):
        changed = bytearray(CHANCE)
        changed[place] ^= 1
        assert mfa.recovery_codes_of(bytes(changed)) != whole


@pytest.mark.parametrize("typed", ["3Abio-1LmnO", "3abio 1lmno", " 3ABI01LMN0 ", "3-abio-1lmno", "3ab10-11mn0"])
def test_a_recovery_code_is_read_as_people_write_it(typed: str) -> None:
    assert mfa.plain_recovery_code(typed) == "3ab1011mn0"
    assert mfa.recovery_slot(typed) == 3


@pytest.mark.parametrize(
    "typed", ["", "3abcd", "a3bcd-efghj", "3abcd-efghu", "3abcd-efghjk", "३abcd-efghj", "3abcd_efghj"]
)
def test_what_has_not_the_form_of_a_recovery_code_has_no_slot(typed: str) -> None:
    assert mfa.recovery_slot(typed) is None


@pytest.mark.parametrize(
    ("typed", "factor"),
    [
        ("123456", Factor.TOTP),
        ("123 456", Factor.TOTP),
        ("3abcd-efghj", Factor.RECOVERY_CODE),
        ("12", Factor.RECOVERY_CODE),
    ],
)
def test_a_code_tells_by_its_form_what_it_is(typed: str, factor: Factor) -> None:
    assert mfa.factor_of(typed) is factor


def test_what_was_shown_counts_for_ten_minutes() -> None:
    now = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert mfa.is_recent(now, now)
    assert mfa.is_recent(now - RECENT, now)
    assert not mfa.is_recent(now - RECENT - timedelta(seconds=1), now)
    assert not mfa.is_recent(None, now)
