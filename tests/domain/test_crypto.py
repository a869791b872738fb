"""Sealed values and access tokens: what opens, and above all what does not."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from amrutam.crypto import KEY_BYTES, Keyring, SealError, SealingKeys, place
from amrutam.domain.common import Role
from amrutam.domain.errors import TokenExpired, Unauthenticated
from amrutam.tokens import AccessTokens, Principal

OLD, NEW = b"\x01" * KEY_BYTES, b"\x02" * KEY_BYTES
ROW = UUID("018f0000-0000-7000-8000-000000000001")
OTHER_ROW = UUID("018f0000-0000-7000-8000-000000000002")
HERE = place("bookings", ROW, "reason")
ISSUER = "https://api.amrutam.test"
NOW = datetime.now(UTC)
WHO = Principal(
    user_id=ROW,
    session_id=OTHER_ROW,
    roles=frozenset({Role.PATIENT, Role.DOCTOR}),
    authenticated_at=NOW.replace(microsecond=0),
)


@pytest.fixture
def keys() -> SealingKeys:
    return SealingKeys("new", {"old": OLD, "new": NEW})


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return Keyring.model_validate_json(Keyring.generate("demo"))


@pytest.fixture(scope="module")
def tokens(keyring: Keyring) -> AccessTokens:
    return AccessTokens(keyring, ISSUER, timedelta(minutes=10))


@given(plain=st.binary(), bound_to=st.binary())
def test_what_is_sealed_opens_in_its_place(plain: bytes, bound_to: bytes) -> None:
    keys = SealingKeys("new", {"new": NEW})
    assert keys.open(keys.seal(plain, bound_to), bound_to) == plain


@pytest.mark.parametrize(
    "elsewhere",
    [
        place("consultations", ROW, "reason"),
        place("bookings", OTHER_ROW, "reason"),
        place("bookings", ROW, "cancellation_reason"),
        place("bookings", ROW, "reason", 2),
    ],
)
def test_a_value_that_was_moved_does_not_open(keys: SealingKeys, elsewhere: bytes) -> None:
    with pytest.raises(SealError):
        keys.open(keys.seal(b"headache", HERE), elsewhere)


def test_a_value_that_was_cut_does_not_open_wherever_it_was_cut(keys: SealingKeys) -> None:
    sealed = keys.seal(b"headache", HERE)
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            keys.open(sealed[:length], HERE)


def test_a_value_with_one_bit_changed_does_not_open_whichever_bit_it_was(keys: SealingKeys) -> None:
    sealed = keys.seal(b"headache", HERE)
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(SealError):
            keys.open(bytes(changed), HERE)


def test_a_value_of_a_key_that_is_gone_says_so(keys: SealingKeys) -> None:
    with pytest.raises(SealError, match="not in the keyring"):
        SealingKeys("other", {"other": NEW}).open(keys.seal(b"headache", HERE), HERE)


def test_after_rotation_old_values_open_and_new_ones_use_the_new_key(keys: SealingKeys) -> None:
    before = SealingKeys("old", {"old": OLD})
    assert keys.open(before.seal(b"headache", HERE), HERE) == b"headache"
    with pytest.raises(SealError):
        before.open(keys.seal(b"headache", HERE), HERE)


def test_two_purposes_of_one_key_never_open_for_one_another(keyring: Keyring) -> None:
    sealed = keyring.master.sealing("person-keys").seal(b"key", HERE)
    with pytest.raises(SealError):
        keyring.master.sealing("operations").open(sealed, HERE)


def test_a_mark_tells_parts_apart_and_purposes_too(keyring: Keyring) -> None:
    marks = {
        keyring.mark("operations", b"ab", b"c"),
        keyring.mark("operations", b"a", b"bc"),
        keyring.mark("verify-email", b"ab", b"c"),
    }
    assert len(marks) == 3
    assert keyring.mark("operations", b"ab", b"c") in marks


def _claims() -> dict[str, Any]:
    now = datetime.now(UTC)  # not the moment at which the tests were collected
    return {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": str(ROW),
        "sid": str(OTHER_ROW),
        "roles": ["patient"],
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=5)).timestamp()),
        "jti": str(ROW),
        "auth_time": int(NOW.timestamp()),
        "amr": ["pwd"],
    }


def _signed(keyring: Keyring, claims: dict[str, Any], **head: str | None) -> str:
    kid = keyring.signing.current
    return jwt.encode(claims, keyring.signing_key(kid), "EdDSA", {"kid": kid, "typ": "at+jwt", **head})


def _issued(tokens: AccessTokens, *, ago: timedelta = timedelta(0)) -> str:
    return tokens.issue(WHO, now=datetime.now(UTC) - ago, auth_time=NOW, methods=["pwd"])


def test_a_token_names_its_person_session_and_roles(tokens: AccessTokens) -> None:
    assert tokens.check(_issued(tokens)) == WHO


def test_a_token_as_the_contract_has_it_is_taken(tokens: AccessTokens, keyring: Keyring) -> None:
    assert tokens.check(_signed(keyring, _claims())).user_id == ROW


def test_an_expired_token_is_told_apart(tokens: AccessTokens) -> None:
    with pytest.raises(TokenExpired):
        tokens.check(_issued(tokens, ago=timedelta(minutes=11)))


def test_a_token_whose_claims_were_changed_is_refused(tokens: AccessTokens) -> None:
    head, _, signature = _issued(tokens).split(".")
    claims = base64.urlsafe_b64encode(json.dumps({**_claims(), "roles": ["admin"]}).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        tokens.check(f"{head}.{claims}.{signature}")


def test_an_unsigned_token_is_refused(tokens: AccessTokens, keyring: Keyring) -> None:
    unsigned = jwt.encode(_claims(), "", "none", {"kid": keyring.signing.current, "typ": "at+jwt"})
    with pytest.raises(Unauthenticated):
        tokens.check(unsigned)


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(tokens: AccessTokens, keyring: Keyring) -> None:
    kid = keyring.signing.current
    public = keyring.signing_key(kid).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    confused = jwt.encode(_claims(), public, "HS256", {"kid": kid, "typ": "at+jwt"})
    with pytest.raises(Unauthenticated):
        tokens.check(confused)


def test_a_token_of_a_foreign_key_under_our_name_is_refused(tokens: AccessTokens, keyring: Keyring) -> None:
    head = {"kid": keyring.signing.current, "typ": "at+jwt"}
    with pytest.raises(Unauthenticated):
        tokens.check(jwt.encode(_claims(), Ed25519PrivateKey.generate(), "EdDSA", head))


@pytest.mark.parametrize("head", [{"kid": "unknown"}, {"kid": ""}, {"typ": "JWT"}, {"typ": None}])
def test_a_token_with_another_head_is_refused(tokens: AccessTokens, keyring: Keyring, head: dict[str, Any]) -> None:
    token = _signed(keyring, _claims(), **head)
    with pytest.raises(Unauthenticated):
        tokens.check(token)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere.test"},
        {"aud": "https://elsewhere.test"},
        {"sub": "nobody"},
        {"sid": "7"},
        {"roles": ["root"]},
        {"roles": None},
        {"iat": int((NOW + timedelta(hours=1)).timestamp())},
    ],
)
def test_a_token_for_another_place_or_of_another_shape_is_refused(
    tokens: AccessTokens, keyring: Keyring, changed: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        tokens.check(_signed(keyring, {**_claims(), **changed}))


@pytest.mark.parametrize("missing", sorted(_claims()))
def test_a_token_without_one_of_its_claims_is_refused(tokens: AccessTokens, keyring: Keyring, missing: str) -> None:
    claims = {name: value for name, value in _claims().items() if name != missing}
    with pytest.raises(Unauthenticated):
        tokens.check(_signed(keyring, claims))


@pytest.mark.parametrize("rubbish", ["", ".", "..", "a.b.c", "e30.e30.e30", "ü.ü.ü", "x" * 10_000])
def test_what_is_no_token_is_refused(tokens: AccessTokens, rubbish: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.check(rubbish)


def test_tokens_of_an_older_signing_key_stay_good_after_rotation(tokens: AccessTokens, keyring: Keyring) -> None:
    raw = json.loads(Keyring.generate("demo"))
    older = {name: key.get_secret_value() for name, key in keyring.signing.keys.items()}
    raw["signing"] = {"current": "signing-2", "keys": {**older, "signing-2": raw["signing"]["keys"]["signing-1"]}}
    rotated = AccessTokens(Keyring.model_validate(raw), ISSUER, timedelta(minutes=10))
    assert rotated.check(_issued(tokens)) == WHO
    assert {key["kid"] for key in rotated.jwks()["keys"]} == {"signing-1", "signing-2"}
    with pytest.raises(Unauthenticated):
        tokens.check(_issued(rotated))
