"""Access tokens while their keys rotate, and while their checks are remembered."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest

from amrutam import tokens as access_tokens
from amrutam.commands.keys import replaced, rotated
from amrutam.crypto import SKEW, Keyring, SigningKeys
from amrutam.domain.common import Role
from amrutam.domain.errors import TokenExpired, Unauthenticated
from amrutam.settings import SettingsError
from amrutam.tokens import AccessTokens, Principal

ISSUER = "https://api.amrutam.test"
LIFE, LEAD = timedelta(minutes=10), timedelta(minutes=10)
WHO = Principal(
    user_id=UUID("018f0000-0000-7000-8000-000000000001"),
    session_id=UUID("018f0000-0000-7000-8000-000000000002"),
    roles=frozenset({Role.PATIENT}),
)


def _keyring(signing: dict[str, Any] | None = None) -> Keyring:
    raw = json.loads(Keyring.generate("demo"))
    return Keyring.model_validate({**raw, **({"signing": signing} if signing else {})})


def _rotated(keyring: Keyring, ago: timedelta) -> Keyring:
    """The keyring after a rotation that was asked for so long ago."""
    return _keyring(rotated(keyring.signing, datetime.now(UTC) - ago, LEAD, LIFE))


def _issued(tokens: AccessTokens, *, ago: timedelta = timedelta(), version: int = 1) -> str:
    now = datetime.now(UTC)
    who = WHO.model_copy(update={"token_version": version})
    return tokens.issue(who, now=now - ago, auth_time=now, methods=["pwd"])


def _kid(token: str) -> str:
    return jwt.get_unverified_header(token)["kid"]


def _published(tokens: AccessTokens) -> set[str]:
    return {key["kid"] for key in tokens.jwks()["keys"]}


def _user(tokens: AccessTokens, token: str) -> UUID:
    return tokens.check(token).user_id


def test_a_new_key_is_published_before_it_signs() -> None:
    before = _keyring()
    tokens = AccessTokens(_rotated(before, timedelta(minutes=5)), ISSUER, LIFE)
    assert _published(tokens) == {"signing-1", "signing-2"}
    assert _kid(_issued(tokens)) == "signing-1"


def test_a_new_key_signs_when_its_time_has_come_and_tokens_of_the_old_one_stay_good() -> None:
    before = _keyring()
    old = _issued(AccessTokens(before, ISSUER, LIFE), ago=timedelta(minutes=5))
    tokens = AccessTokens(_rotated(before, timedelta(minutes=12)), ISSUER, LIFE)
    new = _issued(tokens)
    assert _kid(new) == "signing-2"
    assert _user(tokens, old) == _user(tokens, new) == WHO.user_id
    assert _published(tokens) == {"signing-1", "signing-2"}


def test_an_old_key_is_neither_published_nor_taken_once_its_last_token_has_expired() -> None:
    before = _keyring()
    tokens = AccessTokens(_rotated(before, LEAD + LIFE + SKEW + timedelta(seconds=1)), ISSUER, LIFE)
    assert _published(tokens) == {"signing-2"}
    with pytest.raises(Unauthenticated):
        tokens.check(_issued(AccessTokens(before, ISSUER, LIFE)))


def test_a_process_that_does_not_know_of_the_rotation_yet_is_understood_by_one_that_does_and_the_other_way() -> None:
    before = _keyring()
    behind, ahead = AccessTokens(before, ISSUER, LIFE), AccessTokens(_rotated(before, timedelta()), ISSUER, LIFE)
    assert _user(ahead, _issued(behind)) == _user(behind, _issued(ahead)) == WHO.user_id


def test_a_key_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        AccessTokens(_keyring(), ISSUER, LIFE).check(_issued(AccessTokens(_keyring(), ISSUER, LIFE)))


def test_a_key_that_was_taken_away_is_refused_at_once_though_its_tokens_were_checked_before() -> None:
    before = _keyring()
    tokens = AccessTokens(before, ISSUER, LIFE)
    token = _issued(tokens)
    assert _user(tokens, token) == WHO.user_id
    tokens.use(_keyring(replaced(before.signing)))
    with pytest.raises(Unauthenticated):
        tokens.check(token)
    assert _published(tokens) == {"signing-2"}


def test_a_rotation_waits_for_the_one_before() -> None:
    now = datetime.now(UTC)
    first = SigningKeys.model_validate(rotated(_keyring().signing, now, LEAD, LIFE))
    for later in (LEAD - SKEW, LEAD, LEAD + LIFE):
        with pytest.raises(SettingsError, match="under way until"):
            rotated(first, now + later, LEAD, LIFE)
    second = rotated(first, now + LEAD + LIFE + SKEW, LEAD, LIFE)
    assert (second["current"], second["next"], second["keys"].keys()) == (
        "signing-2",
        "signing-3",
        {"signing-2", "signing-3"},
    )


@pytest.mark.parametrize(
    "change",
    [
        {"next": "signing-9", "next_from": "2026-01-01T00:00:00Z"},
        {"next": "signing-1"},
        {"next_from": "2026-01-01T00:00:00Z"},
        {"next": "signing-1", "next_from": "2026-01-01T00:00:00"},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(change: dict[str, str]) -> None:
    signing = json.loads(Keyring.generate("demo"))["signing"]
    with pytest.raises(ValueError, match=r"`next`|timezone"):
        SigningKeys.model_validate({**signing, **change})


def test_a_checked_token_is_remembered_and_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = AccessTokens(_keyring(), ISSUER, LIFE)
    token = _issued(tokens)
    first = tokens.check(token)
    assert tokens.check(token) is first
    later = datetime.now(UTC) + LIFE
    monkeypatch.setattr("amrutam.tokens.time.time", later.timestamp)
    with pytest.raises(TokenExpired):
        tokens.check(token)


def test_a_token_that_differs_in_one_letter_from_one_that_is_remembered_is_refused() -> None:
    tokens = AccessTokens(_keyring(), ISSUER, LIFE)
    token = _issued(tokens)
    tokens.check(token)
    head, body, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[0] ^= 1
    with pytest.raises(Unauthenticated):
        tokens.check(f"{head}.{body}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}")


def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tokens, "MOST_REMEMBERED", 2)
    tokens = AccessTokens(_keyring(), ISSUER, LIFE)
    one, two, three = [_issued(tokens) for _ in range(3)]
    first = [tokens.check(one), tokens.check(two)]
    assert tokens.check(one) is first[0]  # used last
    tokens.check(three)
    assert tokens.check(one) is first[0]
    assert tokens.check(two) is not first[1]


def test_a_token_carries_the_version_of_its_sessions_tokens() -> None:
    tokens = AccessTokens(_keyring(), ISSUER, LIFE)
    assert tokens.check(_issued(tokens, version=7)).token_version == 7


def test_a_token_of_a_host_whose_clock_is_some_seconds_ahead_is_taken() -> None:
    tokens = AccessTokens(_keyring(), ISSUER, LIFE)
    assert _user(tokens, _issued(tokens, ago=-SKEW / 2)) == WHO.user_id
    with pytest.raises(Unauthenticated):
        tokens.check(_issued(tokens, ago=-SKEW * 2))
