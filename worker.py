"""`python worker.py [queue …]`: runs the named task queues, or all, the relay and the sweep."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import uvloop
from redis.asyncio import Redis
from temporalio.client import Client
from temporalio.worker import Worker

from activities.audit import AuditActivities
from activities.booking import BookingActivities, Rules
from activities.calling_off import CallingOffActivities
from activities.cancel_day import CancelDayActivities
from activities.maintenance import MaintenanceActivities
from activities.notification import NotificationActivities
from activities.payment import PaymentActivities, Terms
from activities.verification import VerificationActivities
from amrutam.crypto import OPERATIONS, Keyring, SealingKeys
from amrutam.domain.booking import HoldLimits
from amrutam.domain.wallclock import use_pinned_tzdata
from amrutam.gateways.checkpoints import CheckpointFolder
from amrutam.gateways.documents import documents_for
from amrutam.gateways.mail import mailer_for
from amrutam.gateways.payment_choice import payment_gateways
from amrutam.keyring_file import follow
from amrutam.leaving import leave
from amrutam.preflight import database_state, load_and_check
from amrutam.relay import (
    Relay,
    follow_suspensions,
    mark_free_times,
    mark_sessions,
    pursue_payments,
    refresh_caches,
    send_mails,
)
from amrutam.settings import Settings, SettingsError
from amrutam.settling import settle
from amrutam.storage.breaker import redis_client
from amrutam.storage.cache import Cache
from amrutam.storage.lock import Lock
from amrutam.storage.nodes import Nodes
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database, DatabaseUnavailable
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_markers import SessionMarkers
from amrutam.sweep import Sweep
from amrutam.telemetry import OperatorPort, configure_logging
from amrutam.temporal import MAILS_QUEUE, connect, forward_core_logs, is_reachable
from workflows.refusals import RefusalInterceptor
from workflows.registry import WORKFLOWS, sandbox

QUEUES = tuple(WORKFLOWS)

# However many mails wait, they take this much of the process, and no more.
MOST_MAILS = 4

# Over the longest write, so that an attempt that has begun may end.
GRACE = timedelta(seconds=8)


@dataclass(frozen=True)
class Clients:
    """What this process talks to."""

    db: Database
    redis: Redis
    cache: Cache
    scripts: Scripts
    temporal: Client
    operation_keys: SealingKeys
    person_keys: PersonKeys

    @classmethod
    async def open(cls, settings: Settings, keyring: Keyring) -> "Clients":
        """Connect to Temporal; the database is connected to when it is needed. Raises RuntimeError."""
        db = await Database.connect(
            settings.database_url.get_secret_value(), size=settings.database_pool_size, application="amrutam-worker"
        )
        redis = redis_client(settings.redis_url.get_secret_value())
        scripts = Scripts(settings.redis_url.get_secret_value())
        keys = keyring.master.sealing(OPERATIONS)
        cache, temporal = Cache(redis, Nodes(db, [])), await connect(settings, keyring)
        return cls(db, redis, cache, scripts, temporal, keys, PersonKeys(keyring))

    def use(self, keyring: Keyring) -> None:
        """Take the keys that may rotate from another keyring from now on."""
        self.operation_keys.use(keyring.master.sealing(OPERATIONS))
        self.person_keys.use(keyring)

    async def close(self) -> None:
        """Give everything back."""
        await self.scripts.close()
        await self.cache.close()
        await self.db.close()

    async def state(self) -> dict[str, str]:
        """Each part's state in words."""
        database, temporal = await asyncio.gather(database_state(self.db), is_reachable(self.temporal))
        return {"postgresql": database, "temporal": "ok" if temporal else "away"}


