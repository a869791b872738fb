"""A doctor's verification: submitted, decided or asked about, and in force until the registration lapses."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from temporalio import workflow

from activities.verification import Lapse, VerificationActivities
from amrutam.domain.errors import DomainError, InvalidState
from amrutam.domain.verification import (
    DECIDED,
    OPEN,
    REMIND_AGAIN,
    REMIND_ANSWER,
    REMIND_FIRST,
    REMIND_LAPSE,
    AnswerMore,
    Decide,
    Practice,
    State,
    Submission,
    Submit,
    valid_until,
)
from workflows.policies import WRITE
from workflows.refusals import or_refusal

_WORDS = {
    State.PENDING: "Waits for an administrator",
    State.MORE_WANTED: "More is wanted of the doctor",
    State.APPROVED: "Approved",
    State.REJECTED: "Rejected",
    State.EXPIRED: "The doctor did not answer in time",
    State.SUPERSEDED: "Name or registration were changed: void",
}


@workflow.defn(name="Verification")
class VerificationWorkflow:
    """`verification/<submission id>`: owns the submission until it is decided, then watches over the registration."""

    def __init__(self) -> None:
        self._submission: Submission | None = None
        self._refusal: DomainError | None = None
        self._one_at_a_time = asyncio.Lock()
        self._timeline: list[str] = []

    @workflow.run
    async def run(self, command: Submit) -> str:
        """Returns how it ended: the submission's last state, `lapsed`, or `refused` where it never came to be."""
        ended = "refused"
        if await self._submit(command):
            await self._until_decided()
            ended = str(self._now.state)
            if self._now.state is State.APPROVED:
                ended = await self._until_the_registration_lapses()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return ended

    @workflow.update
    async def outcome(self) -> Submission:
        """Answer the doctor as soon as it is kept. Raises the refusal."""
        await workflow.wait_condition(lambda: self._submission is not None or self._refusal is not None)
        if self._refusal is not None:
            raise self._refusal
        return self._now

    @workflow.update
    async def answer(self, command: AnswerMore) -> Submission:
        """The doctor gives what was asked for. Raises InvalidState."""
        async with self._one_at_a_time:
            return self._move_to(
                await workflow.execute_activity_method(VerificationActivities.answer, command, **WRITE.options())
            )

    @answer.validator
    def _may_answer(self, command: AnswerMore) -> None:  # noqa: ARG002 - a validator takes what its update takes
        self._now.check_may_become(State.PENDING)

    @workflow.update
    async def decide(self, command: Decide) -> Practice:
        """An administrator decides. Raises InvalidState."""
        async with self._one_at_a_time:
            left = await workflow.execute_activity_method(VerificationActivities.decide, command, **WRITE.options())
            if left.submission:
                self._move_to(left.submission)
            return left

    @decide.validator
    def _may_decide(self, command: Decide) -> None:
        self._now.check_may_become(DECIDED[command.decision])

    async def _submit(self, command: Submit) -> bool:
        submission = await or_refusal(
            workflow.execute_local_activity_method(VerificationActivities.submit, command, **WRITE.options())
        )
        if isinstance(submission, DomainError):
            self._refusal = submission
            self._show(f"Refused: {submission.code}")
            return False
        self._move_to(submission)
        return True

    async def _until_decided(self) -> None:
        pause = REMIND_FIRST
        while self._now.state in OPEN:
            if self._now.state is State.PENDING:
                if not await self._moves_within(pause, "administrators are reminded"):
                    await self._remind()
                    pause = REMIND_AGAIN
            else:
                await self._until_answered(self._now.answer_by or workflow.now())
                pause = REMIND_FIRST

    async def _until_answered(self, answer_by: datetime) -> None:
        if await self._moves_within(answer_by - REMIND_ANSWER - workflow.now(), "the doctor is reminded"):
            return
        await self._remind()
        if await self._moves_within(answer_by - workflow.now(), "the time to answer ends"):
            return
        async with self._one_at_a_time:
            if self._now.state is State.MORE_WANTED:
                self._move_to(
                    await workflow.execute_activity_method(
                        VerificationActivities.expire, self._now.id, **WRITE.options()
                    )
                )

    async def _remind(self) -> None:
        """Tell once more; what comes back says whether it was made void meanwhile."""
        async with self._one_at_a_time:
            self._move_to(
                await workflow.execute_activity_method(VerificationActivities.remind, self._now.id, **WRITE.options())
            )

    async def _moves_within(self, time: timedelta, why: str) -> bool:
        """Whether the submission's state becomes another one in this time."""
        before = self._now.state
        try:
            await workflow.wait_condition(
                lambda: self._now.state is not before, timeout=max(time, timedelta(0)), timeout_summary=why
            )
        except TimeoutError:
            return False
        return True

    async def _until_the_registration_lapses(self) -> str:
        """Sleeps most of its life. Ends early once the doctor is verified by another submission, or by none."""
        ends = valid_until(self._now.registration_valid_until)
        for ahead in REMIND_LAPSE:
            if workflow.now() < ends - ahead:
                await _sleep_until(ends - ahead, "the doctor is reminded of the registration")
                if not await self._tell_of_lapse(self._now.id, lapsed=False):
                    return "superseded"
                self._show(f"The doctor was told that the registration lapses in {ahead.days} days")
        await _sleep_until(ends, "the registration lapses")
        if not await self._tell_of_lapse(self._now.id, lapsed=True):
            return "superseded"
        self._show("The registration has lapsed")
        return "lapsed"

    async def _tell_of_lapse(self, submission_id: UUID, *, lapsed: bool) -> bool:
        return await workflow.execute_activity_method(
            VerificationActivities.lapse, Lapse(submission_id=submission_id, lapsed=lapsed), **WRITE.options()
        )

    @property
    def _now(self) -> Submission:
        if self._submission is None:
            raise InvalidState("The submission is not kept yet.")
        return self._submission

    def _move_to(self, submission: Submission) -> Submission:
        if self._submission is None or self._submission.state is not submission.state:
            self._show(_WORDS[submission.state])
        self._submission = submission
        return submission

    def _show(self, words: str) -> None:
        """One more line of the timeline that support reads in the web UI."""
        self._timeline.append(f"- {workflow.now():%Y-%m-%d %H:%M:%S} UTC: {words}")
        workflow.set_current_details("\n".join(self._timeline))


async def _sleep_until(moment: datetime, why: str) -> None:
    await workflow.sleep(max(moment - workflow.now(), timedelta(0)), summary=why)
