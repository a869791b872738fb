"""The mails that demo mode keeps instead of sending them. Mounted in demo mode only."""

import asyncio
from typing import Literal
from uuid import UUID

from pydantic import Field

from amrutam.domain.auth import EmailAddress
from amrutam.domain.common import Instant, Message, Role
from amrutam.domain.errors import NotFound
from amrutam.gateways.mail import newest
from amrutam.storage import audit
from web.context import Answer, Call
from web.routing import Feature

outbox = Feature("outbox")


class OutboxQuery(Message):
    """Whose mails."""

    to: EmailAddress | None = Field(default=None, description="only mails to this address")
    limit: int = Field(20, ge=1, le=100)


class OutboxMail(Message):
    """A mail as it would have been sent."""

    id: UUID
    channel: Literal["email"] = "email"
    to: str
    subject: str
    text: str
    attachments: list[str] = Field(description="file names")
    created_at: Instant


class OutboxPage(Message):
    """The newest mails. There are no further pages: ask for one address instead."""

    items: list[OutboxMail]
    next_cursor: None = None


@outbox.route(
    "GET",
    "/v1/admin/outbox",
    allow=[Role.ADMIN],
    owns="every mail",
    answers={200: OutboxPage},
    errors=[NotFound],
    audited=True,
)
async def read(call: Call, query: OutboxQuery) -> Answer:
    """The newest mails first."""
    folder = call.services.settings.mail_folder
    if folder is None:
        raise NotFound("Mails are sent by SMTP_URL; none is kept here.")
    async with call.services.db.connection() as db:
        await audit.append(db, call.actor, "outbox.read", call.user_id)
    mails = await asyncio.to_thread(newest, folder, query.to, query.limit)
    return Answer(
        OutboxPage(
            items=[
                OutboxMail(
                    id=mail.id,
                    to=mail.to,
                    subject=mail.subject,
                    text=mail.text,
                    attachments=mail.attachments,
                    created_at=mail.created_at,
                )
                for mail in mails
            ]
        )
    )
