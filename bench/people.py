"""Who books whom: accounts made by the storage that registration uses, with tokens signed by the system's own key."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import NamedTuple
from uuid import UUID

from amrutam.domain.auth import Profile
from amrutam.domain.availability import Availability
from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Mode, Money, Role
from amrutam.domain.doctor import EditDoctor
from amrutam.domain.sessions import Session
from amrutam.ids import new_id
from amrutam.stack.ports import LOOPBACK
from amrutam.storage import auth, availability, doctor, sessions
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.storage.sessions import Device
from amrutam.tokens import AccessTokens, Principal
from bench.system import System

PASSWORD = "a wish that only patients of a bench have"  # noqa: S105 - of accounts that live as long as the run
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DOMAIN = "bench.amrutam.test"
# Longer than any run.
TOKEN_LIFE = timedelta(hours=2)
# Bookings are for the day after tomorrow: no slot passes while the run goes on.
AHEAD = timedelta(days=2)
SEED = 4

# Each is listed for searches, too: so many fit into the time of a statement.
AT_ONCE = 1_000
COPIES = """
WITH made AS (
    INSERT INTO users (id, email, password_hash, full_name, roles, time_zone, locale)
    SELECT uuidv7(), 'copy-' || uuidv7() || '@bench.amrutam.test', 'no password', u.full_name, u.roles, u.time_zone,
           u.locale
    FROM users u, generate_series(1, $2::int) n WHERE u.id = $1
    RETURNING id
), copied AS (
    INSERT INTO doctors (id, full_name, gender, specialties, languages, bio, years_of_experience, qualifications,
                         modes, fees, lowest_fee, verified_at)
    SELECT made.id, full_name, gender, specialties, languages, bio, years_of_experience, qualifications,
           modes, fees, lowest_fee, verified_at
    FROM doctors d, made WHERE d.id = $1
    RETURNING id
)
INSERT INTO calendars (doctor_id, availability)
SELECT copied.id, c.availability FROM calendars c, copied WHERE c.doctor_id = $1
RETURNING doctor_id"""


class Wish(NamedTuple):
    """One booking that nothing stands against."""

    token: str
    doctor_id: UUID
    starts_at: datetime


class People:
    """Makes them."""

    def __init__(self, system: System, db: Database) -> None:
        self._db = db
        self._owner = system.owner
        self._keys = PersonKeys(system.keyring)
        self._tokens = AccessTokens(system.keyring, system.settings.public_url, TOKEN_LIFE)

    async def patient(self) -> str:
        """A patient's token."""
        user_id, now = await self._user(Role.PATIENT), datetime.now(UTC)
        session = Session(
            id=new_id(),
            user_id=user_id,
            roles=frozenset({Role.PATIENT}),
            authenticated_at=now,
            methods=["pwd"],
        )
        device = Device(None, "bench", LOOPBACK)
        async with self._db.transaction() as db:
            await sessions.insert(db, self._keys, session, device, now + TOKEN_LIFE, user_id.bytes)
        who = Principal(user_id=user_id, session_id=session.id, roles=session.roles)
        return self._tokens.issue(who, now=now, auth_time=now, methods=["pwd"])

    async def account(self, password_hash: str) -> str:
        """A patient who can sign in; the address."""
        user_id = await self._user(Role.PATIENT)
        async with self._db.transaction() as db:
            await auth.mark_verified(db, user_id, password_hash)
        return f"{user_id.hex}@{DOMAIN}"

    async def doctor(self, start: str, end: str, slot_minutes: int, fee: int = 0) -> UUID:
        """A verified doctor for video, without a fee unless told otherwise, with the same hours each day, in UTC."""
        user_id = await self._user(Role.DOCTOR)
        profile = EditDoctor(
            full_name="Dr Meera Iyer",
            specialties=[Specialty.DERMATOLOGY],
            languages=[Language.ENGLISH],
            fees={Mode.VIDEO: Money(amount=fee, currency="INR")},
        )
        rules = [{"weekday": day, "start": start, "end": end, "modes": ["video"]} for day in WEEK]
        hours = Availability.model_validate({"time_zone": "UTC", "slot_minutes": slot_minutes, "rules": rules})
        async with self._db.transaction() as db:
            await doctor.create(db, user_id, profile.full_name, "UTC")
            await doctor.edit(db, user_id, profile, verified=False)
            await doctor.verify(db, user_id)
            await availability.replace(db, user_id, hours)
        return user_id

    async def directory(self, doctor_id: UUID, count: int) -> list[UUID]:
        """So many copies of a doctor, whom nobody has read yet."""
        async with self._owner.connection() as db:
            copies = list[UUID]()
            while len(copies) < count:
                rows = await db.fetch(COPIES, doctor_id, min(AT_ONCE, count - len(copies)))
                copies += (row["doctor_id"] for row in rows)
            await db.execute("ANALYZE users, doctors, calendars")
        return copies

    async def wishes(self, doctors: int, days: int = 1, fee: int = 0) -> Iterator[Wish]:
        """Distinct slots of so many doctors and days, in a mixed order; nobody is asked to be in two places."""
        ids = [await self.doctor("00:00", "00:00", 15, fee) for _ in range(doctors)]
        tokens = [await self.patient() for _ in range(doctors * 5)]
        day = (datetime.now(UTC) + AHEAD).replace(hour=0, minute=0, second=0, microsecond=0)
        places = list(product(range(doctors), range(96 * days)))
        random.Random(SEED).shuffle(places)  # noqa: S311 - an order that is the same in every run
        return (
            Wish(tokens[(doctor + quarter) % len(tokens)], ids[doctor], day + quarter * timedelta(minutes=15))
            for doctor, quarter in places
        )

    async def _user(self, role: Role) -> UUID:
        user_id = new_id()
        profile = Profile(full_name="Asha Rao", time_zone="Asia/Kolkata")
        async with self._db.transaction() as db:
            email = f"{user_id.hex}@{DOMAIN}"
            await auth.insert(db, self._keys, user_id, email, "no password", [role], profile)
            await auth.mark_verified(db, user_id, "no password")
        return user_id
