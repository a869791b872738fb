"""The audit trail: insert-only for the application's role.

Where somebody acted from, and why, is sealed with the data key of the person whom the act concerns: the patient's, else
that of who acted. Erasing that person leaves the row, and every seal over it, as they are.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Self
from uuid import UUID

from pydantic import PrivateAttr

from amrutam.crypto import place
from amrutam.domain.audit import Access, Actor, AuditEntry, Outcome
from amrutam.domain.common import Role
from amrutam.ids import first_id_at
from amrutam.storage.person_keys import DataKey, PersonKeys
from amrutam.storage.pool import Connection, Row

# Who could not be told: nobody has signed in.
STRANGER = "stranger"
_SYSTEM = "system"


class Origin(NamedTuple):
    """The request behind an act, with what is to be sealed still in the clear."""

    request_id: str
    trace_id: str
    address: str
    keys: PersonKeys
    reason: str = ""


class Caller(Actor):
    """Somebody who acts by the request that is being answered now. Told apart from an actor that came through a
    workflow, whose address and reason are sealed already.
    """

    _origin: Origin = PrivateAttr()

    @classmethod
    def by(cls, origin: Origin, id: UUID, role: Role) -> Self:
        """Who acts by this request."""
        caller = cls(id=id, role=role, request_id=origin.request_id, trace_id=origin.trace_id)
        caller._origin = origin
        return caller

    def because(self, reason: str) -> Self:
        """The same with the reason that they gave."""
        return type(self).by(self._origin._replace(reason=reason), self.id, self.role)

    @property
    def origin(self) -> Origin:
        """The request by which they act."""
        return self._origin


class _Sealed(NamedTuple):
    """An origin as it is stored."""

    person: UUID | None = None
    address: bytes | None = None
    reason: bytes | None = None


class _Act(NamedTuple):
    """A row but for what is sealed in it."""

    actor_id: UUID | None
    actor_role: str
    action: str
    subject: UUID
    patient_id: UUID | None
    request_id: str
    trace_id: str
    outcome: Outcome


class Filters(NamedTuple):
    """Which rows an administrator wants to see; None: any."""

    actor_id: UUID | None = None
    patient_id: UUID | None = None
    subject: UUID | None = None
    action: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


async def append(
    db: Connection,
    actor: Actor,
    action: str,
    subject: UUID,
    *,
    patient_id: UUID | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Note that `actor` did `action` to `subject`, in the transaction of the act."""
    sealed = await _sealed_of(db, actor, patient_id or actor.id)
    act = _Act(actor.id, actor.role, action, subject, patient_id, actor.request_id, actor.trace_id, outcome)
    await _append(db, act, sealed)


async def append_reads(db: Connection, actor: Actor, action: str, subject: UUID, patients: Collection[UUID]) -> None:
    """Note that `actor` saw data of each of `patients`. Committed before the caller answers, or the caller fails."""
    if not patients:
        return
    ids = sorted(patients)
    sealed = await _sealed_for_each(db, actor, ids)
    await db.execute(
        """INSERT INTO audit (actor_id, actor_role, action, subject, request_id, trace_id,
                              patient_id, sealed_for, address, reason)
           SELECT $1, $2, $3, $4, $5, $6, *
           FROM unnest($7::uuid[], $8::uuid[], $9::bytea[], $10::bytea[])""",
        actor.id, actor.role, action, subject, actor.request_id, actor.trace_id,
        ids, [each.person for each in sealed], [each.address for each in sealed], [each.reason for each in sealed],
    )  # fmt: skip


async def append_stranger(
    db: Connection, origin: Origin, action: str, subject: UUID, *, outcome: Outcome = Outcome.REFUSED
) -> None:
    """Note what somebody tried who is not known, on the account `subject`, or on a mark of what is no account."""
    sealed = _seal(origin, subject, (await origin.keys.several(db, [subject])).get(subject))
    act = _Act(None, STRANGER, action, subject, None, origin.request_id, origin.trace_id, outcome)
    await _append(db, act, sealed)


async def times(db: Connection, action: str, subject: UUID, since: datetime, most: int) -> int:
    """How often `action` was done to `subject` since then, counted up to `most`."""
    return await db.fetchval(
        """SELECT count(*) FROM
             (SELECT FROM audit WHERE subject = $1 AND action = $2 AND id >= $3 AND outcome = 'done' LIMIT $4)""",
        subject, action, first_id_at(since), most,
    )  # fmt: skip


async def append_system(db: Connection, action: str, subject: UUID, *, patient_id: UUID | None = None) -> None:
    """Note what the system did by itself: a timer, a sweep."""
    await _append(db, _Act(None, _SYSTEM, action, subject, patient_id, "", "", Outcome.DONE), _Sealed())