def build_worker(queue: str, settings: Settings, keyring: Keyring, clients: Clients) -> Worker:
    """The worker of one task queue."""
    activities: Sequence[Callable[..., Any]]
    match queue:
        case "bookings":
            limits = HoldLimits(
                unpaid=settings.max_unpaid_holds,
                expired=settings.max_expired_holds,
                seconds=settings.hold_seconds,
                most_seconds=settings.hold_most_seconds,
            )
            keys = clients.operation_keys
            lock = Lock(clients.redis)
            rules = Rules(settings.refund_rules, settings.reminder_minutes, settings.gst_permille)
            steps = BookingActivities(clients.db, lock, clients.cache, keys, limits, rules)
            activities = [steps.claim, steps.remind, steps.extend, steps.expire, steps.settle, steps.cancel, steps.move]
            activities += [steps.offer_move, steps.call_off, steps.withdraw]
        case "payments":
            paying = PaymentActivities(
                clients.db,
                clients.temporal,
                payment_gateways(settings),
                clients.operation_keys,
                Terms(late=timedelta(minutes=settings.payment_late_minutes)),
            )
            activities = [paying.open, paying.look, paying.refund, paying.sweep]
        case "mails":
            activities = [_notification(settings, keyring, clients).send_mail]
        case _:
            keeping = MaintenanceActivities(clients.db, settings, documents_for(settings))
            folder = settings.audit_checkpoint_folder
            sealing = AuditActivities(clients.db, CheckpointFolder(folder, keyring) if folder else None)
            verifying = VerificationActivities(clients.db, clients.cache, clients.operation_keys)
            calling_off = CallingOffActivities(clients.db, clients.temporal)
            cancelling = CancelDayActivities(clients.db, clients.cache, clients.temporal, clients.operation_keys)
            activities = [
                _notification(settings, keyring, clients).send_mail,
                keeping.keep_house,
                sealing.seal,
                *(verifying.submit, verifying.answer, verifying.decide),
                *(verifying.remind, verifying.expire, verifying.lapse),
                *(calling_off.bookings_ahead, calling_off.call_off),
                *(cancelling.close, cancelling.appointments, cancelling.offer_move),
            ]
    most = MOST_MAILS if queue == MAILS_QUEUE else settings.database_pool_size
    return Worker(
        clients.temporal,
        task_queue=queue,
        workflows=WORKFLOWS[queue],
        activities=activities,
        interceptors=[RefusalInterceptor()],
        workflow_runner=sandbox(),
        max_cached_workflows=settings.workflow_cache_size,
        graceful_shutdown_timeout=GRACE,
        max_concurrent_local_activities=most,
        max_concurrent_activities=most,
        max_concurrent_workflow_tasks=most if queue == MAILS_QUEUE else None,
    )


def _notification(settings: Settings, keyring: Keyring, clients: Clients) -> NotificationActivities:
    return NotificationActivities(clients.db, mailer_for(settings), keyring, settings, clients.person_keys)


async def run(settings: Settings, keyring: Keyring, queues: Sequence[str], stop: asyncio.Event) -> None:
    """Work until `stop` is set, then let what has begun end."""
    clients = await Clients.open(settings, keyring)
    operators = OperatorPort(settings.metrics_host, settings.metrics_port, clients.state)
    markers = SessionMarkers(clients.scripts, clients.db, timedelta(seconds=settings.access_token_seconds))
    relay = Relay(
        clients.db,
        {
            "cache": refresh_caches(clients.cache),
            "mail": send_mails(clients.temporal),
            "suspensions": follow_suspensions(clients.temporal),
            "payments": pursue_payments(clients.temporal),
            "sessions": mark_sessions(markers),
            "free_times": mark_free_times(clients.db),
        },
    )
    operators.start()
    try:
        async with asyncio.TaskGroup() as group:
            following = group.create_task(follow(settings.amrutam_keyring, keyring, clients.use))
            relaying = group.create_task(relay.run())
            sweeping = group.create_task(Sweep(clients.db).run())
            workers = [build_worker(queue, settings, keyring, clients) for queue in queues]
            settle()
            running = [group.create_task(worker.run()) for worker in workers]
            await stop.wait()
            relaying.cancel()
            sweeping.cancel()
            following.cancel()
            await asyncio.gather(*(worker.shutdown() for worker in workers))
            await asyncio.gather(*running)
    finally:
        operators.stop()
        await clients.close()


async def serve(settings: Settings, keyring: Keyring, queues: Sequence[str]) -> None:
    """Work until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, keyring, queues, stop)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 for an orderly stop, 1 when a part is away, 2 for settings or queues that do not fit."""
    use_pinned_tzdata()
    configure_logging("worker")
    forward_core_logs()
    queues = arguments or QUEUES
    if unknown := set(queues) - set(QUEUES):
        sys.stderr.write(f"no such queue: {', '.join(sorted(unknown))}; there are {', '.join(QUEUES)}\n")
        return 2
    try:
        settings, keyring = load_and_check()
        uvloop.run(serve(settings, keyring, queues))  # the loop that the API runs on
    except SettingsError as error:
        sys.stderr.write(f"amrutam worker cannot start:\n{error}\n")
        return 2
    except (DatabaseUnavailable, RuntimeError) as error:  # the Temporal client raises RuntimeError for what is away
        sys.stderr.write(f"amrutam worker cannot go on, a part is away: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
