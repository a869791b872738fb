"""A doctor's own verification: submitted, answered, looked at."""

from amrutam.domain import errors
from amrutam.domain.common import Role
from amrutam.domain.documents import Purpose
from amrutam.domain.errors import Fault, InvalidState, ValidationFailed
from amrutam.domain.verification import AnswerMore, Identity, State, Submission, Submit, check_valid_until
from amrutam.storage import audit, doctor, documents
from amrutam.storage import verification as storage
from amrutam.temporal import BACKGROUND_QUEUE
from web import commands
from web.context import Answer, Call
from web.quotas import PASSWORD
from web.routing import Feature, Idempotency
from web.verification_views import PracticeView, SubmissionView, SubmitVerification, words_place
from workflows.verification import VerificationWorkflow

verification = Feature("verification")

OWN = "the caller's own verification"


@verification.route(
    "GET",
    "/v1/doctors/me/verification",
    allow=[Role.DOCTOR],
    owns=OWN,
    answers={200: PracticeView},
    errors=[errors.NotFound],
)
async def read_own(call: Call) -> Answer:
    """Where you stand: what you submitted, what is asked of you and until when, and until when you are verified."""
    async with call.services.db.connection() as db:
        practice = await storage.practice(db, call.user_id)
        key = await call.services.person_keys.of(db, call.user_id)
    return Answer(PracticeView.of(practice, call.user_id, key))


@verification.route(
    "POST",
    "/v1/doctors/me/verification",
    allow=[Role.DOCTOR],
    owns=OWN,
    answers={201: SubmissionView},
    errors=[errors.NotFound, errors.InvalidState, errors.OperationInProgress, errors.Unavailable],
    idempotency=Idempotency.REQUIRED,
    audited=True,
    limit=PASSWORD,  # administrators are told by mail
)
async def submit(call: Call, command: SubmitVerification) -> Answer:
    """Have name and registration checked by an administrator; where more was asked for, this is the answer to it.

    Until it is approved nobody finds or books you; who is verified already stays so while a renewal is looked at.
    """
    try:
        submission = await _submit(call, command)
    except commands.Unknown:
        raise errors.OperationInProgress from None
    except commands.WorkflowGone:
        raise InvalidState("What you submitted before is closed; send this again with a new key.") from None
    async with call.services.db.connection() as db:
        key = await call.services.person_keys.of(db, call.user_id)
    return Answer(SubmissionView.of(submission, key), 201, {"Location": "/v1/doctors/me/verification"})


async def _submit(call: Call, command: SubmitVerification) -> Submission:
    operation = call.required_operation
    if operation.outcome is not None:
        return Submission.model_validate_json(operation.outcome)
    check_valid_until(command.registration_valid_until, call.now)
    async with call.services.db.connection() as db:
        found = await doctor.find(db, call.user_id)
        if found is None:
            raise errors.NotFound
        Identity.of(found.doctor)
        earlier = await storage.open_of(db, call.user_id)
        owned = {each.id for each in await documents.of_owner(
            db, call.user_id, command.documents, Purpose.VERIFICATION
        )}  # fmt: skip
        if unknown := [each for each in command.documents if each not in owned]:
            where = f"/documents/{command.documents.index(unknown[0])}"
            detail = "This is no document that you uploaded for a verification."
            raise ValidationFailed(faults=[Fault(pointer=where, code="unknown", detail=detail)])
        place = earlier.id if earlier else operation.id
        key = await call.services.person_keys.of(db, call.user_id)
        actor = await audit.carried(db, call.actor, call.user_id)
    note = key.seal(command.note, words_place(place, "note")) if command.note else None
    if earlier is None or earlier.id == operation.id:
        return await _start(
            call,
            Submit(
                id=operation.id,
                doctor_id=call.user_id,
                registration_valid_until=command.registration_valid_until,
                documents=command.documents,
                note=note,
                actor=actor,
            ),
        )
    if earlier.state is not State.MORE_WANTED:
        raise InvalidState("What you submitted before is not decided yet.")
    answer = AnswerMore(
        operation_id=operation.id,
        submission_id=earlier.id,
        registration_valid_until=command.registration_valid_until,
        documents=command.documents,
        note=note,
        actor=actor,
    )
    return await commands.update(call, Submission, f"verification/{earlier.id}", VerificationWorkflow.answer, answer)


async def _start(call: Call, command: Submit) -> Submission:
    start = commands.Start(
        VerificationWorkflow.run,
        command,
        f"verification/{command.id}",
        BACKGROUND_QUEUE,
        "Verification of a doctor",
    )
    return await commands.start(call, Submission, start, VerificationWorkflow.outcome)
