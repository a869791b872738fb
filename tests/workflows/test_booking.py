"""The booking's workflow on the real server, whose clock is moved for each workflow alone."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from amrutam.domain.audit import Actor
from amrutam.domain.calling_off import CallOff, Cause
from amrutam.domain.cancel_day import OfferMove
from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.stack.servers import Servers
from amrutam.storage.pool import Database
from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times
from workflows.booking import BookingWorkflow
from workflows.registry import PASSED_THROUGH

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


async def _status(api: httpx.AsyncClient, patient: Person, booking: dict[str, Any]) -> str:
    return (await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()["status"]


async def test_a_hold_that_is_not_paid_for_expires_and_frees_its_time(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    times = await free_times(api, doctor)
    booking = (await book(api, patient, doctor, times[0])).json()
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")

    await TimeSkipper(temporal).fast_forward(handle, timedelta(minutes=9))
    assert await _status(api, patient, booking) == "held"
    await TimeSkipper(temporal).fast_forward(handle, timedelta(minutes=2))

    assert await handle.result() == "expired"
    assert await _status(api, patient, booking) == "expired"
    assert await free_times(api, doctor) == times


async def test_an_expired_hold_cannot_be_cancelled(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    await TimeSkipper(temporal).fast_forward(handle, timedelta(minutes=11))
    await handle.result()
    answer = await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")
    assert "expired" in answer.json()["detail"]


async def test_five_holds_run_out_and_the_sixth_is_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    times = await free_times(api, doctor)
    for time in times[:5]:
        booking = (await book(api, patient, doctor, time)).json()
        handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
        await TimeSkipper(temporal).fast_forward(handle, timedelta(minutes=11))
        assert await handle.result() == "expired"
    refused = await book(api, patient, doctor, times[5])
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_holds")


async def test_a_confirmed_bookings_workflow_lives_until_the_visit_is_due(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await TimeSkipper(temporal).fast_forward(handle, timedelta(days=4))
    assert await handle.result() == "confirmed"


async def test_a_booking_is_called_off_for_a_day_that_is_given_up_and_for_no_other(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    """What is asked late, after the doctor has opened the day again, changes nothing."""
    patient, doctor = await make_patient(), await make_doctor()
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    about: dict[str, Any] = {
        "booking_id": UUID(booking["id"]),
        "cause_id": new_id(),
        "starts_at": datetime.fromisoformat(booking["starts_at"]),
        "actor": Actor(id=doctor.id, role=Role.DOCTOR, request_id="tests"),
    }
    offer = OfferMove(**about, answer_by=about["starts_at"] - timedelta(hours=3))
    assert (await handle.execute_update(BookingWorkflow.offer_move, offer)).move_by is None
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(BookingWorkflow.call_off, CallOff(**about, cause=Cause.DOCTOR_AWAY))
    seen = (await api.get(f"/v1/bookings/{booking['id']}", headers=patient.headers)).json()
    assert (seen["status"], seen["move_by"]) == ("confirmed", None)


async def test_support_finds_the_booking_by_what_it_is_about(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()

    async def found() -> list[str]:
        query = f"DoctorId = '{doctor.id}' AND PatientId = '{patient.id}' AND BookingStatus = 'confirmed'"
        return [each.id async for each in temporal.list_workflows(query)]

    assert await until(found) == [f"booking/{booking['id']}"]


async def test_a_workflow_that_an_operator_cancels_gives_its_time_back(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    times = await free_times(api, doctor)
    booking = (await book(api, patient, doctor, times[0])).json()
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    await handle.cancel()
    assert await handle.result() == "cancelled"
    assert await _status(api, patient, booking) == "cancelled"
    assert await free_times(api, doctor) == times
    async with db.connection() as connection:
        actions = await connection.fetch("SELECT action FROM audit WHERE subject = $1", UUID(booking["id"]))
    assert {row["action"] for row in actions} == {"booking.create", "booking.withdraw"}


@pytest.mark.parametrize("fee", [0, 50000])
async def test_an_operator_who_cancels_while_the_claim_still_waits_leaves_no_time_behind(
    api: httpx.AsyncClient,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    temporal: Client,
    servers: Servers,
    fee: int,
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=fee)
    times = await free_times(api, doctor)
    superuser = await servers.postgres.connect("amrutam")  # its transactions are not bounded
    try:
        held_up = superuser.transaction()
        await held_up.start()
        await superuser.execute("SELECT FROM calendars WHERE doctor_id = $1 FOR UPDATE", doctor.id)
        pending = await book(api, patient, doctor, times[0])
        assert pending.status_code == 202
        handle = temporal.get_workflow_handle(f"booking/{pending.json()['id']}")
        await handle.cancel()
        await _delivered(handle)  # the workflow has been told, while its claim is still trying
        await held_up.rollback()
    finally:
        await superuser.close()
    assert await handle.result() == "cancelled"
    assert await _status(api, patient, pending.json()) == "cancelled"
    assert await free_times(api, doctor) == times


async def _delivered(handle: WorkflowHandle[Any, Any]) -> None:
    """Until the workflow has been told of the cancellation, which waits for its task's next heartbeat."""

    async def told() -> bool:
        kinds = [event.event_type for event in (await handle.fetch_history()).events]
        asked = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
        return asked in kinds and EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED in kinds[kinds.index(asked) :]

    await until(told, seconds=30)


async def test_a_workflow_that_is_reset_to_its_beginning_claims_nothing_twice(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client, db: Database
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    booking = (await book(api, patient, doctor, (await free_times(api, doctor))[0])).json()
    handle = temporal.get_workflow_handle(f"booking/{booking['id']}")
    await temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            reason="a test",
            request_id=str(new_id()),
            workflow_task_finish_event_id=await _first_completed_task(temporal, handle.id),
        )
    )
    answer = await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())
    assert answer.status_code == 200, answer.text
    assert await handle.result() == "cancelled"
    async with db.connection() as connection:
        facts = await connection.fetch("SELECT type FROM events WHERE subject = $1", UUID(booking["id"]))
    assert sorted(row["type"] for row in facts) == ["booking.cancelled", "booking.confirmed"]


async def _first_completed_task(temporal: Client, workflow_id: str) -> int:
    history = await temporal.get_workflow_handle(workflow_id).fetch_history()
    return next(e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes"))


async def test_every_path_replays_on_this_code_and_stays_short(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, free, priced = await make_patient(), await make_doctor(), await make_doctor(fee=50000)
    confirmed = (await book(api, patient, free, (await free_times(api, free))[0])).json()
    held = (await book(api, patient, priced, (await free_times(api, priced))[4])).json()
    cancelled = (await book(api, patient, free, (await free_times(api, free))[8])).json()
    await api.post(f"/v1/bookings/{cancelled['id']}/cancel", json={}, headers=patient.writing())
    runner = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
    replayer = Replayer(
        workflows=[BookingWorkflow],
        namespace=temporal.namespace,
        data_converter=temporal.data_converter,
        workflow_runner=runner,
    )
    # The design's bounds: 20 events to confirmation, 60 in a whole life.
    for booking, most in ((confirmed, 20), (held, 20), (cancelled, 60)):
        history = await temporal.get_workflow_handle(f"booking/{booking['id']}").fetch_history()
        await replayer.replay_workflow(history)
        assert len(history.events) <= most, [event.event_type for event in history.events]
