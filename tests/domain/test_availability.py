"""Which slots follow from hours, by example. `test_slots_everywhere.py` holds what is true of every zone."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from amrutam.domain.availability import (
    Availability,
    Slot,
    Span,
    bookings_outside,
    check_day,
    claimed_span,
    open_slots,
    slot_at,
)
from amrutam.domain.common import Mode
from amrutam.domain.errors import NotASlot, SlotTaken
from amrutam.domain.windows import Extra
from tests.domain.samples import available, rule

MONDAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def slots(
    availability: Availability,
    first: date,
    last: date | None = None,
    *,
    tz: ZoneInfo | None = None,
    now: datetime | None = None,
    blocked: Sequence[Span] = (),
    taken: Sequence[Span] = (),
    extra: Sequence[Extra] = (),
    booked: Sequence[datetime] = (),
) -> list[Slot]:
    """By default those of one date on the doctor's calendar, as seen two days before."""
    now = now or datetime(first.year, first.month, first.day, tzinfo=UTC) - 2 * DAY
    tz = tz or availability.zone
    return open_slots(
        availability, first, last or first, tz, now=now, blocked=blocked, taken=taken, extra=extra, booked=booked
    )


def wall(found: list[Slot], zone: str) -> list[str]:
    return [slot.starts_at.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z") for slot in found]


def time_of(slot: Slot) -> str:
    return times([slot])[0]


def times(found: list[Slot], zone: str = "Asia/Kolkata") -> list[str]:
    return [slot.starts_at.astimezone(ZoneInfo(zone)).strftime("%H:%M") for slot in found]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_hours_are_cut_into_slots_on_the_doctors_clock() -> None:
    found = slots(available(rule("mon", "09:00", "10:20", "video", "chat")), MONDAY)
    assert found == [
        Slot(at("2026-03-02T03:30:00Z"), at("2026-03-02T04:00:00Z"), (Mode.VIDEO, Mode.CHAT)),
        Slot(at("2026-03-02T04:00:00Z"), at("2026-03-02T04:30:00Z"), (Mode.VIDEO, Mode.CHAT)),
    ]


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    nights = available(rule("mon", "22:00", "02:00", valid_from="2026-03-02", valid_to="2026-03-02"), slot=60)
    assert times(slots(nights, MONDAY, MONDAY + 9 * DAY)) == ["22:00", "23:00", "00:00", "01:00"]
    assert times(slots(nights, MONDAY + DAY)) == ["00:00", "01:00"]


def test_hours_that_end_when_they_begin_last_a_day() -> None:
    assert len(slots(available(rule("mon", "08:00", "08:00"), slot=60), MONDAY, MONDAY + DAY)) == 24


def test_hours_begin_only_within_their_validity() -> None:
    some = available(rule("mon", "09:00", "09:30", valid_from="2026-03-09", valid_to="2026-03-16"))
    found = slots(some, MONDAY, date(2026, 3, 30))
    assert wall(found, "Asia/Kolkata") == ["09 09:00+0530", "16 09:00+0530"]


def test_dates_are_those_of_the_asker() -> None:
    evenings = available(rule("mon", "22:00", "02:00"), slot=60)
    los_angeles = ZoneInfo("America/Los_Angeles")
    assert times(slots(evenings, MONDAY, tz=los_angeles)) == ["22:00", "23:00", "00:00", "01:00"]
    kiritimati = slots(evenings, MONDAY + DAY, tz=ZoneInfo("Pacific/Kiritimati"))
    assert times(kiritimati, "Pacific/Kiritimati") == ["06:30", "07:30", "08:30", "09:30"]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", date(2026, 3, 29), ["01:00+0100", "01:30+0100", "03:00+0200", "03:30+0200"]),
        (
            "Europe/Berlin",
            date(2026, 10, 25),
            ["01:00+0200", "01:30+0200", "02:00+0200", "02:30+0200", "03:00+0100", "03:30+0100"],
        ),
        ("America/New_York", date(2026, 3, 8), ["01:00-0500", "01:30-0500", "03:00-0400", "03:30-0400"]),
        (
            "America/New_York",
            date(2026, 11, 1),
            ["01:00-0400", "01:30-0400", "02:00-0500", "02:30-0500", "03:00-0500", "03:30-0500"],
        ),
        (
            "Australia/Lord_Howe",
            date(2026, 10, 4),
            ["01:00+1030", "01:30+1030", "02:30+1100", "03:00+1100", "03:30+1100"],
        ),
        (
            "Australia/Lord_Howe",
            date(2026, 4, 5),
            ["01:00+1100", "01:30+1100", "02:00+1030", "02:30+1030", "03:00+1030", "03:30+1030"],
        ),
    ],
)
def test_a_change_of_the_clock_neither_doubles_nor_invents_a_slot(zone: str, day: date, expected: list[str]) -> None:
    found = slots(available(rule("sun", "01:00", "04:00"), zone=zone), day)
    assert wall(found, zone) == [f"{day:%d} {time}" for time in expected]


