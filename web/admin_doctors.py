"""Doctors as administrators see them: who waits to be verified, and whether somebody may practise."""

from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.common import Role
from amrutam.domain.doctor import DoctorChanged
from amrutam.domain.errors import InvalidState
from amrutam.domain.verification import (
    Decide,
    Decision,
    Practice,
    PracticeResumed,
    PracticeSuspended,
    Standing,
    check_valid_until,
)
from amrutam.storage import audit, doctor, events
from amrutam.storage import verification as storage
from amrutam.storage.cache import SEARCH_GROUP, doctor_group, slots_group
from amrutam.storage.pool import Connection
from web import commands, paging
from web.context import Answer, Call
from web.idempotency import once
from web.quotas import SEARCH
from web.routing import Feature, Idempotency
from web.verification_views import (
    DecideVerification,
    ListedSubmission,
    PracticeView,
    SubmissionPage,
    SubmissionQuery,
    SubmissionView,
    Verdict,
    suspension_place,
    words_place,
)
from workflows.verification import VerificationWorkflow

admin_doctors = Feature("admin_doctors")

EVERY_DOCTOR = "every doctor"


@admin_doctors.route(
    "GET",
    "/v1/admin/doctors",
    allow=[Role.ADMIN],
    owns=EVERY_DOCTOR,
    answers={200: SubmissionPage},
    errors=[errors.InvalidCursor],
    audited=True,
    limit=SEARCH,
)
async def list_submissions(call: Call, query: SubmissionQuery) -> Answer:
    """What doctors submitted to be verified, the oldest first."""
    after = paging.position(call, query)
    keys = call.services.person_keys
    async with call.services.db.connection() as db:
        found = await storage.page(db, query.verification, after, query.limit + 1)
        shown = found[: query.limit]
        opened = await keys.several(db, {each.submission.doctor_id for each in shown})
        await audit.append(db, call.actor, "verification.list", call.user_id)
    items = [
        ListedSubmission(
            doctor=each.doctor, submission=SubmissionView.of(each.submission, opened[each.submission.doctor_id])
        )
        for each in shown
    ]
    next_cursor = paging.cursor(call, query, shown[-1].submission.id) if len(found) > query.limit else None
    return Answer(SubmissionPage(items=items, next_cursor=next_cursor))


@admin_doctors.route(
    "POST",
    "/v1/admin/doctors/{id}/verification",
    allow=[Role.ADMIN],
    owns=EVERY_DOCTOR,
    answers={200: PracticeView},
    errors=[errors.NotFound, errors.InvalidState, errors.OperationInProgress, errors.Unavailable],
    idempotency=Idempotency.OPTIONAL,
    audited=True,
    step_up=True,
)
async def decide(call: Call, id: UUID, command: DecideVerification) -> Answer:
    """Approve, reject, or ask for more of what a doctor submitted; or suspend a doctor, or take that back.

    Who is suspended cannot be found or booked from this moment on, and every booking to come is called off: the
    patients are told by mail. What was verified holds again when the suspension is taken back.
    """
    if id == call.user_id:
        raise errors.Forbidden("Somebody else decides of your own practice.")
    match command.decision:
        case Verdict.SUSPEND:
            left = Practice.model_validate_json(
                await once(call, lambda db: _suspend(call, db, id, command.reason or ""))
            )
        case Verdict.REINSTATE:
            left = Practice.model_validate_json(await once(call, lambda db: _reinstate(call, db, id)))
        case _:
            left = await _decide(call, id, command)
    await call.services.cache.invalidate(doctor_group(id), slots_group(id), SEARCH_GROUP)
    async with call.services.db.connection() as db:
        key = await call.services.person_keys.of(db, id)
    return Answer(PracticeView.of(left, id, key))


async def _suspend(call: Call, db: Connection, doctor_id: UUID, reason: str) -> bytes:
    """The event has a workflow call the bookings off, whatever becomes of this process."""
    await doctor.lock(db, doctor_id)
    if (await storage.practice(db, doctor_id)).standing is Standing.SUSPENDED:
        raise InvalidState("This doctor is suspended already.")
    key = await call.services.person_keys.of(db, doctor_id)
    await storage.suspend(db, doctor_id, key.seal(reason, suspension_place(doctor_id)))
    await audit.append(db, call.actor.because(reason), "doctor.suspend", doctor_id)
    await events.append(db, DoctorChanged(subject=doctor_id, verified=False))
    await events.append(db, PracticeSuspended(subject=doctor_id, by=call.user_id))
    return await _as_left(db, doctor_id)


async def _reinstate(call: Call, db: Connection, doctor_id: UUID) -> bytes:
    await doctor.lock(db, doctor_id)
    if (await storage.practice(db, doctor_id)).standing is not Standing.SUSPENDED:
        raise InvalidState("This doctor is not suspended.")
    await storage.reinstate(db, doctor_id)
    after = await doctor.lock(db, doctor_id)
    await audit.append(db, call.actor, "doctor.reinstate", doctor_id)
    await events.append(db, DoctorChanged(subject=doctor_id, verified=after.doctor.verified))
    await events.append(db, PracticeResumed(subject=doctor_id))
    return await _as_left(db, doctor_id)


async def _as_left(db: Connection, doctor_id: UUID) -> bytes:
    return (await storage.practice(db, doctor_id)).model_dump_json().encode()


async def _decide(call: Call, doctor_id: UUID, command: DecideVerification) -> Practice:
    operation = call.required_operation
    if operation.outcome is not None:
        return Practice.model_validate_json(operation.outcome)
    if command.registration_valid_until:
        check_valid_until(command.registration_valid_until, call.now)
    async with call.services.db.connection() as db:
        if await doctor.find(db, doctor_id) is None:
            raise errors.NotFound
        submission = await storage.open_of(db, doctor_id)
        if submission is None:
            raise InvalidState("This doctor has submitted nothing that waits for a decision.")
        key = await call.services.person_keys.of(db, doctor_id)
        actor = await audit.carried(db, call.actor, doctor_id)
    reason = key.seal(command.reason, words_place(submission.id, "reason")) if command.reason else None
    decision = Decide(
        operation_id=operation.id,
        submission_id=submission.id,
        decision=Decision(command.decision),
        reason=reason,
        registration_valid_until=command.registration_valid_until,
        actor=actor,
    )
    try:
        return await commands.update(
            call, Practice, f"verification/{submission.id}", VerificationWorkflow.decide, decision
        )
    except commands.Unknown:
        raise errors.OperationInProgress from None
    except commands.WorkflowGone:
        raise InvalidState("This submission is closed.") from None
