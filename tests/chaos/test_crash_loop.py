"""A worker that dies of one workflow again and again: its client is told to wait, not that nothing can be done."""

from collections.abc import Awaitable, Callable

import httpx
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest, RespondWorkflowTaskFailedRequest
from temporalio.client import Client

from amrutam.temporal import BOOKINGS_QUEUE
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times

# Temporal refuses updates of a workflow from the third attempt of its task on (FAILED_PRECONDITION).
FAILURES = 2


async def _fail(temporal: Client, workflow_id: str) -> None:
    """Be a worker that cannot get on with this workflow, nor with any other that comes by."""
    failed = 0
    while failed < FAILURES:
        poll = PollWorkflowTaskQueueRequest(
            namespace=temporal.namespace, task_queue=TaskQueue(name=BOOKINGS_QUEUE), identity="crash loop"
        )
        task = await temporal.workflow_service.poll_workflow_task_queue(poll)
        if not task.task_token:  # nothing came within the server's own wait
            continue
        await temporal.workflow_service.respond_workflow_task_failed(
            RespondWorkflowTaskFailedRequest(
                namespace=temporal.namespace,
                task_token=task.task_token,
                cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
            )
        )
        failed += task.workflow_execution.workflow_id == workflow_id


async def test_a_booking_whose_workflow_cannot_get_on_is_pending_until_it_can(
    api: httpx.AsyncClient,
    system: System,
    temporal: Client,
    make_patient: Callable[[], Awaitable[Person]],
    make_doctor: Callable[..., Awaitable[Person]],
) -> None:
    patient, doctor = await make_patient(), await make_doctor()
    starts_at = (await free_times(api, doctor))[0]
    await system.worker.stop()
    try:
        first = await book(api, patient, doctor, starts_at, key="a-crash-loop")
        await _fail(temporal, f"booking/{first.json()['id']}")
        again = await book(api, patient, doctor, starts_at, key="a-crash-loop")
    finally:
        await system.worker.start()

    async def made() -> bool:
        return (await book(api, patient, doctor, starts_at, key="a-crash-loop")).status_code == 201

    await until(made, 60)
    assert (first.status_code, first.json()["status"]) == (202, "pending")
    assert (again.status_code, again.json()) == (202, first.json())
