"""What was refused to somebody is noted too, a wrong password or what is not theirs; and what strangers ask for."""

from uuid import UUID

import structlog

from amrutam.domain.audit import Outcome
from amrutam.domain.errors import Forbidden, NotYours
from amrutam.storage import audit
from amrutam.storage.pool import Connection, DatabaseUnavailable
from web.context import Call

log = structlog.get_logger()


async def note_denied(call: Call, action: str, subject: UUID | None, denial: Forbidden | NotYours) -> None:
    """Note that somebody asked for what is not theirs. `action` is the operation's id; `subject` what they named.

    They are refused in any case, so this does not fail: where the note cannot be written, the log has it.
    """
    if call.principal is None:
        return
    who = call.acting(call.principal.user_id, min(call.principal.roles, key=call.RANK.index)).because(denial.detail)
    patient_id = denial.patient_id if isinstance(denial, NotYours) else None
    try:
        async with call.services.db.connection() as db:
            await audit.append(db, who, action, subject or who.id, patient_id=patient_id, outcome=Outcome.DENIED)
    except DatabaseUnavailable:
        log.warning("audit.denial_not_noted", action=action, user_id=str(who.id))


async def note_failed_sign_in(call: Call, account_id: UUID | None, email: str) -> None:
    """Note a wrong password: on the account, or on a mark of the address that is none, which tells nobody the address.

    Takes the same steps for both, so that their time does not tell which it was.
    """
    mark = _mark(call, email)
    async with call.services.db.connection() as db:
        await audit.append_stranger(db, call.origin, "auth.login", account_id or mark)


async def note_asked(call: Call, db: Connection, action: str, account_id: UUID | None, email: str) -> None:
    """Note what somebody, perhaps not its owner, asked for with an address: on its account, else on a mark of it."""
    subject = account_id or _mark(call, email)
    await audit.append_stranger(db, call.origin, action, subject, outcome=Outcome.DONE)


def _mark(call: Call, email: str) -> UUID:
    """Of an address that is no account. The same each time, and tells nobody the address."""
    return UUID(bytes=call.services.keyring.mark("audit.unknown_address", email.lower().encode())[:16])
