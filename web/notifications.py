"""Of what the caller wants to hear."""

from amrutam.domain.common import Role
from amrutam.domain.errors import Stale, ValidationFailed
from amrutam.domain.reminders import Preferences
from amrutam.storage import audit
from amrutam.storage import notifications as storage
from web.context import Answer, Call, version_tag
from web.routing import Feature

notifications = Feature("notifications")


@notifications.route(
    "GET", "/v1/me/notifications", allow=list(Role), owns="the caller's own", answers={200: Preferences}
)
async def read(call: Call) -> Answer:
    """Of what you want to hear. Who never said anything hears of all that the clinic offers."""
    async with call.services.db.connection() as db:
        said = await storage.wanted(db, call.user_id)
    offered = call.services.settings.reminder_minutes
    minutes = offered if said.reminder_minutes is None else said.reminder_minutes
    return Answer(Preferences(reminder_minutes=minutes), etag=version_tag(said.version))


@notifications.route(
    "PUT",
    "/v1/me/notifications",
    allow=list(Role),
    owns="the caller's own",
    answers={200: Preferences},
    errors=[Stale, ValidationFailed],
    audited=True,
)
async def replace(call: Call, command: Preferences) -> Answer:
    """Say of what you want to hear, instead of what you said before. What is sent from now on follows it."""
    command.check(call.services.settings.reminder_minutes)
    async with call.services.db.transaction() as db:
        before = await storage.wanted(db, call.user_id, lock=True)
        call.check_if_match(version_tag(before.version))
        await storage.want(db, call.user_id, command.reminder_minutes)
        await audit.append(db, call.actor, "notifications.edit", call.user_id)
        after = await storage.wanted(db, call.user_id)
    return Answer(Preferences(reminder_minutes=after.reminder_minutes or []), etag=version_tag(after.version))
