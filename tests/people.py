"""People for tests: accounts made by the storage that registration uses, with tokens signed by the system's own key."""

import base64
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from amrutam.crypto import Keyring
from amrutam.domain import mfa as mfa_rules
from amrutam.domain.auth import Profile
from amrutam.domain.availability import Availability
from amrutam.domain.catalogue import Language, Specialty
from amrutam.domain.common import Mode, Money, Role
from amrutam.domain.doctor import EditDoctor
from amrutam.domain.sessions import Session
from amrutam.ids import new_id
from amrutam.stack.ports import LOOPBACK
from amrutam.storage import auth, availability, doctor, mfa, sessions, staff_sessions
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection, Database
from amrutam.storage.sessions import Device
from amrutam.tokens import AccessTokens, Principal
from web.staff_session import CSRF_HEADER, SESSION

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_HOUR: dict[str, Any] = {
    "time_zone": "Asia/Kolkata",
    "slot_minutes": 15,
    "rules": [{"weekday": day, "start": "00:00", "end": "00:00", "modes": ["video", "chat"]} for day in WEEK],
}


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in. `secret` is that of their authenticator app."""

    id: UUID
    email: str
    token: str
    secret: str | None = None
    browser: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What each of their requests carries: an access token, or what a browser sends that signed in at /staff."""
        return self.browser or {"Authorization": f"Bearer {self.token}"}

    def writing(self, key: str | None = None) -> dict[str, str]:
        """The same with an idempotency key, a new one unless it is given."""
        return {**self.headers, "Idempotency-Key": key or str(new_id())}


class People:
    """Makes accounts that nobody else has."""

    def __init__(self, db: Database, keyring: Keyring, tokens: AccessTokens) -> None:
        self._db = db
        self._keys = PersonKeys(keyring)
        self._tokens = tokens
        self._keyring = keyring

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
            token = await self._signed_in(db, user_id, frozenset({role}))
        return Person(user_id, email, token)

    async def again(self, person: Person) -> Person:
        """The same person in a new session: an access token is soon too old for a whole run."""
        async with self._db.transaction() as db:
            account = await auth.find(db, person.id)
            assert account
            return replace(person, token=await self._signed_in(db, person.id, account.roles))

    async def with_factor(self, person: Person) -> Person:
        """The same person with a second factor, in a new session that has just shown it."""
        secret = mfa_rules.secret_of(secrets.token_bytes(mfa_rules.SECRET_BYTES))
        async with self._db.transaction() as db:
            account = await auth.find(db, person.id)
            assert account
            assert await mfa.enroll(db, self._keys, person.id, secret)
            app = await mfa.enrolled(db, self._keys, person.id)
            assert app
            assert await mfa.confirm(db, person.id, 1, app)
            token = await self._signed_in(db, person.id, account.roles, factor_at=datetime.now(UTC))
        return replace(person, token=token, secret=secret)

    async def in_browser(self, person: Person) -> Person:
        """The same person, who has signed in at /staff and has just shown a factor there."""
        now, cookie = datetime.now(UTC), secrets.token_urlsafe(32)
        session = Session(
            id=new_id(),
            user_id=person.id,
            roles=frozenset(),
            authenticated_at=now,
            methods=["pwd", "otp"],
            factor_at=now,
        )
        device = Device(None, "tests", LOOPBACK)
        async with self._db.transaction() as db:
            await sessions.insert(db, self._keys, session, device, now + timedelta(hours=1), None)
            await staff_sessions.insert(db, session.id, auth.token_hash(cookie))
        mark = self._keyring.mark(f"csrf/{SESSION}", cookie.encode())
        token = base64.urlsafe_b64encode(mark).rstrip(b"=").decode()
        return replace(person, browser={"Cookie": f"{SESSION}={cookie}", CSRF_HEADER: token})

    async def _signed_in(
        self, db: Connection, user_id: UUID, roles: frozenset[Role], factor_at: datetime | None = None
    ) -> str:
        """The access token of a new session."""
        now, methods = datetime.now(UTC), ["pwd", "otp"] if factor_at else ["pwd"]
        session = Session(
            id=new_id(), user_id=user_id, roles=roles, authenticated_at=now, methods=methods, factor_at=factor_at
        )
        device = Device(None, "tests", LOOPBACK)
        await sessions.insert(db, self._keys, session, device, now + timedelta(days=1), session.id.bytes)
        who = Principal(user_id=user_id, session_id=session.id, roles=roles)
        return self._tokens.issue(who, now=now, auth_time=now, methods=methods, factor_at=factor_at)
