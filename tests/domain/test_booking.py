"""A booking's rules: which states follow one another, who sees it, what they may do, how much may be held."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from amrutam.domain.audit import Actor
from amrutam.domain.booking import (
    CANCELLERS,
    NEXT,
    UNPAID,
    Action,
    Booking,
    BookingCancelled,
    BookingConfirmed,
    BookingExpired,
    BookingHeld,
    Cancellation,
    ClaimTime,
    HoldLimits,
    Status,
    check_free,
    check_transition,
    fact,
    fee_for,
)
from amrutam.domain.common import Mode, Money, Role
from amrutam.domain.errors import DoctorUnavailable, HoldExpired, InvalidState, PatientBusy, SlotTaken, TooManyHolds

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
ONE_MINUTE = timedelta(minutes=1)
BOOKING, DOCTOR, PATIENT, PARENT, STRANGER = (UUID(int=number) for number in range(1, 6))
FREE = Money(amount=0, currency="INR")

# As the contract words it: held → awaiting_payment → confirmed → completed; and expired, cancelled, no_show.
FOLLOWS = {
    ("held", "awaiting_payment"),
    ("held", "confirmed"),
    ("held", "expired"),
    ("held", "cancelled"),
    ("awaiting_payment", "confirmed"),
    ("awaiting_payment", "expired"),
    ("awaiting_payment", "cancelled"),
    ("confirmed", "completed"),
    ("confirmed", "cancelled"),
    ("confirmed", "no_show"),
    ("expired", "confirmed"),
}
OPEN = {Status.HELD, Status.AWAITING_PAYMENT, Status.CONFIRMED}


def _booking(status: Status = Status.CONFIRMED, **fields: Any) -> Booking:
    return Booking.model_validate(
        {
            "id": BOOKING,
            "status": status,
            "doctor_id": DOCTOR,
            "doctor_name": "Dr Meera Iyer",
            "patient_id": PATIENT,
            "booked_by": PARENT,
            "starts_at": NOW + timedelta(hours=1),
            "ends_at": NOW + timedelta(hours=1, minutes=15),
            "mode": Mode.VIDEO,
            "reason": None,
            "fee": FREE,
            "expires_at": None,
            "confirmed_at": None,
            "cancellation": None,
            "version": 1,
            "created_at": NOW,
            **fields,
        }
    )


@pytest.mark.parametrize(("now", "then"), [*product(Status, Status)])
def test_states_follow_one_another_as_the_contract_says(now: Status, then: Status) -> None:
    if (now.value, then.value) in FOLLOWS:
        check_transition(now, then)
    else:
        with pytest.raises(InvalidState, match="already" if now is then else f"is {now}; it cannot become {then}"):
            check_transition(now, then)


def test_every_state_has_its_row_and_can_be_reached() -> None:
    assert set(NEXT) == set(Status)
    reached, fresh = {Status.HELD}, {Status.HELD}
    while fresh:
        fresh = {then for now in fresh for then in NEXT[now]} - reached
        reached |= fresh
    assert reached == set(Status)


def test_a_state_counts_as_unpaid_exactly_while_its_hold_can_expire() -> None:
    assert {status for status in Status if Status.EXPIRED in NEXT[status]} == UNPAID


@pytest.mark.parametrize(("status", "role"), [*product(Status, Role)])
def test_an_open_booking_is_cancelled_by_its_sides_and_moved_by_its_patient_until_the_visit_begins(
    status: Status, role: Role
) -> None:
    booking = _booking(status)
    may = {Role.ADMIN: [], Role.PATIENT: [Action.CANCEL, Action.RESCHEDULE]}.get(role, [Action.CANCEL])
    may = may if status in OPEN else []
    assert booking.actions(role, booking.starts_at - ONE_MINUTE) == may
    assert booking.actions(role, booking.starts_at) == []
    assert booking.actions(role, booking.starts_at + ONE_MINUTE) == []


@pytest.mark.parametrize("role", Role)
def test_a_held_time_is_paid_for_by_its_patient_until_its_hold_ends(role: Role) -> None:
    booking = _booking(Status.HELD, expires_at=NOW + ONE_MINUTE, fee=FREE.model_copy(update={"amount": 50_000}))
    pays = {Action.PAY, Action.EXTEND_HOLD}
    assert pays & {*booking.actions(role, NOW)} == (pays if role is Role.PATIENT else set())
    assert not pays & {*booking.actions(role, NOW + ONE_MINUTE)}
    booking.check_payable(NOW)
    with pytest.raises(HoldExpired):
        booking.check_payable(NOW + ONE_MINUTE)
    with pytest.raises(InvalidState, match="not to be paid"):
        _booking().check_payable(NOW)


def test_an_administrator_cancels_no_booking() -> None:
    assert {Role.PATIENT, Role.DOCTOR, Role.SUPPORT} == CANCELLERS


def test_a_visit_that_has_begun_is_said_to_be_the_reason() -> None:
    booking = _booking()
    with pytest.raises(InvalidState, match="has begun"):
        booking.check_cancellable(booking.starts_at)


@pytest.mark.parametrize(
    ("user", "roles", "side"),
    [
        (PATIENT, {Role.PATIENT}, Role.PATIENT),
        (PARENT, {Role.PATIENT}, Role.PATIENT),
        (PARENT, {Role.PATIENT, Role.SUPPORT}, Role.SUPPORT),
        (STRANGER, {Role.PATIENT}, None),
        (DOCTOR, {Role.DOCTOR}, Role.DOCTOR),
        (STRANGER, {Role.DOCTOR}, None),
        (DOCTOR, {Role.PATIENT}, None),
        (PATIENT, {Role.DOCTOR}, None),
        (STRANGER, {Role.SUPPORT}, Role.SUPPORT),
        (STRANGER, {Role.ADMIN}, None),
        (STRANGER, set[Role](), None),
        # Who is more than one thing sees their own booking whole, and others as staff.
        (PATIENT, {Role.PATIENT, Role.SUPPORT}, Role.PATIENT),
        (DOCTOR, {Role.PATIENT, Role.DOCTOR}, Role.DOCTOR),
        (STRANGER, {Role.PATIENT, Role.DOCTOR, Role.SUPPORT}, Role.SUPPORT),
    ],
)
def test_a_booking_is_seen_from_its_sides_and_by_support_alone(user: UUID, roles: set[Role], side: Role | None) -> None:
    assert _booking().side_of(user, roles) is side


def test_a_doctor_who_books_a_colleague_is_a_patient_there() -> None:
    assert _booking(patient_id=STRANGER).side_of(STRANGER, {Role.DOCTOR, Role.PATIENT}) is Role.PATIENT


@pytest.mark.parametrize(
    ("unpaid", "expired", "refused"),
    [(0, 0, None), (2, 4, None), (3, 0, "already hold 3"), (4, 0, "already hold 4"), (0, 5, "let 5"), (3, 5, "hold 3")],
)
def test_a_patient_keeps_only_so_much_unpaid_time_from_others(unpaid: int, expired: int, refused: str | None) -> None:
    limits = HoldLimits(unpaid=3, expired=5, seconds=600)
    if refused is None:
        limits.check(unpaid, expired)
    else:
        with pytest.raises(TooManyHolds, match=refused):
            limits.check(unpaid, expired)


def test_facts_tell_who_when_and_nothing_clinical() -> None:
    until = NOW + timedelta(minutes=10)
    cancelled = Cancellation(by=Role.DOCTOR, at=NOW, reason=b"sealed words")
    who: dict[str, Any] = {
        "subject": BOOKING,
        "doctor_id": DOCTOR,
        "patient_id": PATIENT,
        "starts_at": NOW + timedelta(hours=1),
    }
    words: dict[str, Any] = {"reason": b"sealed words"}
    assert fact(_booking(Status.HELD, expires_at=until, **words)) == BookingHeld(**who, expires_at=until)
    assert fact(_booking(Status.CONFIRMED, **words)) == BookingConfirmed(**who)
    assert fact(_booking(Status.EXPIRED, **words)) == BookingExpired(**who)
    assert fact(_booking(Status.CANCELLED, cancellation=cancelled, **words)) == BookingCancelled(**who, by=Role.DOCTOR)


@pytest.mark.parametrize("status", [Status.AWAITING_PAYMENT, Status.COMPLETED, Status.NO_SHOW, Status.CANCELLED])
def test_no_fact_is_made_up_for_a_state_that_has_none(status: Status) -> None:
    """A cancelled booking without its cancellation is one of them."""
    with pytest.raises(ValueError, match="no fact"):
        fact(_booking(status))


def test_a_mode_costs_what_the_doctor_asks_and_one_without_a_fee_is_not_offered() -> None:
    fees = {Mode.VIDEO: Money(amount=50000, currency="INR"), Mode.CHAT: FREE}
    assert fee_for(fees, Mode.VIDEO).amount == 50000
    assert fee_for(fees, Mode.CHAT) == FREE
    with pytest.raises(DoctorUnavailable) as refusal:
        fee_for(fees, Mode.AUDIO)
    assert [fault.pointer for fault in refusal.value.faults] == ["/mode"]


def test_who_is_busy_is_told_from_who_is_taken() -> None:
    actor = Actor(id=PATIENT, role=Role.PATIENT, request_id="r")
    claim = ClaimTime(
        booking_id=BOOKING,
        doctor_id=DOCTOR,
        patient_id=PATIENT,
        starts_at=NOW,
        mode=Mode.VIDEO,
        reason=None,
        actor=actor,
    )
    check_free(claim, set())
    check_free(claim, {STRANGER})
    with pytest.raises(PatientBusy):
        check_free(claim, {PATIENT})
    with pytest.raises(SlotTaken):
        check_free(claim, {DOCTOR})
    with pytest.raises(SlotTaken):
        check_free(claim, {DOCTOR, PATIENT})
