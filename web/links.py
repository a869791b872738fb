"""Links that are sent by mail: what is common to asking for one and to opening one."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import SecretStr

from amrutam.domain.auth import AccountVerificationRequested
from amrutam.domain.errors import Fault, ValidationFailed
from amrutam.ids import new_id
from amrutam.storage import auth as accounts
from amrutam.storage import events
from amrutam.storage.auth import Account, Registration
from amrutam.storage.pool import Connection
from web.context import Call

# Longer than the work behind these answers takes (two hashes of a password, and some rows), so that their time does not
# show what there was to do.
EVEN_SECONDS = 0.25
# So many links of one kind may be good at once for one account: whoever asks again and again fills nobody's mailbox.
MOST_LIVE = 5


def digest(token: SecretStr) -> bytes:
    """What is stored of a token that somebody else holds."""
    return accounts.token_hash(token.get_secret_value())


def bad_link() -> ValidationFailed:
    """The refusal of a token that is unknown, used or too old."""
    detail = "The link was used already or is too old; ask for another."
    return ValidationFailed(faults=[Fault(pointer="/token", code="invalid_token", detail=detail)])


def verification_until(call: Call) -> datetime:
    """When a link that this call sends is good no more."""
    return call.now + timedelta(hours=call.services.settings.verification_hours)


async def send_again(call: Call, db: Connection, account: Account) -> None:
    """Have another link mailed that confirms what an account's first registration said, unless enough are good."""
    first = await accounts.first_registration(db, call.services.person_keys, account)
    if first:
        await send_verification(call, db, account.id, first)


async def send_verification(call: Call, db: Connection, user_id: UUID, registration: Registration) -> None:
    """Have a link mailed that confirms the address and puts the registration into force, unless enough links are good.

    The event carries the token's id alone: whoever sends the mail derives the token from it.
    """
    if await accounts.live_email_tokens(db, user_id) >= MOST_LIVE:
        return
    token_id, keys = new_id(), call.services.person_keys
    token_hash = accounts.token_hash(accounts.link_token(call.services.keyring, token_id))
    until = verification_until(call)
    await accounts.insert_email_token(db, keys, token_id, user_id, token_hash, registration, until)
    await events.append(db, AccountVerificationRequested(subject=user_id, token_id=token_id))


@asynccontextmanager
async def evenly() -> AsyncGenerator[None]:
    """Let the block take `EVEN_SECONDS` at least, whatever there was to do in it."""
    started = time.monotonic()
    yield
    await rest(started)


async def rest(started: float) -> None:
    """Wait until `EVEN_SECONDS` have passed since `started`, by `time.monotonic`."""
    await asyncio.sleep(max(0.0, EVEN_SECONDS - (time.monotonic() - started)))
