"""What the trail keeps of an act, sealed for the person whom it concerns, and how it is found again."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from amrutam.crypto import Keyring, SealError
from amrutam.domain.audit import Actor, AuditEntry, Outcome
from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.storage import audit
from amrutam.storage.audit import Caller, Filters, Origin
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database, Row
from tests.people import People

TRACE = "0af7651916cd43dd8448eb211c80319c"
ADDRESS = "2001:db8::7"


class Trail(NamedTuple):
    """The trail with the keys of those in it."""

    db: Database
    keys: PersonKeys

    def caller(self, id: UUID, role: Role = Role.DOCTOR) -> Caller:
        """Somebody by a request of their own."""
        return Caller.by(self.origin(), id, role)

    def origin(self) -> Origin:
        """A request."""
        return Origin(new_id().hex, TRACE, ADDRESS, self.keys)

    async def read(self, filters: Filters, before: UUID | None = None, limit: int = 100) -> list[AuditEntry]:
        """What an administrator sees."""
        async with self.db.transaction() as db:
            return await audit.page(db, self.keys, filters, before, limit)

    async def row(self, subject: UUID) -> Row:
        """What lies in the database."""
        async with self.db.connection() as db:
            row = await db.fetchrow("SELECT * FROM audit WHERE subject = $1", subject)
        assert row
        return row


@pytest.fixture
def trail(db: Database, keyring: Keyring) -> Trail:
    """Nobody's keys are known yet."""
    return Trail(db, PersonKeys(keyring))


async def test_an_act_says_who_what_whence_why_and_by_which_request(trail: Trail, people: People) -> None:
    doctor, patient, subject = (await people.doctor()).id, (await people.patient()).id, new_id()
    caller = trail.caller(doctor).because("Follow-up call")
    async with trail.db.transaction() as db:
        await audit.append(db, caller, "booking.read", subject, patient_id=patient)
    [entry] = await trail.read(Filters(subject=subject))
    assert entry == AuditEntry(
        id=entry.id,
        at=entry.at,
        actor_id=doctor,
        actor_role="doctor",
        action="booking.read",
        subject=subject,
        patient_id=patient,
        outcome=Outcome.DONE,
        reason="Follow-up call",
        address=ADDRESS,
        request_id=caller.request_id,
        trace_id=TRACE,
    )


async def test_address_and_reason_lie_sealed_for_the_patient_else_for_who_acted(trail: Trail, people: People) -> None:
    doctor, patient, about, alone = (await people.doctor()).id, (await people.patient()).id, new_id(), new_id()
    async with trail.db.transaction() as db:
        await audit.append(db, trail.caller(doctor).because("Why"), "booking.read", about, patient_id=patient)
        await audit.append(db, trail.caller(doctor).because("Why"), "doctor.edit", alone)
    for subject, person in ((about, patient), (alone, doctor)):
        row = await trail.row(subject)
        assert row["sealed_for"] == person
        for column, plain in (("address", ADDRESS), ("reason", "Why")):
            assert plain.encode() not in row[column]


async def test_erasing_a_person_makes_it_unreadable_and_leaves_the_row(
    trail: Trail, people: People, keyring: Keyring
) -> None:
    doctor, patient, subject = (await people.doctor()).id, (await people.patient()).id, new_id()
    async with trail.db.transaction() as db:
        await audit.append(db, trail.caller(doctor).because("Why"), "booking.read", subject, patient_id=patient)
    before = await trail.row(subject)
    async with trail.db.connection() as db:
        await db.execute("DELETE FROM data_keys WHERE person_id = $1", patient)
    [entry] = await Trail(trail.db, PersonKeys(keyring)).read(Filters(subject=subject))
    assert (entry.address, entry.reason, entry.actor_id) == (None, None, doctor)
    assert await trail.row(subject) == before


async def test_what_concerns_somebody_without_a_key_keeps_no_address(trail: Trail, people: People) -> None:
    doctor, subject = (await people.doctor()).id, new_id()
    async with trail.db.transaction() as db:
        await audit.append(db, trail.caller(doctor), "booking.read", subject, patient_id=new_id())
    row = await trail.row(subject)
    assert (row["address"], row["sealed_for"]) == (None, None)


async def test_a_sealed_address_that_was_moved_to_another_request_does_not_open(trail: Trail, people: People) -> None:
    doctor, subject = (await people.doctor()).id, new_id()
    here, there = trail.caller(doctor), trail.caller(doctor)
    async with trail.db.transaction() as db:
        carried = await audit.carried(db, here)
        await audit.append(db, carried.model_copy(update={"request_id": there.request_id}), "doctor.edit", subject)
    with pytest.raises(SealError):
        await trail.read(Filters(subject=subject))


async def test_an_actor_travels_sealed_and_arrives_as_the_same(trail: Trail, people: People) -> None:
    doctor, patient, subject = (await people.doctor()).id, (await people.patient()).id, new_id()
    async with trail.db.connection() as db:
        carried = await audit.carried(db, trail.caller(doctor).because("Why"), patient)
    assert type(carried) is Actor
    text = carried.model_dump_json()
    assert ADDRESS not in text
    async with trail.db.transaction() as db:
        await audit.append(db, Actor.model_validate_json(text), "booking.cancel", subject, patient_id=patient)
    [entry] = await trail.read(Filters(subject=subject))
    assert (entry.address, entry.reason, entry.trace_id) == (ADDRESS, "Why", TRACE)


def test_a_caller_who_is_not_sealed_loses_the_address_rather_than_show_it(trail: Trail) -> None:
    assert ADDRESS not in trail.caller(new_id()).because(ADDRESS).model_dump_json()