def test_a_slot_that_spans_a_change_keeps_its_length_and_the_next_waits_for_it() -> None:
    found = slots(available(rule("sun", "00:00", "06:00"), zone="Europe/Berlin", slot=50), date(2026, 3, 29))
    assert times(found, "Europe/Berlin") == ["00:00", "00:50", "01:40", "04:10", "05:00"]
    assert all(slot.ends_at - slot.starts_at == timedelta(minutes=50) for slot in found)


def test_hours_that_end_within_a_skipped_hour_end_with_the_change() -> None:
    sundays = available(rule("sun", "01:30", "02:30"), rule("sun", "02:30", "04:00"), zone="Europe/Berlin")
    assert times(slots(sundays, date(2026, 3, 29)), "Europe/Berlin") == ["01:30", "03:00", "03:30"]


def test_a_date_that_a_zone_skipped_has_no_slots() -> None:
    fridays = available(rule("thu", "23:00", "01:00"), rule("fri", "23:00", "01:00"), zone="Pacific/Apia")
    found = slots(fridays, date(2011, 12, 29), date(2011, 12, 31))
    assert wall(found, "Pacific/Apia") == ["29 23:00-1000", "29 23:30-1000", "31 00:00+1400", "31 00:30+1400"]
    assert slots(fridays, date(2011, 12, 30)) == []


def test_notice_and_horizon_bound_what_can_be_booked() -> None:
    daily = available(
        rule("mon", "09:00", "11:00"), rule("tue", "09:00", "11:00"), horizon_days=1, minimum_notice_minutes=60
    )
    found = slots(daily, MONDAY, MONDAY + 8 * DAY, now=at("2026-03-02T09:00:00+05:30"))
    assert wall(found, "Asia/Kolkata") == ["02 10:00+0530", "02 10:30+0530", "03 09:00+0530"]


@pytest.mark.parametrize("edge", [date.min, date.max])
def test_dates_at_the_ends_of_the_calendar_hold_no_slots(edge: date) -> None:
    assert slots(available(rule("mon", "09:00", "12:00")), edge, now=NOW) == []


def test_dates_may_reach_from_the_first_of_the_calendar_to_the_last() -> None:
    found = slots(available(rule("mon", "09:00", "10:00"), horizon_days=7), date.min, date.max, now=NOW)
    assert times(found) == ["09:00", "09:30"]


def test_leave_hides_the_slots_that_it_touches() -> None:
    leave = Span(at("2026-03-02T09:45:00+05:30"), at("2026-03-02T10:30:00+05:30"))
    found = slots(available(rule("mon", "09:00", "11:00"), buffer_after_minutes=60), MONDAY, blocked=[leave])
    assert times(found) == ["09:00", "10:30"]


def test_a_claim_keeps_the_buffers_of_both_appointments_apart() -> None:
    mornings = available(rule("mon", "09:00", "12:00"), buffer_before_minutes=10, buffer_after_minutes=20)
    booked = Slot(at("2026-03-02T10:30:00+05:30"), at("2026-03-02T11:00:00+05:30"), (Mode.VIDEO,))
    claim = claimed_span(mornings, booked)
    assert claim == Span(at("2026-03-02T10:20:00+05:30"), at("2026-03-02T11:20:00+05:30"))
    assert times(slots(mornings, MONDAY, taken=[claim])) == ["09:00", "09:30", "11:30"]


def test_spans_may_come_in_any_order_and_lie_within_each_other() -> None:
    hours = [("10:00", "10:05"), ("09:00", "09:10"), ("09:30", "11:00"), ("09:40", "09:50")]
    leave = [Span(at(f"2026-03-02T{start}:00+05:30"), at(f"2026-03-02T{end}:00+05:30")) for start, end in hours]
    assert times(slots(available(rule("mon", "09:00", "12:00")), MONDAY, blocked=leave)) == ["11:00", "11:30"]


def extra(start: str, end: str, *modes: Mode) -> Extra:
    """Hours of 2 March 2026 by the clock of Kolkata."""
    span = Span(at(f"2026-03-02T{start}:00+05:30"), at(f"2026-03-02T{end}:00+05:30"))
    return Extra(span, modes or (Mode.VIDEO,))


def test_extra_hours_add_what_the_weekly_ones_do_not_cover() -> None:
    mondays = available(rule("mon", "09:00", "10:30"), rule("mon", "12:00", "12:30"))
    found = slots(mondays, MONDAY, extra=[extra("08:15", "13:10", Mode.CHAT)])
    assert times(found) == ["08:15", "09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30"]
    assert {slot.modes for slot in found if time_of(slot) in {"09:00", "09:30", "10:00", "12:00"}} == {(Mode.VIDEO,)}


