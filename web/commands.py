"""Commands that a workflow carries out: ask, wait a bounded time, and tell apart done, refused, unknown and away."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import structlog
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.types import MethodAsyncSingleParam
from temporalio.workflow import UpdateMethodMultiParam

from amrutam.domain.audit import Actor
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import DomainError, Unavailable
from amrutam.storage import audit, operations
from web.context import Call
from workflows.refusals import refusal_of

M = TypeVar("M", bound=Message)
C = TypeVar("C", bound=Message)
W = TypeVar("W")

_LOOK = timedelta(seconds=1)
# So that the server's own answer to a time-out is met where there is one.
_SPARE_SECONDS = 0.2

log = structlog.get_logger()


class Unknown(Exception):
    """The workflow was started, and its answer did not come in time. It goes on; the answer will be in the record."""


class WorkflowGone(Exception):
    """No running workflow takes the command: it has ended, or its server has forgotten it."""


async def outcome(call: Call, model: type[M], workflow_id: str, ask: Callable[[UUID], Awaitable[M]]) -> M:
    """What came of the call's operation: the stored outcome, else what the workflow answers to `ask(operation id)`.

    Raises the refusal, Unknown, WorkflowGone, or Unavailable while Temporal is away.
    """
    operation = call.required_operation
    if operation.outcome is not None:
        return model.model_validate_json(operation.outcome)
    try:
        # The client's own time-out is one attempt's; while the server is away it makes several.
        async with asyncio.timeout(call.services.settings.temporal_timeout_seconds + _SPARE_SECONDS):
            return await ask(operation.id)
    except WorkflowUpdateFailedError as failed:
        raise _refusal(failed) from None
    except WorkflowAlreadyStartedError:
        return await _from_record(call, model)
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError):
        raise await _lost(call.services.temporal, workflow_id) from None
    except RPCError as error:
        match error.status:
            case RPCStatusCode.NOT_FOUND:
                return await _from_record(call, model)
            # FAILED_PRECONDITION: its worker crashed twice in a row, so it takes no updates before its task succeeds.
            case RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED | RPCStatusCode.FAILED_PRECONDITION:
                raise await _lost(call.services.temporal, workflow_id) from None
            case _:
                log.warning("temporal.away", status=error.status.name)
                raise Unavailable from None
    except RuntimeError as error:  # what the client raises while it cannot connect at all
        log.warning("temporal.away", error=str(error)[:200])
        raise Unavailable from None


class Start(NamedTuple, Generic[W, C]):
    """A workflow that is to be started once, with what it is given and how people find it."""

    run: MethodAsyncSingleParam[W, C, Any]
    command: C
    workflow_id: str
    queue: str
    summary: str
    search_attributes: TypedSearchAttributes | None = None

    def operation(self) -> WithStartWorkflowOperation[W, Any]:
        """Started, joined while it runs, and never run a second time under the same id."""
        return WithStartWorkflowOperation(
            self.run,
            self.command,
            id=self.workflow_id,
            task_queue=self.queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=self.search_attributes,
            static_summary=self.summary,
        )


async def start(call: Call, model: type[M], start: Start[W, C], update: UpdateMethodMultiParam[[W], M]) -> M:
    """Start a workflow, or join it, and wait for what it answers to `update`. Raises as `outcome` does."""

    async def ask(operation_id: UUID) -> M:
        operation = start.operation()
        try:
            return await call.services.temporal.execute_update_with_start_workflow(
                update,
                start_workflow_operation=operation,
                id=str(operation_id),
                rpc_timeout=call.services.settings.temporal_timeout,
            )
        except BaseException:
            await _forget_handle(operation)
            raise

    return await outcome(call, model, start.workflow_id, ask)


async def update(
    call: Call,
    model: type[M],
    workflow_id: str,
    update: UpdateMethodMultiParam[[Any, C], M],
    command: C,
) -> M:
    """What a workflow that runs answers to an update. Raises as `outcome` does."""

    async def ask(operation_id: UUID) -> M:
        handle = call.services.temporal.get_workflow_handle(workflow_id)
        timeout = call.services.settings.temporal_timeout
        return await handle.execute_update(update, command, id=str(operation_id), rpc_timeout=timeout)

    return await outcome(call, model, workflow_id, ask)


async def _forget_handle(start: WithStartWorkflowOperation[Any, Any]) -> None:
    """Take note of a start that failed: its failure waits for who wants the handle, and is logged where nobody does."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(0):
            await start.workflow_handle()


def _refusal(failed: WorkflowUpdateFailedError) -> Exception:
    refusal = refusal_of(failed.cause)
    return refusal if isinstance(refusal, DomainError) else failed


async def _from_record(call: Call, model: type[M]) -> M:
    """The workflow has ended: its answer is in the record. Raises the refusal, WorkflowGone."""
    services, operation = call.services, call.required_operation
    async with services.db.connection() as db:
        record = await operations.find(db, services.operation_keys, call.user_id, operation.id)
    if record and record.outcome is not None:
        return model.model_validate_json(record.outcome)
    if record and record.refusal:
        raise record.refusal.error()
    raise WorkflowGone


async def _lost(temporal: Client, workflow_id: str) -> Exception:
    """Unknown when the workflow is there; Unavailable when it is not, or when that cannot be found out either."""
    try:
        async with asyncio.timeout(_LOOK.total_seconds() + _SPARE_SECONDS):
            await temporal.get_workflow_handle(workflow_id).describe(rpc_timeout=_LOOK)
    except (RPCError, RuntimeError, TimeoutError):
        return Unavailable()
    return Unknown()


async def carried(call: Call, role: Role, patient_id: UUID) -> Actor:
    """The caller in this role, as a workflow may know them: where they are is sealed for the patient."""
    async with call.services.db.connection() as db:
        return await audit.carried(db, call.acting(call.user_id, role), patient_id)
