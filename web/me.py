"""The caller's own account."""

from amrutam.domain.auth import Person
from amrutam.domain.common import Role
from amrutam.domain.errors import Unauthenticated
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
