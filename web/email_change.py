"""Another address for an account, confirmed from the old one and from the new one before anything changes."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain import errors
from amrutam.domain.common import Message, Role
from amrutam.domain.email_change import (
    ChangeEmail,
    ConfirmEmailChange,
    EmailChanged,
    EmailChangeRequested,
    NewEmailOffered,
    OwnEmailWanted,
    Progress,
    Side,
)
from amrutam.domain.errors import Fault
from amrutam.ids import new_id
from amrutam.storage import audit, events, sessions
from amrutam.storage import auth as accounts
from amrutam.storage import email_change as storage
from amrutam.storage import passwords as stored_passwords
from amrutam.storage.email_change import AddressTaken, Change
from amrutam.storage.pool import Connection
from web import links, passwords
from web.context import Answer, Call
from web.limits import guessing
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature
from web.sign_in import UNSTORED, as_actor

email_change = Feature("email_change")

# So many changes may be asked for while the first of them can still be confirmed, as each sends mail to a stranger.
MOST_WISHES = 5


class ConfirmationSent(Message):
    """Mails are on their way to the old and to the new address; both have to agree."""

    status: Literal["confirmation_sent"] = "confirmation_sent"


class Confirmed(Message):
    """`half_confirmed`: the other address has to agree too; `changed`: it did; `refused`: nothing changes."""

    status: Progress


@email_change.route(
    "POST",
    "/v1/auth/email/change",
    allow=list(Role),
    owns="the caller's own account",
    answers={202: ConfirmationSent},
    errors=[errors.InvalidCredentials, errors.ValidationFailed, errors.RateLimited],
    audited=True,
    limit=PASSWORD,
)
async def change(call: Call, command: ChangeEmail) -> Answer:
    """Ask for another address. The answer is the same whether or not that address has an account of its own."""
    holder = await passwords.known(call, command.password)
    if holder.email == command.email:
        raise errors.ValidationFailed(faults=[Fault(pointer="/email", code="unchanged", detail="is the present one")])
    async with links.evenly(), call.services.db.transaction() as db:
        await _ask_both_sides(call, db, command.email)
        await audit.append(db, call.actor, "account.ask_for_email_change", call.user_id)
    return Answer(ConfirmationSent(), 202, UNSTORED)


@email_change.route(
    "POST",
    "/v1/auth/email/confirm",
    allow=EVERYONE,
    owns="whoever holds the link",
    answers={200: Confirmed},
    errors=[errors.ValidationFailed, errors.InvalidState],
    audited=True,
)
async def confirm(call: Call, command: ConfirmEmailChange) -> Answer:
    """Agree to a change of address, or refuse it, with the token of a link, which is good once."""
    async with guessing(call, "link"):
        progress = await settle(call, command.token, refuse=command.refuse)
        if progress is None:
            raise links.bad_link()
    return Answer(Confirmed(status=progress), headers=UNSTORED)


async def settle(call: Call, token: SecretStr, *, refuse: bool) -> Progress | None:
    """Open a link of either side. None when it is unknown, used or too old. Raises InvalidState."""
    try:
        async with call.services.db.transaction() as db:
            found = await storage.lock(db, links.digest(token))
            if found is None:
                return None
            progress, ended = await (_refuse if refuse else _agree)(call, db, found)
    except AddressTaken:
        raise errors.InvalidState("This address has an account of its own by now.") from None
    await call.services.markers.note(ended)
    return progress


async def _ask_both_sides(call: Call, db: Connection, new_email: str) -> None:
    user_id, change_id, keyring = call.user_id, new_id(), call.services.keyring
    if await storage.recent(db, user_id) >= MOST_WISHES:
        raise errors.RateLimited.after(3600)
    hashed = {
        side: accounts.token_hash(accounts.link_token(keyring, change_id, link)) for side, link in storage.LINKS.items()
    }
    good_until = call.now + timedelta(hours=call.services.settings.email_change_hours)
    await storage.begin(db, change_id, user_id, new_email, hashed, good_until)
    await events.append(db, EmailChangeRequested(subject=user_id, change_id=change_id))
    owner = await accounts.find_by_email(db, new_email)
    if owner and owner.verified:
        await events.append(db, OwnEmailWanted(subject=owner.id))
    else:
        await events.append(db, NewEmailOffered(subject=user_id, change_id=change_id))


async def _agree(call: Call, db: Connection, found: Change) -> tuple[Progress, Mapping[UUID, int]]:
    """Raises AddressTaken."""
    actor, progress = as_actor(call, found.user_id, found.roles), await storage.confirm(db, found)
    await audit.append(db, actor, "account.confirm_email_change", found.user_id)
    if progress is Progress.CHANGED:
        await stored_passwords.end_resets(db, found.user_id)  # they lie in the mailbox that is given up
        await audit.append(db, actor, "account.change_email", found.user_id)
        await events.append(db, EmailChanged(subject=found.user_id, change_id=found.id))
    return progress, {}


async def _refuse(call: Call, db: Connection, found: Change) -> tuple[Progress, Mapping[UUID, int]]:
    """From the old address it means that somebody else knows the password and is signed in: they are not any more."""
    await storage.end_open(db, found.user_id)
    actor = as_actor(call, found.user_id, found.roles)
    await audit.append(db, actor, "account.refuse_email_change", found.user_id)
    if found.side is Side.NEW:
        return Progress.REFUSED, {}
    return Progress.REFUSED, await sessions.end_all(db, found.user_id)