async def carried(db: Connection, actor: Actor, patient_id: UUID | None = None) -> Actor:
    """The actor as a workflow may carry it: address and reason sealed for the patient, else for the actor."""
    sealed = await _sealed_of(db, actor, patient_id or actor.id)
    return Actor(
        id=actor.id,
        role=actor.role,
        request_id=actor.request_id,
        trace_id=actor.trace_id,
        address=sealed.address,
        reason=sealed.reason,
        sealed_for=sealed.person,
    )


async def page(db: Connection, keys: PersonKeys, filters: Filters, before: UUID | None, limit: int) -> list[AuditEntry]:
    """Up to `limit` rows, the newest first, written before the one with the id `before`. Raises SealError.

    Runs in the caller's transaction, planned for these very filters: a plan for any would read the whole trail.
    """
    await db.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    rows = await db.fetch(
        """SELECT id, uuid_extract_timestamp(id) AS at, actor_id, actor_role, action, subject, patient_id, outcome,
                  request_id, trace_id, sealed_for, address, reason
           FROM audit
           WHERE ($1::uuid IS NULL OR actor_id = $1) AND ($2::uuid IS NULL OR patient_id = $2)
             AND ($3::uuid IS NULL OR subject = $3) AND ($4::text IS NULL OR action = $4)
             AND ($5::text IS NULL OR outcome = $5)
             AND ($6::uuid IS NULL OR id >= $6) AND ($7::uuid IS NULL OR id < $7) AND ($8::uuid IS NULL OR id < $8)
           ORDER BY id DESC LIMIT $9""",
        filters.actor_id, filters.patient_id, filters.subject, filters.action, filters.outcome,
        first_id_at(filters.since) if filters.since else None, first_id_at(filters.until) if filters.until else None,
        before, limit,
    )  # fmt: skip
    held = await keys.several(db, sorted({row["sealed_for"] for row in rows if row["sealed_for"]}))
    return [_entry(row, held.get(row["sealed_for"])) for row in rows]


async def accesses(db: Connection, patient_id: UUID, before: UUID | None, limit: int) -> Sequence[Access]:
    """Up to `limit` acts of others on the patient's data, the newest first, before the one with the id `before`."""
    rows = await db.fetch(
        """SELECT a.id, uuid_extract_timestamp(a.id) AS at, u.full_name AS actor_name, a.actor_role, a.action, a.subject
           FROM audit a LEFT JOIN users u ON u.id = a.actor_id
           WHERE a.patient_id = $1 AND a.actor_id <> $1 AND a.outcome = 'done' AND ($2::uuid IS NULL OR a.id < $2)
           ORDER BY a.id DESC LIMIT $3""",
        patient_id, before, limit,
    )  # fmt: skip
    return [Access.model_validate(dict(row)) for row in rows]


async def _append(db: Connection, act: _Act, sealed: _Sealed) -> None:
    await db.execute(
        """INSERT INTO audit (actor_id, actor_role, action, subject, patient_id, request_id, trace_id, outcome,
                              sealed_for, address, reason)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        *act, *sealed,
    )  # fmt: skip


async def _sealed_for_each(db: Connection, actor: Actor, persons: Sequence[UUID]) -> Sequence[_Sealed]:
    """For each of them apart, by one query for their keys."""
    if not isinstance(actor, Caller):
        return [_Sealed()] * len(persons)
    keys = await actor.origin.keys.several(db, persons)
    return [_seal(actor.origin, person, keys.get(person)) for person in persons]


async def _sealed_of(db: Connection, actor: Actor, person: UUID) -> _Sealed:
    """For `person`, unless it came sealed. Nothing where the person has no data key (any more)."""
    if not isinstance(actor, Caller):
        return _Sealed(actor.sealed_for, actor.address, actor.reason)
    keys = await actor.origin.keys.several(db, [person])
    return _seal(actor.origin, person, keys.get(person))


def _seal(origin: Origin, person: UUID, key: DataKey | None) -> _Sealed:
    if key is None:
        return _Sealed()
    address = key.seal(origin.address, _bound(person, "address", origin.request_id))
    reason = key.seal(origin.reason, _bound(person, "reason", origin.request_id)) if origin.reason else None
    return _Sealed(person, address, reason)


def _entry(row: Row, key: DataKey | None) -> AuditEntry:
    plain = dict(row)
    person: UUID | None = plain.pop("sealed_for")
    for column in ("address", "reason"):
        sealed: bytes | None = plain[column]
        bound_to = _bound(person, column, row["request_id"]) if person else b""
        plain[column] = key.open(sealed, bound_to) if key and sealed else None
    return AuditEntry.model_validate(plain)


def _bound(person: UUID, column: str, request_id: str) -> bytes:
    """A row's id is not known when it is sealed, so it is bound to the person and the request."""
    return place("audit", person, f"{column}/{request_id}")
