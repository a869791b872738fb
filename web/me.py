"""The caller's own account."""

from amrutam.domain.auth import AccountEdited, EditPerson, Person
from amrutam.domain.common import Role
from amrutam.domain.errors import Stale, Unauthenticated, ValidationFailed
from amrutam.storage import audit, events
from amrutam.storage import auth as accounts
from web.context import Answer, Call, version_tag
from web.routing import Feature

me = Feature("me")


@me.route("GET", "/v1/me", allow=list(Role), owns="the caller's own account", answers={200: Person})
async def read(call: Call) -> Answer:
    """Who you are to Amrutam, with what you told of yourself."""
    async with call.services.db.connection() as db:
        person = await accounts.person(db, call.services.person_keys, call.user_id)
    if person is None:  # the account was erased, and its access token has not run out yet
        raise Unauthenticated
    return Answer(person, etag=version_tag(person.version))


@me.route(
    "PATCH",
    "/v1/me",
    allow=list(Role),
    owns="the caller's own account",
    answers={200: Person},
    errors=[Stale, ValidationFailed],
    audited=True,
)
async def edit(call: Call, command: EditPerson) -> Answer:
    """Change what you told of yourself. What is left out stays.

    Email address and password have routes of their own, and so has what a doctor shows to everyone.
    """
    keys = call.services.person_keys
    async with call.services.db.transaction() as db:
        before = await accounts.person(db, keys, call.user_id, lock=True)
        if before is None:
            raise Unauthenticated
        call.check_if_match(version_tag(before.version))
        profile = command.of(before)
        if faults := profile.faults(call.now.date()):
            raise ValidationFailed(faults=faults)
        await accounts.edit(db, keys, call.user_id, profile)
        await audit.append(db, call.actor, "account.edit", call.user_id)
        await events.append(db, AccountEdited(subject=call.user_id))
        after = await accounts.person(db, keys, call.user_id)
    if after is None:
        raise Unauthenticated
    return Answer(after, etag=version_tag(after.version))