def test_extra_hours_that_overlap_each_other_offer_no_time_twice() -> None:
    several = [extra("09:10", "10:30", Mode.CHAT), extra("09:00", "09:50"), extra("09:00", "09:50")]
    assert times(slots(available(), MONDAY, extra=several)) == ["09:00", "09:50"]


def test_who_is_away_is_away_from_extra_hours_too() -> None:
    leave = extra("09:15", "09:45").span
    assert times(slots(available(), MONDAY, extra=[extra("09:00", "11:00")], blocked=[leave])) == ["10:00", "10:30"]


def test_extra_hours_are_bound_by_notice_horizon_and_claims() -> None:
    now, evening = at("2026-03-02T09:00:00+05:30"), extra("09:00", "11:00")
    some = available(minimum_notice_minutes=30, horizon_days=1)
    assert times(slots(some, MONDAY, now=now, extra=[evening], taken=[extra("10:00", "10:10").span])) == [
        "09:30",
        "10:30",
    ]


def test_a_full_day_offers_nothing_and_its_neighbours_what_they_have() -> None:
    nights = available(rule("mon", "23:00", "01:00"), rule("tue", "09:00", "09:30"), max_bookings_per_day=2)
    booked = [at("2026-03-02T23:00:00+05:30"), at("2026-03-03T00:00:00+05:30"), at("2026-03-03T12:00:00+05:30")]
    assert times(slots(nights, MONDAY, MONDAY + DAY, booked=booked)) == ["23:00", "23:30"]
    with pytest.raises(SlotTaken, match="2 a day at most, and 2026-03-03 is full"):
        check_day(nights, at("2026-03-03T09:00:00+05:30"), booked)
    check_day(nights, at("2026-03-02T23:30:00+05:30"), booked)


@pytest.mark.parametrize(
    ("starts_at", "mode", "pointer", "why"),
    [
        ("2026-02-28T23:59:00Z", "video", "/starts_at", "passed"),
        ("2026-03-01T00:30:00Z", "video", "/starts_at", "60 minutes of notice"),
        ("2026-03-16T03:30:00Z", "video", "/starts_at", "10 days ahead"),
        ("9999-12-31T23:59:59-12:00", "video", "/starts_at", "10 days ahead"),
        ("0001-01-01T00:00:00+12:00", "video", "/starts_at", "passed"),
        ("2026-03-02T03:31:00Z", "video", "/starts_at", "no time that begins then"),
        ("2026-03-02T03:30:00.000001Z", "video", "/starts_at", "no time that begins then"),
        ("2026-03-03T03:30:00Z", "video", "/starts_at", "no time that begins then"),
        ("2026-03-02T04:00:00Z", "video", "/starts_at", "away"),
        ("2026-03-02T03:30:00Z", "chat", "/mode", "offers video or audio, not chat"),
    ],
)
def test_a_time_that_cannot_be_booked_is_refused_with_the_reason(
    starts_at: str, mode: str, pointer: str, why: str
) -> None:
    mondays = available(rule("mon", "09:00", "12:00", "video", "audio"), minimum_notice_minutes=60, horizon_days=10)
    leave = Span(at("2026-03-02T04:00:00Z"), at("2026-03-02T04:30:00Z"))
    with pytest.raises(NotASlot, match=why) as refused:
        slot_at(mondays, at(starts_at), Mode(mode), now=NOW, blocked=[leave])
    assert [fault.pointer for fault in refused.value.faults] == [pointer]


def test_a_slot_is_found_by_its_moment_in_any_offset() -> None:
    mondays = available(rule("mon", "09:00", "12:00"))
    found = slot_at(mondays, at("2026-03-01T22:30:00-05:00"), Mode.VIDEO, now=NOW, blocked=[])
    assert found == Slot(at("2026-03-02T03:30:00Z"), at("2026-03-02T04:00:00Z"), (Mode.VIDEO,))


def test_bookings_lie_outside_when_no_hours_of_their_mode_hold_the_whole_of_them() -> None:
    hours = available(
        rule("mon", "09:00", "12:00"), rule("mon", "12:00", "14:00", "video", "chat"), rule("mon", "22:00", "01:00")
    )
    bookings = {
        UUID(int=number): (at(f"2026-03-{start}:00+05:30"), at(f"2026-03-{end}:00+05:30"), Mode(mode))
        for number, (start, end, mode) in enumerate(
            [
                ("02T13:50", "02T14:10", "video"),
                ("02T09:10", "02T09:35", "video"),
                ("02T11:45", "02T12:15", "video"),
                ("02T11:45", "02T12:15", "chat"),
                ("03T00:30", "03T01:00", "video"),
                ("03T09:00", "03T09:30", "video"),
                ("02T08:50", "02T09:10", "video"),
            ]
        )
    }
    assert [booking.int for booking in bookings_outside(hours, bookings)] == [0, 3, 5, 6]


def test_no_bookings_lie_outside_when_there_are_none() -> None:
    assert bookings_outside(available(), {}) == []
