"""A cap a day, kept by the database alone while many book at once; and what `verify` says of calendars."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from amrutam.crypto import Keyring
from amrutam.domain.common import Mode
from amrutam.domain.errors import DomainError
from amrutam.invariants import INVARIANTS
from amrutam.storage.pool import Database
from amrutam.verify import Scope, offenders
from tests.people import People
from tests.storage.desk import Desk

MOST, RACERS = 3, 30
HOUR = timedelta(hours=1)


async def test_many_who_book_different_times_of_one_day_at_once_never_exceed_its_cap(
    wide: Database, redis: Redis, keyring: Keyring, people: People
) -> None:
    doctor = await people.doctor(time_zone="Asia/Kolkata", slot_minutes=20, max_bookings_per_day=MOST)
    patients = [await people.patient() for _ in range(RACERS)]
    desk = Desk(wide, redis, keyring, lambda: datetime.now(UTC))
    # From 22:00 on the doctor's clock: the first six times are of one date, the others of the next.
    evening = (datetime.now(UTC) + timedelta(days=3)).replace(hour=16, minute=30, second=0, microsecond=0)

    async def try_it(number: int) -> str:
        try:
            booked = await desk.book(
                patients[number].id, doctor.id, evening + timedelta(minutes=20 * (number % 12)), Mode.VIDEO
            )
        except DomainError as refusal:
            return refusal.code
        return booked.status

    try:
        told = Counter(await asyncio.gather(*map(try_it, range(RACERS))))
        assert told == {"confirmed": 2 * MOST, "slot_taken": RACERS - 2 * MOST}
        async with wide.connection() as db:
            starts = await db.fetch("SELECT starts_at FROM bookings WHERE doctor_id = $1", doctor.id)
        midnight = evening + timedelta(hours=2)
        assert Counter(row["starts_at"] < midnight for row in starts) == {True: MOST, False: MOST}
    finally:
        await desk.clear()


async def test_verify_names_a_day_over_its_cap_unless_the_cap_was_lowered_afterwards(
    db: Database, owner: Database, redis: Redis, keyring: Keyring, people: People
) -> None:
    doctor = await people.doctor(time_zone="Asia/Kolkata")
    desk = Desk(db, redis, keyring, lambda: datetime.now(UTC))
    noon = (datetime.now(UTC) + timedelta(days=3)).replace(hour=6, minute=30, second=0, microsecond=0)
    invariant = next(each for each in INVARIANTS if each.name == "no day holds more bookings than its doctor takes")
    try:
        for number in range(2):
            await desk.book((await people.patient()).id, doctor.id, noon + timedelta(hours=number))
        async with owner.connection() as connection:
            for most, changed, named in ((1, HOUR, True), (2, HOUR, False), (1, 0 * HOUR, False)):
                rolled_back = connection.transaction()
                await rolled_back.start()
                await connection.execute(
                    """UPDATE calendars SET updated_at = now() - $3::interval,
                              availability = availability || jsonb_build_object('max_bookings_per_day', $2::int)
                       WHERE doctor_id = $1""",
                    doctor.id, most, changed,
                )  # fmt: skip
                found = await offenders(connection, invariant, Scope(datetime.now(UTC)))
                await rolled_back.rollback()
                assert (f"{doctor.id} on {noon:%Y-%m-%d}" in found) is named
    finally:
        await desk.clear()


async def test_verify_names_an_exception_of_another_shape(owner: Database, people: People) -> None:
    doctor = await people.doctor()
    invariant = next(each for each in INVARIANTS if each.name.startswith("extra hours say how one can meet"))
    async with owner.connection() as connection:
        rolled_back = connection.transaction()
        await rolled_back.start()
        try:
            await connection.execute("ALTER TABLE availability_exceptions DROP CONSTRAINT availability_exceptions_kind")
            add = """INSERT INTO availability_exceptions (id, doctor_id, during, kind, modes)
                     VALUES (uuidv7(), $1, tstzrange(now(), now() + $2::interval), $3, $4) RETURNING id::text"""
            day, long = timedelta(days=1), timedelta(days=367)
            await connection.execute(add, doctor.id, day, "extra", ["video"])
            wrong = [
                await connection.fetchval(add, doctor.id, *each)
                for each in (
                    (day, "extra", None),
                    (2 * day, "extra", ["video"]),
                    (day, "block", ["video"]),
                    (long, "leave", None),
                )
            ]
            assert sorted(await offenders(connection, invariant, Scope(datetime.now(UTC)))) == sorted(wrong)
        finally:
            await rolled_back.rollback()
