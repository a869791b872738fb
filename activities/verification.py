"""The steps of a verification: each one transaction under the doctor's lock, with its facts and its audit row."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

from temporalio import activity

from activities.once import once
from amrutam.crypto import SealingKeys
from amrutam.domain.common import Message
from amrutam.domain.doctor import DoctorChanged
from amrutam.domain.errors import InvalidState
from amrutam.domain.verification import (
    ANSWER_WITHIN,
    DECIDED,
    AnswerMore,
    AnswerStillWanted,
    Decide,
    Decision,
    Identity,
    Practice,
    RegistrationLapses,
    State,
    Submission,
    Submit,
    VerificationAwaited,
    VerificationMoved,
    check_valid_until,
)
from amrutam.storage import audit, doctor, events
from amrutam.storage import verification as verifications
from amrutam.storage.cache import SEARCH_GROUP, Cache, doctor_group, slots_group
from amrutam.storage.pool import Connection, Database


class Lapse(Message):
    """A submission whose registration is about to lapse, or has."""

    submission_id: UUID
    lapsed: bool


class VerificationActivities:
    """Needs PostgreSQL, and Redis where it is there."""

    def __init__(self, db: Database, cache: Cache, operation_keys: SealingKeys) -> None:
        self._db = db
        self._cache = cache
        self._keys = operation_keys

    @activity.defn(name="verification.submit")
    async def submit(self, command: Submit) -> Submission:
        """Keep what the doctor submitted, and tell every administrator. Raises InvalidState, ValidationFailed."""

        async def keep(db: Connection) -> Submission:
            current = await doctor.lock(db, command.doctor_id)
            if await verifications.open_of(db, command.doctor_id):
                raise InvalidState("What you submitted before is not decided yet.")
            await verifications.insert(db, command, Identity.of(current.doctor))
            await audit.append(db, command.actor, "verification.submit", command.id)
            await self._await_decision(db, command.id)
            return await verifications.find(db, command.id)

        return await self._once(command.id, keep)

    @activity.defn(name="verification.answer")
    async def answer(self, command: AnswerMore) -> Submission:
        """Add what an administrator asked for. Raises InvalidState."""

        async def add(db: Connection) -> Submission:
            await self._locked(db, command.submission_id, State.PENDING)
            answered = await verifications.answer(
                db, command.submission_id, command.registration_valid_until, command.documents, command.note
            )
            await audit.append(db, command.actor, "verification.answer", command.submission_id)
            await self._await_decision(db, command.submission_id)
            return answered

        return await self._once(command.operation_id, add)

    @activity.defn(name="verification.decide")
    async def decide(self, command: Decide) -> Practice:
        """Approve, reject, or ask for more; returns where that leaves the doctor.

        Raises InvalidState, also where the profile is another one by now.

        Raises ValidationFailed for the approval of a registration that has lapsed since it was submitted.
        """

        async def settle(db: Connection) -> Practice:
            submission = await self._locked(db, command.submission_id, DECIDED[command.decision])
            if command.decision is Decision.APPROVE:
                await self._approve(db, submission, command)
            else:
                within = ANSWER_WITHIN if command.decision is Decision.ASK else None
                await verifications.move(
                    db,
                    submission.id,
                    DECIDED[command.decision],
                    reason=command.reason,
                    decided_by=command.actor.id,
                    answer_within=within,
                )
            await audit.append(db, command.actor, f"verification.{command.decision}", submission.id)
            left = await verifications.practice(db, submission.doctor_id)
            return left.model_copy(update={"submission": await self._moved(db, submission.id)})

        left = await once(self._db, self._keys, command.operation_id, Practice, settle)
        if left.submission:
            doctor_id = left.submission.doctor_id
            await self._cache.invalidate(doctor_group(doctor_id), slots_group(doctor_id), SEARCH_GROUP)
        return left

    @activity.defn(name="verification.remind")
    async def remind(self, submission_id: UUID) -> Submission:
        """Tell those who are to act on it once more, if it is open still."""
        async with self._db.transaction() as db:
            submission = await verifications.find(db, submission_id)
            if submission.state is State.PENDING:
                await self._await_decision(db, submission_id)
            elif submission.state is State.MORE_WANTED:
                await events.append(db, AnswerStillWanted(subject=submission.doctor_id, submission_id=submission_id))
            return submission

    @activity.defn(name="verification.expire")
    async def expire(self, submission_id: UUID) -> Submission:
        """The doctor did not answer in time. One that moved on meanwhile stays as it is."""
        async with self._db.transaction() as db:
            submission = await verifications.find(db, submission_id)
            await doctor.lock(db, submission.doctor_id)
            submission = await verifications.find(db, submission_id)
            if submission.state is not State.MORE_WANTED:
                return submission
            await verifications.move(db, submission_id, State.EXPIRED)
            await audit.append_system(db, "verification.expire", submission_id)
            return await self._moved(db, submission_id)

    @activity.defn(name="verification.lapse")
    async def lapse(self, lapse: Lapse) -> bool:
        """Tell the doctor that the registration lapses, or has. False: they are not verified by this one any more."""
        async with self._db.transaction() as db:
            submission = await verifications.find(db, lapse.submission_id)
            await doctor.lock(db, submission.doctor_id)
            if not await verifications.stands(db, submission):
                return False
            fact = RegistrationLapses(subject=submission.doctor_id, submission_id=submission.id, lapsed=lapse.lapsed)
            await events.append(db, fact)
            if lapse.lapsed:
                await events.append(db, DoctorChanged(subject=submission.doctor_id, verified=False))
                await audit.append_system(db, "verification.lapse", submission.id)
        return True

    async def _approve(self, db: Connection, submission: Submission, command: Decide) -> None:
        current = await doctor.lock(db, submission.doctor_id)
        if Identity.of(current.doctor) != submission.who:
            raise InvalidState("Name or registration are not what was submitted any more.")
        if not await verifications.has_account(db, submission.doctor_id):
            raise InvalidState("This account is suspended, or is no doctor's any more.")
        last_day = command.registration_valid_until or submission.registration_valid_until
        check_valid_until(last_day, datetime.now(UTC))
        await verifications.approve(db, submission, last_day, command.actor.id)
        after = await doctor.lock(db, submission.doctor_id)
        await events.append(db, DoctorChanged(subject=submission.doctor_id, verified=after.doctor.verified))

    async def _locked(self, db: Connection, submission_id: UUID, state: State) -> Submission:
        """A submission that may become `state`, its doctor locked. Raises InvalidState."""
        submission = await verifications.find(db, submission_id)
        await doctor.lock(db, submission.doctor_id)
        submission = await verifications.find(db, submission_id)  # as it is now that nobody else changes it
        submission.check_may_become(state)
        return submission

    async def _moved(self, db: Connection, submission_id: UUID) -> Submission:
        submission = await verifications.find(db, submission_id)
        fact = VerificationMoved(subject=submission.doctor_id, submission_id=submission.id, state=submission.state)
        await events.append(db, fact)
        return submission

    async def _await_decision(self, db: Connection, submission_id: UUID) -> None:
        for admin in await verifications.administrators(db):
            await events.append(db, VerificationAwaited(subject=admin, submission_id=submission_id))

    async def _once(self, operation_id: UUID, work: Callable[[Connection], Awaitable[Submission]]) -> Submission:
        return await once(self._db, self._keys, operation_id, Submission, work)
