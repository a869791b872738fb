"""The limit of booking: update-with-start of a workflow that writes one row in a local activity, and ends.

`python -m bench.bare` is its worker, with TEMPORAL_ADDRESS and MIGRATION_DATABASE_URL in the environment. Payloads are
plain, the workflow is not sandboxed and keeps no timer: nothing that Temporal can do durably costs less.
"""

import asyncio
import os
import signal
from datetime import timedelta
from uuid import UUID

import asyncpg
from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from amrutam.ids import new_id
from amrutam.leaving import leave

QUEUE = "bench-bare"
POOL = 16
ATTEMPT = timedelta(seconds=10)
ANSWER = timedelta(seconds=30)


class Rows:
    """The one step."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @activity.defn(name="bare.write")
    async def write(self, key: str) -> str:
        """Write one row, answer its key."""
        await self._pool.execute("INSERT INTO bench.rows (id) VALUES ($1) ON CONFLICT DO NOTHING", UUID(key))
        return key


@workflow.defn(name="Bare")
class BareWorkflow:
    """Writes a row and says so."""

    def __init__(self) -> None:
        self._written: str | None = None

    @workflow.run
    async def run(self, key: str) -> None:
        """Ends once whoever waits has been answered."""
        self._written = await workflow.execute_local_activity_method(Rows.write, key, start_to_close_timeout=ATTEMPT)
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.update
    async def outcome(self) -> str | None:
        """The key, once the row is written."""
        await workflow.wait_condition(lambda: self._written is not None)
        return self._written


async def ask(client: Client) -> str:
    """Start one and wait for its row; the workflow's id."""
    key = str(new_id())
    operation: WithStartWorkflowOperation[BareWorkflow, None] = WithStartWorkflowOperation(
        BareWorkflow.run,
        key,
        id=f"bare/{key}",
        task_queue=QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await client.execute_update_with_start_workflow(
        BareWorkflow.outcome, start_workflow_operation=operation, id=key, rpc_timeout=ANSWER
    )
    return f"bare/{key}"


async def connect() -> Client:
    """A plain client of the installation's namespace."""
    return await Client.connect(
        os.environ["TEMPORAL_ADDRESS"], namespace=os.environ.get("TEMPORAL_NAMESPACE", "amrutam")
    )


async def work() -> None:
    """Work until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncpg.create_pool(os.environ["MIGRATION_DATABASE_URL"], min_size=POOL, max_size=POOL) as pool:
        worker = Worker(
            await connect(),
            task_queue=QUEUE,
            workflows=[BareWorkflow],
            activities=[Rows(pool).write],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(work())
    leave(0)
