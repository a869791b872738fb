"""Accounts and their roles, as administrators see and change them."""

from collections.abc import Mapping
from uuid import UUID

from pydantic import Field

from amrutam.domain import errors
from amrutam.domain.common import Line, Message, Role
from amrutam.domain.doctor import DoctorChanged
from amrutam.domain.staff import AccountStatus, EditUser, User, UserChanged, may_invite, practises
from amrutam.domain.verification import PracticeSuspended
from amrutam.storage import audit, doctor, events, invitations, sessions, verification
from amrutam.storage import auth as accounts
from amrutam.storage import staff as storage
from amrutam.storage.audit import Caller
from amrutam.storage.cache import SEARCH_GROUP, doctor_group, slots_group
from amrutam.storage.pool import Connection
from web import paging
from web.context import Answer, Call, version_tag
from web.quotas import SEARCH
from web.routing import Feature

staff = Feature("staff")

EVERY_ACCOUNT = "every account"


class UserQuery(paging.Page):
    """Which accounts to list: all that fit everything that is given."""

    role: Role | None = None
    q: Line | None = Field(None, min_length=2, max_length=100, description="part of the name or the address")
    status: AccountStatus | None = None

    @property
    def filters(self) -> storage.Filters:
        """Without the page's own fields."""
        return storage.Filters(self.role, self.q, self.status)


class UserPage(Message):
    """Accounts, the newest first."""

    items: list[User]
    next_cursor: str | None


@staff.route(
    "GET",
    "/v1/admin/users",
    allow=[Role.ADMIN],
    owns=EVERY_ACCOUNT,
    answers={200: UserPage},
    errors=[errors.InvalidCursor],
    audited=True,
    limit=SEARCH,
)
async def list_users(call: Call, query: UserQuery) -> Answer:
    """Find accounts, the newest first."""
    before = paging.position(call, query)
    async with call.services.db.connection() as db:
        found = await storage.page(db, query.filters, before, query.limit + 1)
        shown = found[: query.limit]
        patients = {each.id for each in shown if Role.PATIENT in each.roles} - {call.user_id}
        await audit.append(db, call.actor, "user.list", call.user_id)
        await audit.append_reads(db, call.actor, "user.list", call.user_id, patients)
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
    return Answer(UserPage(items=shown, next_cursor=next_cursor))


@staff.route(
    "GET",
    "/v1/admin/users/{id}",
    allow=[Role.ADMIN],
    owns=EVERY_ACCOUNT,
    answers={200: User},
    errors=[errors.NotFound],
    audited=True,
)
async def read_user(call: Call, id: UUID) -> Answer:
    """One account."""
    async with call.services.db.connection() as db:
        user = await storage.find(db, id)
        if user is None:
            raise errors.NotFound
        await audit.append(db, call.actor, "user.read", id, patient_id=_patient(call, user))
    return Answer(user, etag=version_tag(user.version))


@staff.route(
    "PATCH",
    "/v1/admin/users/{id}",
    allow=[Role.ADMIN],
    owns=EVERY_ACCOUNT,
    answers={200: User},
    errors=[errors.NotFound, errors.Stale, errors.InvalidState],
    audited=True,
    step_up=True,
)
async def edit_user(call: Call, id: UUID, command: EditUser) -> Answer:
    """Give other roles, suspend, or take a suspension back. The last administrator stays one.

    Other roles hold from the next request on. A suspension ends every session at once. Whoever does not practise any
    more cannot be found or booked, and is to be verified again to practise once more; what is booked is called off.
    The open invitations of whoever is no active administrator any more are void.
    """
    async with call.services.db.transaction() as db:
        await storage.one_at_a_time(db)
        before = await storage.find(db, id, lock=True)
        if before is None:
            raise errors.NotFound
        call.check_if_match(version_tag(before.version))
        versions = await _change(call, db, before, command)
        after = await storage.find(db, id)
    if after is None:
        raise errors.NotFound
    await call.services.markers.note(versions)
    await call.services.cache.invalidate(doctor_group(id), slots_group(id), SEARCH_GROUP)
    return Answer(after, etag=version_tag(after.version))


async def _change(call: Call, db: Connection, user: User, command: EditUser) -> Mapping[UUID, int]:
    """Returns what the markers of the person's sessions are to be told. Raises InvalidState."""
    roles, status = command.roles_of(user), command.status_of(user)
    other_roles = roles != frozenset(user.roles)
    if not other_roles and status is user.status:
        return {}
    await storage.change(db, user.id, roles, status)
    who = call.actor.because(command.reason) if command.reason else call.actor
    if other_roles:
        await _note(call, db, who, "user.change_roles", user)
    if status is not user.status:
        await _note(call, db, who, "user.suspend" if status is AccountStatus.SUSPENDED else "user.reactivate", user)
    await events.append(db, UserChanged(subject=user.id))
    if not may_invite(roles, status):
        for withdrawn in await invitations.withdraw_all_of(db, user.id):
            await audit.append(db, who, "staff.withdraw_invitation", withdrawn)
    await _practice(db, user, call.user_id, starts=practises(roles, status), stops=practises(user.roles, user.status))
    if status is AccountStatus.SUSPENDED:
        return await sessions.end_all(db, user.id)
    return await sessions.outdate_tokens(db, user.id)


async def _practice(db: Connection, user: User, by: UUID, *, starts: bool, stops: bool) -> None:
    """A profile for whoever is a doctor now; nobody finds that of one who is not any more."""
    if starts and await doctor.find(db, user.id) is None:
        person = await accounts.recipient(db, user.id, None)
        await doctor.create(db, user.id, user.full_name, person.time_zone if person else "UTC")
    if stops and not starts:
        await doctor.lock(db, user.id)
        await storage.stop_practising(db, user.id)
        await verification.supersede(db, user.id)
        await events.append(db, DoctorChanged(subject=user.id, verified=False))
        await events.append(db, PracticeSuspended(subject=user.id, by=by))  # visits outlive a verification


async def _note(call: Call, db: Connection, who: Caller, action: str, user: User) -> None:
    await audit.append(db, who, action, user.id, patient_id=_patient(call, user))


def _patient(call: Call, user: User) -> UUID | None:
    """Whose data it is, where it is a patient's and not the caller's own."""
    return user.id if Role.PATIENT in user.roles and user.id != call.user_id else None
