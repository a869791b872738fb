"""What may be said when registering, and when a refresh token is taken."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from amrutam.domain.auth import EditPerson, Person, Profile, Register
from amrutam.domain.common import Role
from amrutam.domain.notification import SendMail, Template, mails_for
from amrutam.domain.sessions import GRACE, RefreshToken, Session, Verdict, judge

TODAY = date(2026, 3, 1)
ID = UUID("018f0000-0000-7000-8000-000000000001")
TOKEN_ID = UUID("018f0000-0000-7000-8000-000000000002")
SESSION = Session(
    id=ID,
    user_id=ID,
    roles=frozenset({Role.PATIENT}),
    authenticated_at=datetime(2026, 3, 1, tzinfo=UTC),
    methods=["pwd"],
)


def _register(**changed: Any) -> Register:
    said = {"email": "asha@example.com", "password": "correct horse", "full_name": "Asha Rao", "role": "patient"}
    return Register.model_validate({**said, **changed})


def _token(**changed: Any) -> RefreshToken:
    unused = {"session": SESSION, "session_over": False, "used_ago": None, "successors": 0, "successor_used": False}
    return RefreshToken.model_validate({**unused, **changed})


def test_what_is_left_out_has_a_plain_meaning() -> None:
    said = _register()
    assert (said.time_zone, said.locale, said.date_of_birth, said.phone) == ("UTC", "en", None, None)


@pytest.mark.parametrize(
    ("given_as", "kept_as"),
    [
        ("Asha.Rao@Example.COM", "asha.rao@example.com"),
        ("  asha@example.com ", "asha@example.com"),
        ("asha@Bücher.example", "asha@xn--bcher-kva.example"),
        ("patient@demo.amrutam.test", "patient@demo.amrutam.test"),
    ],
)
def test_one_mailbox_is_one_account_however_it_is_written(given_as: str, kept_as: str) -> None:
    assert _register(email=given_as).email == kept_as


@pytest.mark.parametrize(
    ("given_as", "kept_as"), [("+91 98765 43210", "+919876543210"), ("+1 (415) 555-0100", "+14155550100")]
)
def test_a_phone_number_is_kept_without_its_punctuation(given_as: str, kept_as: str) -> None:
    assert _register(phone=given_as).phone == kept_as


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "asha"),
        ("email", "asha@"),
        ("email", "asha@localhost"),
        ("email", "आशा@example.com"),
        ("email", "a@example.com\r\nBcc: b@example.com"),
        ("email", "a" * 65 + "@example.com"),
        ("password", "seven77"),
        ("password", "x" * 257),
        ("full_name", ""),
        ("full_name", "Asha\nRao"),
        ("role", "admin"),
        ("role", "support"),
        ("role", "root"),
        ("date_of_birth", "1990-02-30"),
        ("date_of_birth", 0),
        ("date_of_birth", "1990-01-01T00:00:00Z"),
        ("sex", "f"),
        ("phone", "98765 43210"),
        ("phone", "+0123456789"),
        ("phone", "+91"),
        ("address", ""),
        ("time_zone", "IST"),
        ("time_zone", "localtime"),
        ("time_zone", "../../etc/passwd"),
        ("locale", "english please"),
        ("is_admin", True),
    ],
)
def test_a_field_that_does_not_fit_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        _register(**{field: value})
    assert {error["loc"][0] for error in refused.value.errors()} == {field}


@pytest.mark.parametrize("born", ["2026-03-01", "2026-03-02", "1896-03-01", "1066-10-14"])
def test_a_date_of_birth_lies_in_the_past_and_within_a_life(born: str) -> None:
    assert [fault.pointer for fault in _register(date_of_birth=born).faults(TODAY)] == ["/date_of_birth"]


@pytest.mark.parametrize("born", ["2026-02-28", "1896-03-02"])
def test_the_youngest_and_the_oldest_are_welcome(born: str) -> None:
    assert _register(date_of_birth=born).faults(TODAY) == []


@pytest.mark.parametrize(
    ("said", "field", "kept"),
    [
        ({"full_name": "Asha Iyer"}, "full_name", "Asha Iyer"),
        ({"phone": None}, "phone", None),
        ({"time_zone": "Asia/Kolkata"}, "time_zone", "Asia/Kolkata"),
    ],
)
def test_an_edit_changes_what_it_names_and_nothing_else(said: dict[str, Any], field: str, kept: Any) -> None:
    person = Person(
        id=ID,
        email="asha@example.com",
        roles=[Role.PATIENT],
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        version=1,
        full_name="Asha Rao",
        phone="+919876543210",
        locale="hi-IN",
    )
    after = EditPerson.model_validate(said).of(person)
    assert getattr(after, field) == kept
    before = {name: getattr(person, name) for name in Profile.model_fields}
    assert after.model_dump(exclude={field}) == {name: value for name, value in before.items() if name != field}


@pytest.mark.parametrize("field", ["full_name", "time_zone", "locale"])
def test_what_everybody_has_cannot_be_taken_away(field: str) -> None:
    with pytest.raises(ValidationError):
        EditPerson.model_validate({field: None})


def test_a_password_shows_in_no_text_of_the_command() -> None:
    said = _register(password="correct horse")
    assert "correct horse" not in f"{said!r} {said} {said.model_dump()} {said.model_dump_json()}"


def test_a_fresh_token_is_taken() -> None:
    assert judge(_token()) is Verdict.ROTATE


def test_the_predecessor_is_taken_once_more_within_the_grace() -> None:
    assert judge(_token(used_ago=GRACE, successors=1)) is Verdict.ROTATE


def test_a_third_tab_is_refused_and_logs_nobody_out() -> None:
    assert judge(_token(used_ago=GRACE, successors=2)) is Verdict.REFUSE


@given(later=st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=365)), tabs=st.integers(1, 2))
def test_reuse_after_the_grace_ends_the_session(later: timedelta, tabs: int) -> None:
    assert judge(_token(used_ago=GRACE + later, successors=tabs)) is Verdict.END_SESSION


@given(ago=st.timedeltas(min_value=timedelta(0), max_value=GRACE))
def test_reuse_of_an_older_token_than_the_predecessor_ends_the_session(ago: timedelta) -> None:
    assert judge(_token(used_ago=ago, successors=1, successor_used=True)) is Verdict.END_SESSION


@given(used_ago=st.none() | st.timedeltas(min_value=timedelta(0)), successors=st.integers(0, 3), used=st.booleans())
def test_no_token_of_a_session_that_is_over_does_anything(
    used_ago: timedelta | None, successors: int, used: bool
) -> None:
    over = _token(session_over=True, used_ago=used_ago, successors=successors, successor_used=used)
    assert judge(over) is Verdict.REFUSE


def test_an_unknown_token_is_refused() -> None:
    assert judge(None) is Verdict.REFUSE


@pytest.mark.parametrize(
    ("event", "template", "ids"),
    [
        ("account.verification_requested", Template.VERIFY_EMAIL, {"token_id": TOKEN_ID}),
        ("account.registration_repeated", Template.ALREADY_REGISTERED, {}),
        ("account.password_reset_requested", Template.RESET_PASSWORD, {"token_id": TOKEN_ID}),
        ("account.password_changed", Template.PASSWORD_CHANGED, {}),
        ("account.email_change_requested", Template.CONFIRM_EMAIL_CHANGE, {"change_id": TOKEN_ID}),
        ("account.new_email_offered", Template.CONFIRM_NEW_EMAIL, {"change_id": TOKEN_ID}),
        ("account.own_email_wanted", Template.OWN_EMAIL_WANTED, {}),
        ("account.email_changed", Template.EMAIL_CHANGED, {"change_id": TOKEN_ID}),
        ("staff.invited", Template.INVITATION, {"invitation_id": TOKEN_ID}),
        ("review.rejected", Template.REVIEW_REJECTED, {"review_id": TOKEN_ID}),
    ],
)
def test_what_happens_to_an_account_is_told_by_mail(event: str, template: Template, ids: dict[str, Any]) -> None:
    data = json.dumps({name: str(each) for name, each in ids.items()})
    assert mails_for(ID, event, ID, data) == [SendMail(event_id=ID, template=template, user_id=ID, **ids)]
