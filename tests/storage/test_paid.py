"""What becomes of money that was captured: by the steps that workflows call, with holds that run out when told."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from amrutam.crypto import Keyring
from amrutam.domain.audit import Actor
from amrutam.domain.availability import Availability
from amrutam.domain.booking import Booking, Status
from amrutam.domain.common import Money, Role
from amrutam.domain.payment import AskPayment, Charge, PaymentStatus
from amrutam.ids import new_id
from amrutam.storage import availability
from amrutam.storage import payment as payments
from amrutam.storage.pool import Database
from tests.people import EVERY_HOUR, People, Person
from tests.storage.desk import Desk

FEE = Money(amount=50_000, currency="INR")


class Till:
    """Books at a doctor who wants to be paid, and takes money."""

    def __init__(self, db: Database, owner: Database, desk: Desk, people: People, doctor: Person) -> None:
        self._db, self._owner, self._desk, self._people, self._doctor = db, owner, desk, people, doctor
        self.noon = (datetime.now(UTC) + timedelta(days=3)).replace(hour=6, minute=30, second=0, microsecond=0)

    async def book(self) -> Booking:
        """The time at noon, held."""
        return await self._desk.book((await self._people.patient()).id, self._doctor.id, self.noon)

    async def capture(self, booking: Booking, amount: Money = FEE) -> UUID:
        """Money for the booking, as a gateway has taken it; returns the payment's id."""
        actor = Actor(id=booking.patient_id, role=Role.PATIENT, request_id="till")
        ask = AskPayment(
            payment_id=new_id(), booking_id=booking.id, gateway="sandbox", return_url="https://x.test", actor=actor
        )
        now = datetime.now(UTC)
        async with self._db.transaction() as db:
            await payments.insert(db, ask, booking.patient_id, booking.fee, now, now + timedelta(hours=1))
            payment = await payments.lock(db, ask.payment_id)
            charge = Charge(
                gateway="sandbox",
                id=str(new_id()),
                payment_id=payment.id,
                amount=amount,
                captured_at=now,
                decision=None,
            )
            assert await payments.record(db, payment, charge)
            assert not await payments.record(db, payment, charge)
            # So that the next payment of this booking is another one.
            await db.execute("UPDATE payments SET status = 'refunding' WHERE id = $1", payment.id)
        return payment.id

    async def run_out(self, booking: Booking) -> None:
        """The hold's time passes."""
        async with self._owner.transaction() as db:
            past = datetime.now(UTC) - timedelta(seconds=1)
            await db.execute("UPDATE claims SET expires_at = $2 WHERE booking_id = $1", booking.id, past)
            await db.execute("UPDATE bookings SET expires_at = $2 WHERE id = $1", booking.id, past)

    async def begin(self, booking: Booking) -> None:
        """The visit's time comes."""
        async with self._owner.transaction() as db:
            await db.execute("UPDATE bookings SET starts_at = now() WHERE id = $1", booking.id)

    async def change_slots(self, minutes: int) -> None:
        """The doctor's slots are of another length from now on."""
        async with self._owner.transaction() as db:
            hours = Availability.model_validate({**EVERY_HOUR, "slot_minutes": minutes})
            await availability.replace(db, self._doctor.id, hours)

    async def settle(self, booking: Booking) -> Booking:
        """As the booking's workflow does it, twice: a signal may come twice."""
        first = await self._desk.steps.settle(booking.id)
        assert await self._desk.steps.settle(booking.id) == first
        return first

    async def expire(self, booking: Booking) -> Booking:
        """As the booking's workflow does it."""
        return await self._desk.steps.expire(booking.id)

    async def causes(self, payment_id: UUID) -> list[str]:
        """Why what goes back goes back."""
        async with self._db.connection() as db:
            return [refund.cause for refund in await payments.refunds(db, payment_id)]


@pytest.fixture
async def till(
    db: Database, owner: Database, redis: Redis, keyring: Keyring, people: People
) -> AsyncGenerator[Till, None]:
    """A till at a doctor of its own. A booking without a workflow would be a finding of `verify`; money may stay."""
    desk = Desk(db, redis, keyring, lambda: datetime.now(UTC))
    doctor = await people.doctor(fee=FEE.amount)
    yield Till(db, owner, desk, people, doctor)
    await desk.clear()


