"""The relay: a loop in the worker that carries committed facts to where they have an effect.

Each consumer has its own watermark, so that Temporal being away does not keep caches stale. Effects come first and the
watermark after, in one transaction: at least once, and each effect may be repeated.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from amrutam.domain.calling_off import Suspension
from amrutam.domain.common import Message
from amrutam.domain.notification import SendMail, mail_for
from amrutam.domain.payment import PaymentNoticed, Pursue, RefundDue
from amrutam.domain.sessions import SessionsChanged
from amrutam.domain.verification import PracticeSuspended
from amrutam.storage import events, free_times
from amrutam.storage.cache import Cache, groups_of
from amrutam.storage.events import StoredEvent
from amrutam.storage.free_times import calendar_of
from amrutam.storage.pool import Database
from amrutam.storage.session_markers import SessionMarkers
from amrutam.telemetry import RELAY_LAG_SECONDS
from amrutam.temporal import BACKGROUND_QUEUE, MAILS_QUEUE, PAYMENTS_QUEUE

BATCH = 200
PAUSE_SECONDS = 0.2
RETRY_SECONDS = 1.0
# Mails are told in no order. One after the other, a person's link would wait behind each mail of a suspended practice.
STARTS_AT_ONCE = 8

log = structlog.get_logger()

Effect = Callable[[Sequence[StoredEvent]], Awaitable[None]]
"""What a consumer does with a batch. It may be asked to do it again."""


class Relay:
    """Runs every consumer; in many processes at once, one at a time reads for each consumer."""

    def __init__(self, db: Database, consumers: Mapping[str, Effect]) -> None:
        self._db = db
        self._consumers = consumers

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for consumer, effect in self._consumers.items():
                group.create_task(self._consume(consumer, effect))

    async def _consume(self, consumer: str, effect: Effect) -> None:
        registered = False
        while True:
            try:
                if not registered:
                    async with self._db.connection() as db:
                        await events.register(db, consumer)
                    registered = True
                handled = await self._pass(consumer, effect)
            except Exception as error:  # noqa: BLE001 - whatever is away comes back; the loop must be there then
                log.warning("relay.delayed", consumer=consumer, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if handled < BATCH:
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _pass(self, consumer: str, effect: Effect) -> int:
        """Handle one batch; returns its size."""
        async with self._db.transaction() as db:
            if not await events.become_only_reader(db, consumer):
                return 0
            batch = await events.next_batch(db, consumer, BATCH)
            RELAY_LAG_SECONDS.labels(consumer).set(batch[0].age_seconds if batch else 0)
            if batch:
                await effect(batch)
                await events.move_watermark(db, consumer, batch[-1])
            return len(batch)


def refresh_caches(cache: Cache) -> Effect:
    """Drop what the facts made stale. Raises RedisError while Redis is away, so that nothing is skipped."""

    async def effect(batch: Sequence[StoredEvent]) -> None:
        stale = {group for event in batch for group in groups_of(event.type, event.subject, event.data)}
        if stale:
            await cache.invalidate_surely(*stale)

    return effect


def mark_free_times(db: Database) -> Effect:
    """Have the calendars read again whose free times have changed. The sweep reads each one once, however many told."""

    async def effect(batch: Sequence[StoredEvent]) -> None:
        doctor_ids = {doctor_id for event in batch if (doctor_id := calendar_of(event.type, event.subject, event.data))}
        if doctor_ids:
            async with db.transaction() as connection:
                await free_times.mark_changed(connection, sorted(doctor_ids))

    return effect


def mark_sessions(markers: SessionMarkers) -> Effect:
    """Tell Redis which sessions have ended, or want newer tokens. Raises RedisAway, so that nothing is skipped."""

    async def effect(batch: Sequence[StoredEvent]) -> None:
        for event in batch:
            if event.type == SessionsChanged.type:
                changed = SessionsChanged.model_validate({**json.loads(event.data), "subject": event.subject})
                await markers.note_surely(changed.versions)

    return effect


def follow_suspensions(temporal: Client) -> Effect:
    """Start `suspension/<event id>` for each doctor who was suspended, which calls their bookings off."""

    async def effect(batch: Sequence[StoredEvent]) -> None:
        for event in batch:
            if event.type == PracticeSuspended.type:
                suspended = PracticeSuspended.model_validate({**json.loads(event.data), "subject": event.subject})
                await _start_once(
                    temporal,
                    BACKGROUND_QUEUE,
                    "Suspension",
                    Suspension(id=event.id, doctor_id=suspended.subject, by=suspended.by),
                    f"suspension/{event.id}",
                    "A doctor may not practise any more",
                )

    return effect


def pursue_payments(temporal: Client) -> Effect:
    """Have `payment/<id>` look, started anew where it has ended: a gateway has told, or money is to go back."""

    async def effect(batch: Sequence[StoredEvent]) -> None:
        told = {event.subject for event in batch if event.type in {PaymentNoticed.type, RefundDue.type}}
        for payment_id in sorted(told):
            await temporal.start_workflow(
                "Payment",
                Pursue(payment_id=payment_id),
                id=f"payment/{payment_id}",
                task_queue=PAYMENTS_QUEUE,
                start_signal="look",
                static_summary="A payment after its checkout",
                rpc_timeout=timedelta(seconds=3),
            )

    return effect


def send_mails(temporal: Client) -> Effect:
    """Start `mail/<event id>` for each fact that somebody is told of: once for each, however often it is seen.

    Where both sides of a booking are told, one workflow sends both mails.
    """

    async def effect(batch: Sequence[StoredEvent]) -> None:
        some = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(mail: SendMail) -> None:
            async with some:
                words = f"Mail: {mail.template}"
                await _start_once(temporal, MAILS_QUEUE, "SendMails", mail, mail.workflow_id, words)

        mails = [mail_for(each.id, each.type, each.subject, each.data) for each in batch]
        try:
            async with asyncio.TaskGroup() as group:
                for mail in filter(None, mails):
                    group.create_task(start(mail))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    return effect


async def _start_once(temporal: Client, queue: str, workflow: str, argument: Message, id: str, summary: str) -> None:
    """Start it, if it was not started before."""
    with suppress(WorkflowAlreadyStartedError):
        await temporal.start_workflow(
            workflow,
            argument,
            id=id,
            task_queue=queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=summary,
            rpc_timeout=timedelta(seconds=3),
        )
