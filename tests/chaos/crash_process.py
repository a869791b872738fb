"""An API or a worker that kills itself at one point: `python -m tests.chaos.crash_process <moment> [workflow id]`.

It is composed as the real one is, with clients that know when to die.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Never, cast

from redis.asyncio import ConnectionPool, Redis
from sanic import Sanic
from temporalio import activity
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowUpdateHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.preflight import load
from amrutam.storage.breaker import CONNECTION
from amrutam.storage.cache import Cache
from amrutam.storage.line import CHANNEL
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Connection, Database
from amrutam.telemetry import configure_logging
from amrutam.temporal import BOOKINGS_QUEUE
from tests.chaos.crash_points import Moment
from tests.polling import until
from web.app import create_app
from worker import Clients, build_worker


def die() -> Never:
    """As by `kill -9`: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("outlived kill -9")


@dataclass(frozen=True)
class Fate:
    """When a worker dies, and on which workflow; others it serves well."""

    moment: Moment
    workflow_id: str

    def meet(self, moment: Moment) -> None:
        """Die, if it is time."""
        if moment is self.moment and activity.info().workflow_id == self.workflow_id:
            die()


class DoomedRedis(Redis):
    """The lock is one SET, and telling the cache one script, which publishes the news."""

    def __init__(self, url: str, fate: Fate) -> None:
        super().__init__(connection_pool=ConnectionPool.from_url(url, **CONNECTION))
        self._fate = fate

    async def execute_command(self, *args: Any, **options: Any) -> object:
        """Run it, with death before or after."""
        if args[0] == "SET":
            self._fate.meet(Moment.BEFORE_LOCK)
        answer = cast("object", await super().execute_command(*args, **options))
        if CHANNEL in args:
            self._fate.meet(Moment.AFTER_TELLING)
        return answer


class DoomedDatabase(Database):
    """Dies at the edges of a transaction."""

    def __init__(self, inner: Database, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """As ever."""
        async with self._inner.connection() as db:
            yield db

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """As ever, if it lives to its end."""
        self._fate.meet(Moment.BEFORE_TRANSACTION)
        async with self._inner.transaction() as db:
            yield db
            self._fate.meet(Moment.BEFORE_COMMIT)
        self._fate.meet(Moment.AFTER_COMMIT)


class DoomedCalls(Interceptor):
    """An API's calls to Temporal: it dies at the first command."""

    def __init__(self, client: Client, moment: Moment) -> None:
        self._client = client
        self._moment = moment

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Wrap the client."""
        return _DoomedOutbound(next, self._client, self._moment)


class _DoomedOutbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, client: Client, moment: Moment) -> None:
        super().__init__(next)
        self._client = client
        self._moment = moment

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        if self._moment is Moment.BEFORE_TEMPORAL:
            die()
        asked = asyncio.create_task(super().start_update_with_start_workflow(input))
        if self._moment is Moment.WORKFLOW_STARTED:
            await until(lambda: exists(self._client, input.start_workflow_input.id))
            die()
        await asked
        die()

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        if self._moment is not Moment.BEFORE_TEMPORAL:
            await super().start_workflow_update(input)
        die()


async def exists(client: Client, workflow_id: str) -> bool:
    """Whether Temporal knows this workflow."""
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def work(fate: Fate) -> None:
    """Serve the bookings' queue until fate strikes."""
    settings, keyring = load()
    clients = await Clients.open(settings, keyring)
    redis = DoomedRedis(settings.redis_url.get_secret_value(), fate)
    cache = Cache(redis, Nodes(clients.db, []))
    doomed = replace(clients, db=DoomedDatabase(clients.db, fate), redis=redis, cache=cache)
    await build_worker(BOOKINGS_QUEUE, settings, keyring, doomed).run()


def serve(moment: Moment) -> None:
    """Answer HTTP until the first command for Temporal."""
    settings, keyring = load()
    app = create_app(settings, keyring)

    async def doom(_: "Sanic[Any, Any]") -> None:
        services = app.ctx.services
        config = services.temporal.config()
        config["interceptors"] = [DoomedCalls(services.temporal, moment)]
        app.ctx.services = replace(services, temporal=Client(**config))

    app.register_listener(doom, "before_server_start")
    app.run(host=settings.host, port=settings.port, single_process=True, access_log=False, motd=False)


def main(arguments: Sequence[str]) -> None:
    """A worker where a workflow is named, else an API."""
    use_pinned_tzdata()
    configure_logging("doomed")
    moment = Moment(arguments[0])
    if arguments[1:]:
        asyncio.run(work(Fate(moment, arguments[1])))
    else:
        serve(moment)


if __name__ == "__main__":
    main(sys.argv[1:])
