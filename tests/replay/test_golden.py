"""Every path that a workflow has gone is gone by this code too, and a step more or less is noticed."""

import pytest
from temporalio import workflow
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, WorkflowReplayResult
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from amrutam.domain.booking import Booking, ClaimTime
from tests.replay import histories
from workflows.booking import BookingWorkflow
from workflows.refusals import RefusalInterceptor
from workflows.registry import WORKFLOWS, sandbox
from workflows.replaying import reason, replayer

NAMES = sorted(file.stem for file in histories.FOLDER.glob("*.json"))


@workflow.defn(name="Booking")
class OneStepMore(BookingWorkflow):
    """Waits a moment before it expires a hold."""

    @workflow.run
    async def run(self, command: ClaimTime) -> str:
        return await super().run(command)

    async def _expire(self) -> None:
        await workflow.sleep(1)
        await super()._expire()


@workflow.defn(name="Booking")
class OneStepFewer(BookingWorkflow):
    """No longer tells the status as a search attribute."""

    @workflow.run
    async def run(self, command: ClaimTime) -> str:
        return await super().run(command)

    def _move_to(self, booking: Booking, words: str) -> None:
        self._booking = booking
        self._show(words)


async def _replay(name: str, code: Replayer) -> WorkflowReplayResult:
    return await code.replay_workflow(histories.read(name), raise_on_replay_failure=False)


def _with(broken: type) -> Replayer:
    """A replayer of one workflow that the test defines; its module is known to the sandbox."""
    known = sandbox().restrictions.with_passthrough_modules("tests", "pytest")
    return Replayer(
        workflows=[broken],
        data_converter=pydantic_data_converter,
        interceptors=[RefusalInterceptor()],
        workflow_runner=SandboxedWorkflowRunner(restrictions=known),
    )


@pytest.mark.parametrize("name", NAMES)
async def test_a_history_of_each_path_replays(name: str) -> None:
    result = await _replay(name, replayer(pydantic_data_converter))
    assert result.replay_failure is None


def test_every_workflow_has_a_history() -> None:
    stored = {
        histories.read(name).events[0].workflow_execution_started_event_attributes.workflow_type.name for name in NAMES
    }
    assert stored == {each.__name__.removesuffix("Workflow") for queue in WORKFLOWS.values() for each in queue}


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (OneStepMore, "booking_held_then_expired"),
        (OneStepFewer, "booking_held_then_expired"),
        (OneStepFewer, "booking_confirmed_until_due"),
    ],
)
async def test_a_step_more_or_less_is_caught(broken: type, name: str) -> None:
    why = reason(await _replay(name, _with(broken)))
    assert why is not None
    assert "Nondeterminism" in why, why


async def test_a_step_more_on_another_path_is_not_taken_for_a_break() -> None:
    assert reason(await _replay("booking_confirmed_until_due", _with(OneStepMore))) is None


async def test_a_payload_that_this_code_cannot_read_is_told_without_its_words() -> None:
    history = histories.read("booking_confirmed_until_due")
    first = history.events[0].workflow_execution_started_event_attributes.input.payloads[0]
    first.data = b'{"booking_id": "a rash on the arm"}'
    result = await replayer(pydantic_data_converter).replay_workflow(history, raise_on_replay_failure=False)
    assert reason(result) == "Booking fails on this code: ValidationError, RuntimeError"


async def test_a_workflow_that_this_code_no_longer_has_is_told() -> None:
    history = histories.read("booking_confirmed_until_due")
    history.events[0].workflow_execution_started_event_attributes.workflow_type.name = "Teleport"
    result = await replayer(pydantic_data_converter).replay_workflow(history, raise_on_replay_failure=False)
    assert reason(result) == "Teleport fails on this code: NotFoundError"
