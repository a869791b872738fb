"""The free times that searches read: as the calendars say, and never behind by more than the sweep is."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from amrutam import migrations, seed_people
from amrutam.domain.availability import Availability, Slot
from amrutam.domain.booking import BookingConfirmed
from amrutam.domain.catalogue import Specialty
from amrutam.domain.common import Mode, Money
from amrutam.domain.doctor import DoctorChanged, EditDoctor
from amrutam.domain.doctor_search import EVERYBODY, Filters, Sort
from amrutam.domain.exceptions import AvailabilityChanged
from amrutam.domain.free_times import KEPT, STALENESS, moment_of
from amrutam.domain.windows import Span
from amrutam.ids import new_id
from amrutam.stack.postgres import APP, OWNER
from amrutam.stack.servers import Servers
from amrutam.storage import availability, claims, doctor, doctor_search, free_times
from amrutam.storage.pool import Database
from amrutam.sweep import Sweep
from amrutam.verify import GRACE
from tests.people import EVERY_HOUR
from tests.storage.databases import empty_database

QUARTER = timedelta(minutes=15)
_UTC = ZoneInfo("UTC")


@pytest.fixture(scope="module")
async def alone(servers: Servers) -> AsyncGenerator[Database, None]:
    """A database which no worker sweeps but the test."""
    async with empty_database(servers) as name:
        await migrations.apply(servers.postgres.url(OWNER, name), "demo", migrations.read(), lambda _: None)
        database = await Database.connect(servers.postgres.url(APP, name), size=3, application="tests")
        yield database
        await database.close()


async def _doctor(db: Database, hours: Availability | None = None, **fields: Any) -> UUID:
    """A verified doctor, free of charge by video and chat unless told otherwise."""
    free = {"amount": 0, "currency": "INR"}
    profile = EditDoctor.model_validate(
        {
            "full_name": "Dr Meera Iyer",
            "specialties": ["dermatology"],
            "languages": ["en"],
            "fees": {"video": free, "chat": free},
            **fields,
        }
    )
    doctor_id = new_id()
    async with db.transaction() as connection:
        await connection.execute(
            """INSERT INTO users (id, email, password_hash, full_name, roles, time_zone, locale)
               VALUES ($1, $2, '', '', '{doctor}', 'UTC', 'en')""",
            doctor_id, f"{doctor_id}@alone.test",
        )  # fmt: skip
        await doctor.create(connection, doctor_id, profile.full_name, "Asia/Kolkata")
        await doctor.edit(connection, doctor_id, profile, verified=False)
        await doctor.verify(connection, doctor_id)
        await availability.replace(connection, doctor_id, hours or Availability.model_validate(EVERY_HOUR))
    return doctor_id


async def _swept(db: Database) -> None:
    while await Sweep(db).pass_once():
        pass


async def _news(db: Database, doctor_id: UUID) -> None:
    """As the relay hears of it."""
    async with db.transaction() as connection:
        await free_times.mark_changed(connection, [doctor_id])
    await _swept(db)


async def _next(db: Database, doctor_id: UUID, column: str = "next_start") -> datetime | None:
    async with db.connection() as connection:
        select = f"SELECT {column} FROM listings WHERE doctor_id = $1"  # noqa: S608 - a column of ours
        return moment_of(await connection.fetchval(select, doctor_id))


async def _slots(db: Database, doctor_id: UUID, now: datetime) -> Sequence[Slot]:
    """What can be booked within the time that searches know, from the calendar itself."""
    until = now + KEPT
    async with db.connection() as connection:
        found = await availability.bookable(connection, doctor_id, Span(now - timedelta(days=2), until))
    assert found
    slots = found.open_slots(now.date(), until.date(), _UTC, now=now)
    return [slot for slot in slots if slot.starts_at <= until]


async def _claim(db: Database, doctor_id: UUID, span: Span, expires_at: datetime | None = None) -> UUID:
    booking_id = new_id()
    async with db.transaction() as connection:
        assert not await claims.take(connection, booking_id, {doctor_id: span}, expires_at)
    return booking_id


async def test_the_next_free_time_is_the_first_that_can_be_booked_in_each_mode(alone: Database) -> None:
    made = [await _doctor(alone, each.availability) for each in islice(seed_people.doctors(), 30)]
    await _swept(alone)
    now = datetime.now(UTC)
    for doctor_id in made:
        slots = await _slots(alone, doctor_id, now)
        assert await _next(alone, doctor_id) == slots[0].starts_at
        for mode in Mode:
            first = next((slot.starts_at for slot in slots if mode in slot.modes), None)
            assert await _next(alone, doctor_id, f"next_{mode}_start") == first


@pytest.mark.parametrize("walk", [400, 1], ids=["along the list", "by the index"])
async def test_a_search_within_a_time_finds_who_has_a_whole_slot_in_it_and_nobody_else(
    alone: Database, monkeypatch: pytest.MonkeyPatch, walk: int
) -> None:
    for rows in ("NEAR", "FAR"):
        monkeypatch.setattr(doctor_search, rows, walk)
    fields = [[Specialty.UNANI], [Specialty.UNANI, Specialty.ENT], [Specialty.ENT]]
    offered = [(each.availability, fields[place % 3]) for place, each in enumerate(islice(seed_people.doctors(), 25))]
    made = {await _doctor(alone, hours, specialties=known): known for hours, known in offered}
    await _swept(alone)
    now = datetime.now(UTC)
    slots = {doctor_id: await _slots(alone, doctor_id, now) for doctor_id in made}
    asked = product((0, 7, 26, 50, 75, 130, 400), (20, 180), (None, Mode.CHAT), (None, Specialty.UNANI))
    for hours, minutes, mode, specialty in asked:
        since = now.replace(minute=7) + timedelta(hours=hours)
        until = since + timedelta(minutes=minutes)
        filters = Filters(available_from=since, available_to=until, mode=mode, specialty=specialty)
        async with alone.connection() as connection:
            found = await doctor_search.find(connection, filters, Sort.SOONEST, EVERYBODY, None, 1000, now)
        fit = {
            doctor_id
            for doctor_id, known in made.items()
            if specialty in {None, *known}
            and any(
                since <= slot.starts_at and slot.ends_at <= until and (mode is None or mode in slot.modes)
                for slot in slots[doctor_id]
            )
        }
        assert {each.row["id"] for each in found} & made.keys() == fit


async def test_who_changes_the_specialty_is_found_within_a_time_by_the_new_one_at_once(
    alone: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_search, "NEAR", 1)
    doctor_id, now = await _doctor(alone, specialties=["nephrology"]), datetime.now(UTC)
    await _swept(alone)

    async def found_by(specialty: Specialty) -> bool:
        filters = Filters(specialty=specialty, available_to=now + timedelta(days=2))
        async with alone.connection() as connection:
            found = await doctor_search.find(connection, filters, Sort.FEE, EVERYBODY, None, 1000, now)
        return doctor_id in {each.row["id"] for each in found}

    assert await found_by(Specialty.NEPHROLOGY)
    async with alone.transaction() as connection:
        changed = (await doctor.lock(connection, doctor_id)).doctor
        free = {mode: Money(amount=0, currency="INR") for mode in changed.modes}
        profile = EditDoctor(
            full_name=changed.full_name, specialties=[Specialty.UROLOGY], languages=changed.languages, fees=free
        )
        await doctor.edit(connection, doctor_id, profile, verified=True)
    assert await found_by(Specialty.UROLOGY)
    assert not await found_by(Specialty.NEPHROLOGY)


async def test_a_claim_moves_the_next_free_time_on_and_its_end_brings_it_back(alone: Database) -> None:
    doctor_id = await _doctor(alone)
    await _swept(alone)
    first = await _next(alone, doctor_id)
    assert first
    booking_id = await _claim(alone, doctor_id, Span(first, first + QUARTER))
    assert await _next(alone, doctor_id) == first  # nobody has heard of it yet
    await _news(alone, doctor_id)
    assert await _next(alone, doctor_id) == first + QUARTER
    async with alone.transaction() as connection:
        await claims.release(connection, booking_id)
    await _news(alone, doctor_id)
    assert await _next(alone, doctor_id) == first


async def test_a_hold_that_ends_without_a_word_is_read_again_when_it_ends(alone: Database) -> None:
    doctor_id = await _doctor(alone)
    await _swept(alone)
    first = await _next(alone, doctor_id)
    assert first
    ends_at = datetime.now(UTC) + timedelta(minutes=5)
    await _claim(alone, doctor_id, Span(first, first + QUARTER), ends_at)
    await _news(alone, doctor_id)
    async with alone.connection() as connection:
        due = await connection.fetchval("SELECT recompute_at FROM free_calendars WHERE doctor_id = $1", doctor_id)
    assert due == ends_at


async def test_what_starts_too_soon_is_passed_over_without_the_calendar(alone: Database) -> None:
    doctor_id = await _doctor(alone)
    await _swept(alone)
    async with alone.transaction() as connection:  # as if ten hours had gone by
        await connection.execute("UPDATE free_times SET notice_minutes = 600 WHERE doctor_id = $1", doctor_id)
        await connection.execute(
            "UPDATE listings SET passes_at = now() - interval '1 s' WHERE doctor_id = $1", doctor_id
        )
        assert await free_times.advance_passed(connection, 10) == 1
        moment = await connection.fetchval("SELECT now()")
        passes_at = await connection.fetchval("SELECT passes_at FROM listings WHERE doctor_id = $1", doctor_id)
    found = await _next(alone, doctor_id)
    assert found
    assert timedelta(0) <= found - (moment + timedelta(minutes=600)) < QUARTER
    assert passes_at == found - timedelta(minutes=600)


async def test_who_can_be_booked_a_day_ahead_shows_nothing_later_and_what_comes_near_in_time(alone: Database) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=2)
    rule = {"weekday": tomorrow.strftime("%a").lower(), "start": "12:00", "end": "13:00", "modes": ["video"]}
    hours = Availability.model_validate({"time_zone": "UTC", "slot_minutes": 30, "horizon_days": 1, "rules": [rule]})
    doctor_id = await _doctor(alone, hours)
    await _swept(alone)
    noon = tomorrow.replace(hour=12, minute=0, second=0, microsecond=0)
    async with alone.connection() as connection:
        passes_at = await connection.fetchval("SELECT passes_at FROM listings WHERE doctor_id = $1", doctor_id)
    if noon - datetime.now(UTC) > timedelta(days=2):  # not read yet: the next reading of the calendar is before that
        assert await _next(alone, doctor_id) is None
    else:
        assert (await _next(alone, doctor_id), passes_at) == (None, noon - timedelta(days=1))


async def test_who_loses_the_verification_is_gone_from_searches_at_once_and_back_with_their_times(
    alone: Database,
) -> None:
    doctor_id = await _doctor(alone)
    await _swept(alone)
    async with alone.transaction() as connection:
        await connection.execute("UPDATE doctors SET verified_at = NULL WHERE id = $1", doctor_id)
        for table in ("listings", "listing_facets", "free_calendars", "free_times"):
            count = f"SELECT count(*) FROM {table} WHERE doctor_id = $1"  # noqa: S608 - a table of ours
            assert await connection.fetchval(count, doctor_id) == 0
    async with alone.transaction() as connection:
        await doctor.verify(connection, doctor_id)
    await _swept(alone)
    assert await _next(alone, doctor_id)


async def test_a_calendar_is_read_again_within_a_day_and_not_all_at_the_same_time(alone: Database) -> None:
    made = [await _doctor(alone) for _ in range(20)]
    await _swept(alone)
    async with alone.connection() as connection:
        rows = await connection.fetch(
            "SELECT recompute_at - now() AS rest FROM free_calendars WHERE doctor_id = ANY ($1)", made
        )
        assert await free_times.overdue_seconds(connection) == 0
    rests = [row["rest"] for row in rows]
    assert max(rests) < timedelta(days=1)
    assert max(rests) - min(rests) > timedelta(minutes=20)


async def test_a_calendar_that_nobody_can_read_offers_nothing_and_stops_no_other(alone: Database) -> None:
    broken, fine = await _doctor(alone), await _doctor(alone)
    async with alone.connection() as connection:
        await connection.execute("UPDATE calendars SET availability = '{}' WHERE doctor_id = $1", broken)
    await _swept(alone)
    assert await _next(alone, broken) is None
    assert await _next(alone, fine)


async def test_news_that_comes_while_a_calendar_is_read_is_not_lost(alone: Database) -> None:
    doctor_id = await _doctor(alone)
    await _swept(alone)
    async with alone.connection() as connection:
        await free_times.mark_changed(connection, [doctor_id])
    async with alone.transaction() as reading:
        assert await free_times.recompute_due(reading, datetime.now(UTC), 10) == 1
        async with alone.connection() as news:
            await news.execute("SET lock_timeout = '50ms'")
            with pytest.raises(Exception, match="lock timeout"):
                await news.execute("UPDATE free_calendars SET recompute_at = now() WHERE doctor_id = $1", doctor_id)
            await news.execute("RESET lock_timeout")
    await _news(alone, doctor_id)
    async with alone.connection() as connection:
        assert await connection.fetchval(
            "SELECT recompute_at > now() FROM free_calendars WHERE doctor_id = $1", doctor_id
        )


def test_the_facts_that_change_free_times_name_their_doctor(some_id: UUID, now: datetime) -> None:
    booking = BookingConfirmed(subject=new_id(), doctor_id=some_id, patient_id=new_id(), starts_at=now)
    for event in (booking, DoctorChanged(subject=some_id, verified=True), AvailabilityChanged(subject=some_id)):
        assert free_times.calendar_of(event.type, event.subject, event.model_dump_json()) == some_id
    assert free_times.calendar_of("account.verified", some_id, "{}") is None


def test_what_is_promised_is_what_is_checked() -> None:
    assert STALENESS == GRACE
