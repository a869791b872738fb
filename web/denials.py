"""What was refused to somebody is noted too: a wrong password, and what is not theirs."""

from uuid import UUID

import structlog

from amrutam.domain.audit import Outcome
from amrutam.domain.errors import Forbidden, NotYours
from amrutam.storage import audit
from amrutam.storage.pool import DatabaseUnavailable
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
    mark = UUID(bytes=call.services.keyring.mark("audit.unknown_address", email.lower().encode())[:16])
    async with call.services.db.connection() as db:
        await audit.append_stranger(db, call.origin, "auth.login", account_id or mark)
