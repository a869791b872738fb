"""What support staff do: find the person who is on the telephone."""

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from amrutam.domain.auth import EmailAddress, Phone
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import InvalidCursor
from amrutam.domain.support import PatientFound
from amrutam.storage import audit
from amrutam.storage import support as storage
from web import paging
from web.context import Answer, Call
from web.quotas import SEARCH
from web.routing import Feature

support = Feature("support")


class PatientQuery(paging.Page):
    """Whom to find: by one of the two, which must fit whole."""

    email: EmailAddress | None = Field(None, description="the address of the account")
    phone: Phone | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.email is None) is (self.phone is None):
            raise ValueError("give either email or phone")
        return self


class PatientPage(Message):
    """Patients with this address or number, the newest account first."""

    items: list[PatientFound]
    next_cursor: str | None


@support.route(
    "GET",
    "/v1/support/patients",
    allow=[Role.SUPPORT],
    owns="every patient, by their whole address or number alone",
    answers={200: PatientPage},
    errors=[InvalidCursor],
    audited=True,
    limit=SEARCH,
)
async def find(call: Call, query: PatientQuery) -> Answer:
    """Find a patient by address or telephone number. Every search is noted, and whom it found can see that it did."""
    before = paging.position(call, query)
    async with call.services.db.transaction() as db:
        rows = await storage.find_patients(
            db, call.services.person_keys, query.email, query.phone, before, query.limit + 1
        )
        shown = rows[: query.limit]
        await audit.append(db, call.actor, "patient.search", _mark(call, query))
        await audit.append_reads(db, call.actor, "patient.find", _mark(call, query), {each.id for each in shown})
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(rows) > query.limit else None
    return Answer(PatientPage(items=shown, next_cursor=next_cursor))


def _mark(call: Call, query: PatientQuery) -> UUID:
    """The same for each search for the same, so that the trail shows who searches for one person again and again; it
    tells nobody what was searched for.
    """
    said = (query.email or query.phone or "").encode()
    return UUID(bytes=call.services.keyring.mark("support.search", said)[:16])