async def test_money_in_time_confirms(till: Till, db: Database) -> None:
    booking = await till.book()
    payment_id = await till.capture(booking)
    paid = await till.settle(booking)
    assert (paid.status, paid.expires_at, await till.causes(payment_id)) == (Status.CONFIRMED, None, [])
    async with db.connection() as connection:
        payment = await payments.find(connection, payment_id)
    assert payment
    assert payment.status is PaymentStatus.PAID


@pytest.mark.parametrize("expired", [False, True], ids=["before its workflow knows", "after its workflow has let go"])
async def test_money_after_the_hold_confirms_while_the_time_is_still_free(till: Till, *, expired: bool) -> None:
    booking = await till.book()
    payment_id = await till.capture(booking)
    await till.run_out(booking)
    if expired:
        assert (await till.expire(booking)).status is Status.EXPIRED
    assert (await till.settle(booking)).status is Status.CONFIRMED
    assert await till.causes(payment_id) == []


@pytest.mark.parametrize("expired", [False, True], ids=["before its workflow knows", "after its workflow has let go"])
async def test_money_after_the_hold_goes_back_where_somebody_else_has_the_time(till: Till, *, expired: bool) -> None:
    booking = await till.book()
    payment_id = await till.capture(booking)
    await till.run_out(booking)
    if expired:
        await till.expire(booking)
    other = await till.book()
    settled = await till.settle(booking)
    assert settled.status is not Status.CONFIRMED
    assert await till.causes(payment_id) == ["late"]
    if not expired:
        assert (await till.expire(booking)).status is Status.EXPIRED
    second = await till.capture(other)
    assert (await till.settle(other)).status is Status.CONFIRMED
    assert await till.causes(second) == []


async def test_money_that_comes_when_the_visit_has_begun_goes_back(till: Till) -> None:
    booking = await till.book()
    payment_id = await till.capture(booking)
    await till.begin(booking)
    assert (await till.settle(booking)).status is Status.HELD
    assert await till.causes(payment_id) == ["late"]


async def test_a_time_whose_length_has_changed_meanwhile_is_not_taken_again(till: Till) -> None:
    booking = await till.book()
    payment_id = await till.capture(booking)
    await till.run_out(booking)
    await till.change_slots(30)
    assert (await till.settle(booking)).status is Status.HELD
    assert await till.causes(payment_id) == ["late"]


async def test_who_pays_twice_gets_the_second_back(till: Till) -> None:
    booking = await till.book()
    first, second = await till.capture(booking), await till.capture(booking)
    assert (await till.settle(booking)).status is Status.CONFIRMED
    assert (await till.causes(first), await till.causes(second)) == ([], ["duplicate"])
    third = await till.capture(booking)
    await till.settle(booking)
    assert await till.causes(third) == ["duplicate"]


@pytest.mark.parametrize("amount", [Money(amount=49_999, currency="INR"), Money(amount=50_000, currency="USD")])
async def test_what_is_not_the_fee_confirms_nothing_and_goes_back(till: Till, amount: Money) -> None:
    booking = await till.book()
    payment_id = await till.capture(booking, amount)
    assert (await till.settle(booking)).status is Status.HELD
    assert await till.causes(payment_id) == ["amount"]


async def test_without_money_nothing_is_confirmed(till: Till) -> None:
    booking = await till.book()
    assert (await till.settle(booking)).status is Status.HELD


async def _write_one_sided(db: Database, payment_id: UUID) -> None:
    async with db.transaction() as connection:
        movement = await connection.fetchval(
            "INSERT INTO ledger_movements (kind, cause, payment_id) VALUES ('applied', $1, $2) RETURNING id",
            str(new_id()), payment_id,
        )  # fmt: skip
        await connection.execute("INSERT INTO ledger_entries VALUES ($1, 'visit', 5, 'INR')", movement)


async def test_the_ledger_takes_no_movement_that_does_not_balance_and_no_change(till: Till, db: Database) -> None:
    payment_id = await till.capture(await till.book())
    with pytest.raises(asyncpg.CheckViolationError):
        await _write_one_sided(db, payment_id)
    for change in ("UPDATE ledger_entries SET amount = 1", "DELETE FROM ledger_entries"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with db.connection() as connection:
                await connection.execute(change)
