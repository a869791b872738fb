"""The audit trail over HTTP: for administrators, and for each person what others did with their data."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from amrutam.domain.audit import Access, AuditEntry, Outcome
from amrutam.domain.common import Instant, Message, Role
from amrutam.domain.errors import InvalidCursor
from amrutam.storage import audit as storage
from web import paging
from web.context import Answer, Call
from web.routing import Feature

audit = Feature("audit")

_READ = "audit.read"
# A verb, such as `booking.read`, or the id of an operation that was denied, such as `bookings_read`.
Action = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-z][a-z_.]*$")]


class AuditQuery(paging.Page):
    """Which acts to list: all that fit everything that is given."""

    actor_id: UUID | None = Field(None, description="who acted")
    patient_id: UUID | None = Field(None, description="whose data it concerned")
    subject: UUID | None = Field(None, description="what it was done to: a booking, a session, an account")
    action: Action | None = Field(None, description="what was done", examples=["booking.read"])
    outcome: Outcome | None = Field(None, description="refused: who tried was not believed; denied: it was not theirs")
    since: Instant | None = Field(None, alias="from", description="then or later")
    until: Instant | None = Field(None, alias="to", description="before then")

    @property
    def filters(self) -> storage.Filters:
        """Without the page's own fields."""
        return storage.Filters(
            self.actor_id, self.patient_id, self.subject, self.action, self.outcome, self.since, self.until
        )

    @property
    def person(self) -> UUID | None:
        """Of whom it asks."""
        return self.patient_id or self.actor_id


class AuditPage(Message):
    """Acts, the newest first."""

    items: list[AuditEntry]
    next_cursor: str | None


class AccessPage(Message):
    """What others did with the caller's data, the newest first."""

    items: list[Access]
    next_cursor: str | None


@audit.route(
    "GET",
    "/v1/admin/audit",
    allow=[Role.ADMIN],
    owns="everybody's acts",
    answers={200: AuditPage},
    errors=[InvalidCursor],
    audited=True,
)
async def read(call: Call, query: AuditQuery) -> Answer:
    """Who did what, and who read whose data, the newest first. Reading this is noted too.

    `address` and `reason` are absent where the person whom the act concerned was erased, or has no account.
    """
    before = paging.position(call, query)
    async with call.services.db.transaction() as db:
        rows = await storage.page(db, call.services.person_keys, query.filters, before, query.limit + 1)
        shown = rows[: query.limit]
        # A row that tells of reading the trail tells nothing of the patient, so reading it again is not noted again.
        patients = {row.patient_id for row in shown if row.patient_id and row.action != _READ} - {query.person}
        await storage.append(db, call.actor, _READ, call.user_id, patient_id=query.person)
        await storage.append_reads(db, call.actor, _READ, call.user_id, patients)
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(rows) > query.limit else None
    return Answer(AuditPage(items=shown, next_cursor=next_cursor))


@audit.route(
    "GET",
    "/v1/me/access-log",
    allow=list(Role),
    owns="the caller's own data",
    answers={200: AccessPage},
    errors=[InvalidCursor],
)
async def accesses(call: Call, query: paging.Page) -> Answer:
    """Who else looked at your data or did something with it: name, role, what and when, the newest first."""
    before = paging.position(call, query)
    async with call.services.db.connection() as db:
        rows = await storage.accesses(db, call.user_id, before, query.limit + 1)
    shown = list(rows[: query.limit])
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(rows) > query.limit else None
    return Answer(AccessPage(items=shown, next_cursor=next_cursor))
