"""What Temporal must know before the first workflow: namespace, search attributes, schedules. Repeatable."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from amrutam.settings import Settings
from amrutam.temporal import BACKGROUND_QUEUE, PAYMENTS_QUEUE, SEARCH_ATTRIBUTES

# A new namespace is known to every part of the server only after its caches have been refreshed.
SETTLE_SECONDS = 60


class Regular(NamedTuple):
    """A workflow that a schedule of the same name starts, never twice at once, and late by `every` at most."""

    name: str
    workflow: str
    every: timedelta
    summary: str
    queue: str = BACKGROUND_QUEUE
    given: Sequence[int] = ()


REGULAR = (
    Regular("maintenance", "Maintenance", timedelta(hours=1), "Partitions and lifetimes"),
    Regular("seal-audit", "SealAudit", timedelta(minutes=5), "Seals of the audit trail"),
    # Four quarters see each charge; a gateway may take some days to tell of one that was long in doubt.
    Regular("sweep-payments", "SweepPayments", timedelta(minutes=15), "What was not told of", PAYMENTS_QUEUE, [1]),
    Regular("sweep-days", "SweepPayments", timedelta(days=1), "What came days later", PAYMENTS_QUEUE, [96]),
)


async def set_up(client: Client, settings: Settings, say: Callable[[str], None]) -> None:
    """Make what is missing and wait until the server admits workflows. Raises TimeoutError, RPCError."""
    await _namespace(client, settings, say)
    await _search_attributes(client, say)
    for regular in REGULAR:
        await _schedule(client, regular)
        say(f"schedule {regular.name}: every {regular.every.total_seconds() / 60:g} minutes")


async def _namespace(client: Client, settings: Settings, say: Callable[[str], None]) -> None:
    retention = Duration(seconds=settings.temporal_retention_days * 86_400)
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace=client.namespace, workflow_execution_retention_period=retention)
        )
        say(f"namespace {client.namespace}: registered, closed workflows kept {settings.temporal_retention_days} days")
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    await _until(lambda: _namespace_is_known(client))


async def _namespace_is_known(client: Client) -> None:
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    async for _ in client.list_workflows(page_size=1, limit=1):
        break


async def _search_attributes(client: Client, say: Callable[[str], None]) -> None:
    missing = await _missing_attributes(client)
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
        say(f"search attributes: {', '.join(missing)}")
    await _until(lambda: _attributes_are_known(client))


async def _missing_attributes(client: Client) -> dict[str, IndexedValueType.ValueType]:
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return {
        key.name: IndexedValueType.ValueType(key.indexed_value_type)
        for key in SEARCH_ATTRIBUTES
        if key.name not in known.custom_attributes
    }


async def _attributes_are_known(client: Client) -> None:
    """Queries may use them: the frontend refuses those that it has not heard of."""
    query = " OR ".join(f"{key.name} IS NOT NULL" for key in SEARCH_ATTRIBUTES)
    await client.count_workflows(query)


async def _until(works: Callable[[], Awaitable[None]]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return await works()
        except RPCError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Temporal did not settle within {SETTLE_SECONDS} s: {error.message}") from error
            await asyncio.sleep(0.2)


async def _schedule(client: Client, regular: Regular) -> None:
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            regular.workflow,
            args=regular.given,
            id=regular.name,
            task_queue=regular.queue,
            static_summary=regular.summary,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=regular.every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=regular.every),
    )

    async def same(_: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(schedule)

    try:
        await client.create_schedule(regular.name, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(regular.name).update(same)
