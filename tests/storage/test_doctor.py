"""Doctors and their calendars in the database: what a booking sees while somebody changes it, and who is found."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from amrutam.domain.common import Mode, Money
from amrutam.domain.doctor import EditDoctor
from amrutam.domain.errors import DoctorUnavailable
from amrutam.domain.exceptions import AddException
from amrutam.ids import new_id
from amrutam.storage import availability, doctor
from amrutam.storage.availability import Bookable
from amrutam.storage.pool import Database
from tests.people import People
from tests.polling import until

PRICE = Money(amount=70_000, currency="INR")


def _profile(**fields: Any) -> EditDoctor:
    usual = {"full_name": "Dr Meera Iyer", "specialties": ["dermatology"], "languages": ["en"]}
    return EditDoctor.model_validate({**usual, **fields})


async def _until_it_waits(db: Database, pid: int) -> None:
    """Until the connection with this process id waits for a lock."""

    async def waits() -> bool:
        async with db.connection() as look:
            return await look.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid)

    await until(waits)


async def _bookable_after_waiting(db: Database, changing: Any, doctor_id: UUID, around: datetime) -> Bookable:
    """What a booking sees that came while `changing`, an open transaction, held the calendar."""

    async def book() -> Bookable:
        async with db.transaction() as connection:
            pid.set_result(await connection.fetchval("SELECT pg_backend_pid()"))
            return await availability.for_booking(connection, doctor_id, around)

    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    booking = asyncio.create_task(book())
    await _until_it_waits(db, await pid)
    await changing.commit()
    return await booking


async def test_a_booking_that_waited_for_a_change_of_fees_sees_the_new_fee(
    db: Database, people: People, now: datetime
) -> None:
    doctor_id = (await people.doctor(fee=500)).id
    async with db.connection() as connection:
        changing = connection.transaction()
        await changing.start()
        await doctor.lock(connection, doctor_id)
        await doctor.edit(connection, doctor_id, _profile(fees={"video": PRICE}), verified=True)
        bookable = await _bookable_after_waiting(db, changing, doctor_id, now)
    assert bookable.fees == {Mode.VIDEO: PRICE}


async def test_a_booking_that_waited_for_an_exception_sees_it(db: Database, people: People, now: datetime) -> None:
    doctor_id, leave = (await people.doctor()).id, AddException(starts_at=now, ends_at=now + timedelta(hours=2))
    async with db.connection() as connection:
        changing = connection.transaction()
        await changing.start()
        await availability.lock(connection, doctor_id)
        await availability.add_exception(connection, new_id(), doctor_id, leave)
        bookable = await _bookable_after_waiting(db, changing, doctor_id, now)
    assert bookable.blocked == [(leave.starts_at, leave.ends_at)]


async def test_a_booking_that_waited_while_the_verification_was_lost_is_refused(
    db: Database, people: People, now: datetime
) -> None:
    doctor_id = (await people.doctor()).id
    async with db.connection() as connection:
        changing = connection.transaction()
        await changing.start()
        await doctor.lock(connection, doctor_id)
        await doctor.edit(connection, doctor_id, _profile(), verified=False)
        with pytest.raises(DoctorUnavailable):
            await _bookable_after_waiting(db, changing, doctor_id, now)


async def test_a_change_waits_for_the_bookings_that_have_read_and_they_not_for_each_other(
    db: Database, people: People, now: datetime
) -> None:
    doctor_id = (await people.doctor()).id
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def change() -> None:
        async with db.transaction() as connection:
            pid.set_result(await connection.fetchval("SELECT pg_backend_pid()"))
            await availability.lock(connection, doctor_id)

    async with db.transaction() as one, db.transaction() as other:
        await availability.for_booking(one, doctor_id, now)
        await availability.for_booking(other, doctor_id, now)
        changing = asyncio.create_task(change())
        await _until_it_waits(db, await pid)
    await changing


async def test_nobody_can_book_a_doctor_who_is_unknown_or_not_verified(
    db: Database, people: People, some_id: UUID, now: datetime
) -> None:
    unverified = (await people.doctor(verified=False)).id
    for doctor_id in (some_id, unverified):
        async with db.transaction() as connection:
            with pytest.raises(DoctorUnavailable) as refused:
                await availability.for_booking(connection, doctor_id, now)
        assert refused.value.faults[0].pointer == "/doctor_id"


async def test_a_new_doctor_is_not_verified_and_offers_nothing(db: Database, people: People) -> None:
    person = await people.patient()
    async with db.transaction() as connection:
        await doctor.create(connection, person.id, "Dr Kavya Nair", "Europe/Berlin")
        found = await doctor.find(connection, person.id)
        calendar = await availability.find(connection, person.id)
    assert found is not None
    assert (found.doctor.full_name, found.doctor.verified, found.doctor.modes) == ("Dr Kavya Nair", False, [])
    assert (calendar.availability.time_zone, calendar.availability.rules) == ("Europe/Berlin", ())
