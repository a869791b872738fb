"""`python -m amrutam replay` against the running system."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from temporalio.client import Client

from amrutam.cli import parser
from amrutam.ids import new_id
from amrutam.stack.applications import CHECKOUT
from amrutam.temporal import BACKGROUND_QUEUE
from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times
from workflows import replaying

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
Replay = Callable[..., Awaitable["Told"]]


class Told(NamedTuple):
    """What the command left behind."""

    status: int | None
    out: str
    err: str


@pytest.fixture
def replay(environment: Mapping[str, str]) -> Replay:
    """Runs the command with these arguments; tells no progress, of which a busy machine makes more."""

    async def replay(*arguments: str) -> Told:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "amrutam", "replay", *arguments,
            cwd=CHECKOUT, env=dict(environment), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        said = [line for line in out.decode().splitlines(keepends=True) if not line.endswith("so far\n")]
        return Told(process.returncode, "".join(said), err.decode())

    return replay


@pytest.fixture
async def workflow_id(api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor) -> str:
    """A booking's workflow that runs."""
    patient, doctor = await make_patient(), await make_doctor()
    return f"booking/{(await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()['id']}"


@pytest.fixture
async def foreign(temporal: Client) -> str:
    """A workflow of a type that no worker has; its first step never succeeds."""
    workflow_id = f"foreign/{new_id()}"
    handle = await temporal.start_workflow("Foreign", id=workflow_id, task_queue=BACKGROUND_QUEUE)

    async def was_tried() -> bool:
        history = await handle.fetch_history()
        return any(event.HasField("workflow_task_failed_event_attributes") for event in history.events)

    await until(was_tried)
    return workflow_id


async def test_one_workflow_is_replayed_by_its_id(replay: Replay, workflow_id: str) -> None:
    told = await replay("--workflow-id", workflow_id)
    assert told == (0, "1 replayed, 0 of them go another way on this code\n", "")


async def test_what_a_query_finds_is_replayed_up_to_the_limit(replay: Replay, workflow_id: str) -> None:
    told = await replay("--query", "WorkflowType = 'Booking'", "--limit", "1")
    assert told == (0, "1 replayed, 0 of them go another way on this code\n", ""), workflow_id


async def test_progress_is_told_as_it_goes(temporal: Client, workflow_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "PROGRESS", 0.0)
    lines: list[str] = []
    query = f"WorkflowId = '{workflow_id}'"

    async def replayed() -> int:
        return (await replaying.replay(temporal, replaying.Wanted(query=query), lines.append)).replayed

    assert await until(replayed) == 1
    assert lines == ["1 replayed so far"]


async def test_a_file_is_replayed(replay: Replay, workflow_id: str, temporal: Client, tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    file.write_text((await temporal.get_workflow_handle(workflow_id).fetch_history()).to_json())
    assert await replay("--file", str(file)) == (0, "1 replayed, 0 of them go another way on this code\n", "")
    altered = json.loads(file.read_text())
    altered["events"] = [e for e in altered["events"] if e["eventType"] != "EVENT_TYPE_TIMER_STARTED"]
    for number, event in enumerate(altered["events"], start=1):
        event["eventId"] = str(number)
    file.write_text(json.dumps(altered))
    told = await replay("--file", str(file))
    assert told.status == 1
    assert told.out.startswith(f"BROKEN  {workflow_id} (run ")


async def test_a_workflow_without_a_step_is_not_called_replayed(replay: Replay, foreign: str, temporal: Client) -> None:
    told = await replay("--workflow-id", foreign)
    await temporal.get_workflow_handle(foreign).terminate("the test is over")
    assert told == (0, "0 replayed, 0 of them go another way on this code; 1 more have taken no step yet\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--workflow-id", "booking/none"),
        ("--query", "NoSuchAttribute = 'x'"),
        ("--file", "pyproject.toml"),
    ],
)
async def test_what_cannot_be_replayed_is_a_fault_of_the_arguments(replay: Replay, arguments: tuple[str, ...]) -> None:
    told = await replay(*arguments)
    assert (told.status, told.out) == (2, "")
    assert "Traceback" not in told.err
    assert told.err


@pytest.mark.parametrize("arguments", [("--limit", "0"), ("--limit", "few"), ("--workflow-id", "x", "--query", "y")])
def test_arguments_that_make_no_sense_are_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["replay", *arguments])
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err
