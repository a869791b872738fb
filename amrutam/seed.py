"""The demo's data. Running it again adds what is missing and leaves what is there as it is."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID

from amrutam import seed_people
from amrutam.crypto import Keyring
from amrutam.domain.auth import Profile, Sex
from amrutam.domain.common import Role
from amrutam.ids import first_id_at, new_id
from amrutam.passwords import Passwords
from amrutam.seed_people import DemoDoctor
from amrutam.settings import Settings
from amrutam.storage import auth, availability, doctor, verification
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection, Database

PASSWORD = "Amrutam-demo-1"  # noqa: S105 - of the demo's accounts, which `make up` prints
# The moment that ids of the demo begin with; behind it they are numbered.
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
# Accounts in one transaction: few enough for its time limit, so many that commits cost little.
_TOGETHER = 25


class _Account(NamedTuple):
    """Somebody who can sign in; with `practice` a doctor."""

    number: int
    email: str
    role: Role
    profile: Profile
    practice: DemoDoctor | None = None
    verified: bool = True

    @property
    def id(self) -> UUID:
        """The same at every start."""
        return UUID(int=first_id_at(_BEGINNING).int + self.number)


async def seed_demo(settings: Settings, keyring: Keyring, say: Callable[[str], None]) -> None:
    """Add what is missing to the database that the settings name. Raises DatabaseUnavailable."""
    started = time.monotonic()
    db = await Database.connect(settings.database_url.get_secret_value(), size=2, application="amrutam-seed")
    try:
        passwords = Passwords(memory_kib=settings.password_memory_kib, passes=settings.password_passes)
        password_hash = await passwords.hash(PASSWORD)  # one for all
        made = await seed(db, PersonKeys(keyring), password_hash)
    finally:
        await db.close()
    say(f"demo data: {made} accounts added in {time.monotonic() - started:.1f} s")


async def seed(db: Database, keys: PersonKeys, password_hash: str) -> int:
    """Add the accounts that are missing, each whole or not at all; returns how many."""
    accounts, made = _accounts(), 0
    for start in range(0, len(accounts), _TOGETHER):
        async with db.transaction() as connection:
            for account in accounts[start : start + _TOGETHER]:
                made += await _add(connection, keys, password_hash, account)
    return made


async def _add(db: Connection, keys: PersonKeys, password_hash: str, account: _Account) -> bool:
    """False when the address has an account already. A demo doctor who lost the verification is made good."""
    if not await auth.insert(db, keys, account.id, account.email, password_hash, [account.role], account.profile):
        if account.practice and account.verified:
            await _reopen_practice(db, account.id, account.practice)
        return False
    await auth.mark_verified(db, account.id, password_hash)
    if account.practice:
        await _open_practice(db, account.id, account.practice, verified=account.verified)
    return True


async def _open_practice(db: Connection, doctor_id: UUID, practice: DemoDoctor, *, verified: bool) -> None:
    await doctor.create(db, doctor_id, practice.profile.full_name, practice.availability.time_zone)
    await doctor.edit(db, doctor_id, practice.profile, verified=False)
    if verified:
        await doctor.verify(db, doctor_id)
    await availability.replace(db, doctor_id, practice.availability)
    for exception in seed_people.exceptions(practice, datetime.now(UTC).date()):
        await availability.add_exception(db, new_id(), doctor_id, exception)


async def _reopen_practice(db: Connection, doctor_id: UUID, practice: DemoDoctor) -> None:
    """Nobody verifies the demo's doctors but us: without this, trying an edit of the name would end the demo.

    Whom an administrator has suspended stays so.
    """
    stands = await doctor.find(db, doctor_id)
    if stands and not stands.doctor.verified and await verification.may_practise(db, doctor_id):
        await doctor.lock(db, doctor_id)
        await doctor.edit(db, doctor_id, practice.profile, verified=False)
        await doctor.verify(db, doctor_id)


def _accounts() -> Sequence[_Account]:
    practices = [*seed_people.doctors(), seed_people.priced_doctor(), seed_people.free_doctor()]
    others = _others()
    return [
        *(_doctor(practice) for practice in practices),
        *(
            _Account(len(practices) + index, f"{name}@demo.amrutam.test", role, profile)
            for index, (name, role, profile) in enumerate(others)
        ),
        _doctor(seed_people.applicant(len(practices) + len(others)))._replace(verified=False),
    ]


def _doctor(practice: DemoDoctor) -> _Account:
    profile = Profile(full_name=practice.profile.full_name, time_zone=practice.availability.time_zone, address=None)
    return _Account(practice.number, practice.email, Role.DOCTOR, profile, practice)


def _others() -> list[tuple[str, Role, Profile]]:
    patient = Profile(
        full_name="Nisha Verma",
        date_of_birth=date(1991, 4, 12),
        sex=Sex.FEMALE,
        phone="+919800000001",
        address="12 Lake Road, Bengaluru 560001",
        time_zone="Asia/Kolkata",
        locale="en-IN",
    )
    patient2 = Profile(
        full_name="Farhan Ali",
        date_of_birth=date(1968, 11, 2),
        sex=Sex.MALE,
        phone="+919800000002",
        address="7 Park Street, Kolkata 700016",
        time_zone="Asia/Kolkata",
        locale="en-IN",
    )
    staff = {"support": "Sam Support", "admin": "Ada Admin"}
    return [
        ("patient", Role.PATIENT, patient),
        ("patient2", Role.PATIENT, patient2),
        *((name, Role(name), Profile(full_name=full_name, address=None)) for name, full_name in staff.items()),
    ]
