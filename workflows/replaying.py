"""`python -m amrutam replay`: do the workflows that run, or have run, go the same way on this code?

A worker that meets a history which its code would not have written stops on it: the workflow stands still until the
code fits again. So replay before new workflow code goes out.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from google.protobuf.json_format import ParseError
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, WorkflowReplayResult
from temporalio.workflow import NondeterminismError

from workflows.refusals import RefusalInterceptor
from workflows.registry import WORKFLOWS, sandbox

# Seconds between two lines of progress.
PROGRESS = 2.0
# Characters of what the SDK has to say of a difference: event and command are named at its beginning.
WORDS = 300
# Where the SDK's core writes the type of an exception, the cause before what it caused.
_TYPE = re.compile(r'r#type: "(\w+)"')


class Wanted(NamedTuple):
    """Which histories: one workflow's, those that a visibility query finds, a file's, or else the newest."""

    workflow_id: str | None = None
    query: str | None = None
    file: Path | None = None
    limit: int = 500


class BadRequest(ValueError):
    """What was asked for does not exist, or cannot be read."""


@dataclass
class Outcome:
    """How many histories were replayed, which went another way, and how many hold no step yet to compare with."""

    replayed: int = 0
    broken: list[str] = field(default_factory=list[str])
    untouched: int = 0

    def __str__(self) -> str:
        more = f"; {self.untouched} more have taken no step yet" if self.untouched else ""
        return f"{self.replayed} replayed, {len(self.broken)} of them go another way on this code{more}"


def replayer(converter: DataConverter) -> Replayer:
    """Replays as the worker runs: the same workflows, each once whatever its queues, sandbox and interceptor."""
    return Replayer(
        workflows=list(dict.fromkeys(each for queue in WORKFLOWS.values() for each in queue)),
        data_converter=converter,
        interceptors=[RefusalInterceptor()],
        workflow_runner=sandbox(),
    )


async def replay(client: Client, wanted: Wanted, say: Callable[[str], None]) -> Outcome:
    """Replay what is wanted, naming each workflow that goes another way. Raises BadRequest, RuntimeError."""
    loop = asyncio.get_running_loop()
    outcome, told = Outcome(), loop.time()
    async with replayer(client.data_converter).workflow_replay_iterator(_histories(client, wanted)) as results:
        async for result in results:
            if not _has_a_step(result.history):  # the SDK would call it fine, though it has compared nothing
                outcome.untouched += 1
                continue
            outcome.replayed += 1
            if why := reason(result):
                outcome.broken.append(result.history.workflow_id)
                say(f"BROKEN  {result.history.workflow_id} (run {result.history.run_id}): {why}")
            if loop.time() - told >= PROGRESS:
                told = loop.time()
                say(f"{outcome.replayed} replayed so far")
    return outcome


def _has_a_step(history: WorkflowHistory) -> bool:
    return any(event.HasField("workflow_task_completed_event_attributes") for event in history.events)


def reason(result: WorkflowReplayResult) -> str | None:
    """Why a history does not replay, in words that hold nothing of its payloads; None when it does."""
    failure = result.replay_failure
    if failure is None:
        return None
    if isinstance(failure, NondeterminismError):
        return " ".join(str(failure).split())[:WORDS]
    # An exception of the workflow's own code: its message may quote what the payloads held, its types do not.
    started = result.history.events[0].workflow_execution_started_event_attributes
    return f"{started.workflow_type.name} fails on this code: {', '.join(_TYPE.findall(str(failure))) or 'no type'}"


async def _histories(client: Client, wanted: Wanted) -> AsyncGenerator[WorkflowHistory, None]:
    try:
        if wanted.file:
            yield _read(wanted.file)
        elif wanted.workflow_id:
            yield await client.get_workflow_handle(wanted.workflow_id).fetch_history()
        else:
            async for found in client.list_workflows(wanted.query, limit=wanted.limit):
                yield await client.get_workflow_handle(found.id, run_id=found.run_id).fetch_history()
    except RPCError as error:
        if error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
            raise BadRequest(error.message) from error
        raise RuntimeError(f"Temporal does not answer: {error.message}") from error


def _read(file: Path) -> WorkflowHistory:
    """A history as the web UI and `temporal workflow show --output json` write it."""
    try:
        history = WorkflowHistory.from_json(file.stem, json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ParseError) as error:
        raise BadRequest(f"{file} holds no history: {type(error).__name__}") from error
    if not history.events:
        raise BadRequest(f"{file} holds no history: there is no event in it")
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(started.workflow_id or file.stem, history.events)
