"""How an access token stands, and what a device is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrutam.domain.devices import family
from amrutam.domain.sessions import ENDED, Standing, stand

VERSIONS = st.integers(min_value=1, max_value=9)


@given(version=VERSIONS, good=VERSIONS)
def test_a_token_is_good_when_its_version_is_the_sessions(version: int, good: int) -> None:
    standing = stand(version, b"%d" % good)
    assert (standing is Standing.LIVE) is (version == good)
    assert (standing is Standing.OUTDATED) is (version < good)


@given(version=VERSIONS)
def test_no_token_of_a_session_that_has_ended_is_good(version: int) -> None:
    assert stand(version, b"%d" % ENDED) is Standing.OVER


@given(version=VERSIONS)
def test_a_marker_that_is_missing_or_older_than_the_token_says_nothing(version: int) -> None:
    assert stand(version, None) is Standing.UNKNOWN
    assert stand(version + 1, b"%d" % version) is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        pytest.param(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 "
            "Safari/537.36 Edg/141.0",
            "Edge on Windows",
        ),
        pytest.param(
            "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile "
            "Safari/537.36",
            "Chrome on Android",
        ),
        pytest.param(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        pytest.param(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
            "Safari/605.1.15",
            "Safari on macOS",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (compatible; something)", "Mozilla"),
        ("okhttp/5.1.0", "okhttp"),
        ("Amrutam/3.1 (build 7)", "Amrutam"),
        ("", "unknown app"),
        ("<script>alert(1)</script>", "unknown app"),
    ],
)
def test_devices_have_the_names_that_people_know(user_agent: str, name: str) -> None:
    assert family(user_agent) == name


@given(user_agent=st.text(max_size=300))
def test_whatever_is_sent_the_name_is_short_and_plain(user_agent: str) -> None:
    name = family(user_agent)
    assert 0 < len(name) <= 30
    assert name.isascii()
    assert all(character.isalnum() or character in " _-" for character in name)