def test_an_actor_of_an_older_history_is_still_read() -> None:
    old = {"id": str(new_id()), "role": "patient", "request_id": "r"}
    assert Actor.model_validate(old).address is None


async def test_a_copy_in_another_role_keeps_the_request(trail: Trail, people: People) -> None:
    doctor, subject = (await people.doctor()).id, new_id()
    as_patient = trail.caller(doctor).model_copy(update={"role": Role.PATIENT})
    async with trail.db.transaction() as db:
        await audit.append(db, as_patient, "booking.read", subject)
    [entry] = await trail.read(Filters(subject=subject))
    assert (entry.actor_role, entry.address) == ("patient", ADDRESS)


async def test_a_list_is_noted_for_each_patient_apart(trail: Trail, people: People) -> None:
    doctor, patients = (await people.doctor()).id, {(await people.patient()).id for _ in range(3)}
    nobody, caller = new_id(), trail.caller(doctor)
    async with trail.db.transaction() as db:
        await audit.append_reads(db, caller, "booking.list", doctor, patients | {nobody})
    entries = await trail.read(Filters(actor_id=doctor, action="booking.list"))
    assert {entry.patient_id: entry.address for entry in entries} == {
        **dict.fromkeys(patients, ADDRESS),
        nobody: None,
    }
    assert {entry.request_id for entry in entries} == {caller.request_id}


async def test_a_list_of_nobody_is_not_noted(trail: Trail) -> None:
    caller = trail.caller(new_id())
    async with trail.db.transaction() as db:
        await audit.append_reads(db, caller, "booking.list", caller.id, [])
    assert await trail.read(Filters(actor_id=caller.id)) == []


async def test_a_stranger_is_noted_without_a_name(trail: Trail, people: People) -> None:
    account, mark = (await people.patient()).id, new_id()
    async with trail.db.transaction() as db:
        await audit.append_stranger(db, trail.origin(), "auth.login", account)
        await audit.append_stranger(db, trail.origin(), "auth.login", mark)
    for subject, address in ((account, ADDRESS), (mark, None)):
        [entry] = await trail.read(Filters(subject=subject))
        assert (entry.actor_id, entry.actor_role, entry.outcome) == (None, "stranger", Outcome.REFUSED)
        assert entry.address == address


@pytest.fixture
async def acts(trail: Trail, people: People) -> list[AuditEntry]:
    """A doctor's acts, the newest first: two reads of a patient's booking, an edit, a denial."""
    doctor, patient = (await people.doctor()).id, (await people.patient()).id
    booking = new_id()
    for action, subject, about, outcome in (
        ("booking.read", booking, patient, Outcome.DONE),
        ("booking.read", booking, patient, Outcome.DONE),
        ("doctor.edit", doctor, None, Outcome.DONE),
        ("bookings_read", booking, patient, Outcome.DENIED),
    ):
        async with trail.db.transaction() as db:
            await audit.append(db, trail.caller(doctor), action, subject, patient_id=about, outcome=outcome)
    return await trail.read(Filters(actor_id=doctor))


BY: list[tuple[Callable[[AuditEntry], Filters], list[int]]] = [
    (lambda act: Filters(actor_id=act.actor_id), [0, 1, 2, 3]),
    (lambda act: Filters(patient_id=act.patient_id), [0, 2, 3]),
    (lambda act: Filters(subject=act.subject), [0, 2, 3]),
    (lambda act: Filters(actor_id=act.actor_id, action="booking.read"), [2, 3]),
    (lambda act: Filters(actor_id=act.actor_id, outcome=Outcome.DENIED), [0]),
    (lambda act: Filters(actor_id=act.actor_id, outcome=Outcome.REFUSED), []),
    (lambda act: Filters(actor_id=act.actor_id, since=act.at - timedelta(hours=1)), [0, 1, 2, 3]),
    (lambda act: Filters(actor_id=act.actor_id, since=act.at + timedelta(hours=1)), []),
    (lambda act: Filters(actor_id=act.actor_id, until=act.at - timedelta(hours=1)), []),
    (lambda act: Filters(actor_id=act.id), []),
]


@pytest.mark.parametrize(("by", "expected"), BY)
async def test_acts_are_found_by_what_is_asked(
    trail: Trail, acts: list[AuditEntry], by: Callable[[AuditEntry], Filters], expected: list[int]
) -> None:
    assert await trail.read(by(acts[0])) == [acts[position] for position in expected]


async def test_a_page_goes_on_where_the_one_before_ended(trail: Trail, acts: list[AuditEntry]) -> None:
    mine = Filters(actor_id=acts[0].actor_id)
    first = await trail.read(mine, limit=3)
    assert first + await trail.read(mine, before=first[-1].id, limit=3) == acts


async def test_a_patient_sees_what_others_did_and_nothing_else(
    trail: Trail, acts: list[AuditEntry], now: datetime
) -> None:
    patient = acts[0].patient_id
    assert patient
    async with trail.db.transaction() as db:
        await audit.append(db, trail.caller(patient, Role.PATIENT), "booking.cancel", patient, patient_id=patient)
        await audit.append_system(db, "booking.expire", patient, patient_id=patient)
        seen = await audit.accesses(db, patient, None, 10)
    assert [(each.action, each.actor_name, each.actor_role) for each in seen] == [
        ("booking.read", "Asha Rao", "doctor")
    ] * 2
    assert all(abs(each.at - now) < timedelta(minutes=5) for each in seen)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_seals SET digest = marks",
        "DELETE FROM audit_seals",
        "TRUNCATE audit_seals",
        "DROP TABLE audit_seals",
    ],
)
async def test_the_application_may_not_touch_a_seal(db: Database, statement: str) -> None:
    async with db.transaction() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
