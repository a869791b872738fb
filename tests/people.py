"""People for tests: accounts made by the storage that registration uses, with tokens signed by the system's own key."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from amrutam.crypto import Keyring
from amrutam.domain.auth import Profile
from amrutam.domain.availability import Availability
from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Mode, Money, Role
from amrutam.domain.doctor import EditDoctor
from amrutam.ids import new_id
from amrutam.storage import auth, availability, doctor
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.tokens import AccessTokens, Principal

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_HOUR: dict[str, Any] = {
    "time_zone": "Asia/Kolkata",
    "slot_minutes": 15,
    "rules": [{"weekday": day, "start": "00:00", "end": "00:00", "modes": ["video", "chat"]} for day in WEEK],
}


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in."""

    id: UUID
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What each of their requests carries."""
        return {"Authorization": f"Bearer {self.token}"}

    def writing(self, key: str | None = None) -> dict[str, str]:
        """The same with an idempotency key, a new one unless it is given."""
        return {**self.headers, "Idempotency-Key": key or str(new_id())}


class People:
    """Makes accounts that nobody else has."""

    def __init__(self, db: Database, keyring: Keyring, tokens: AccessTokens) -> None:
        self._db = db
        self._keys = PersonKeys(keyring)
        self._tokens = tokens

    async def patient(self) -> Person:
        """A patient."""
        return await self._person(Role.PATIENT)

    async def staff(self, role: Role) -> Person:
        """Support or an administrator."""
        return await self._person(role)

    async def doctor(self, *, fee: int = 0, verified: bool = True, **hours: Any) -> Person:
        """A doctor for video and chat at `fee` paise; `hours` replaces fields of an availability of every hour."""
        person = await self._person(Role.DOCTOR)
        fees = {mode: Money(amount=fee, currency="INR") for mode in (Mode.VIDEO, Mode.CHAT)}
        profile = EditDoctor(
            full_name="Dr Meera Iyer",
            specialties=[Specialty.DERMATOLOGY],
            languages=[Language.ENGLISH],
            fees=fees,
        )
        async with self._db.transaction() as db:
            await doctor.create(db, person.id, "Dr Meera Iyer", "Asia/Kolkata")
            await doctor.edit(db, person.id, profile, verified=False)
            if verified:
                await doctor.verify(db, person.id)
            await availability.replace(db, person.id, Availability.model_validate({**EVERY_HOUR, **hours}))
        return person

    async def _person(self, role: Role) -> Person:
        user_id = new_id()
        email = f"{user_id.hex}@test.amrutam.test"
        profile = Profile(full_name="Asha Rao", time_zone="Asia/Kolkata")
        async with self._db.transaction() as db:
            await auth.insert(db, self._keys, user_id, email, "no password", [role], profile)
            await auth.mark_verified(db, user_id, "no password")
        now = datetime.now(UTC)
        who = Principal(user_id=user_id, session_id=new_id(), roles=frozenset({role}))
        return Person(user_id, email, self._tokens.issue(who, now=now, auth_time=now, methods=["pwd"]))
