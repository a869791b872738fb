"""Webhooks on their way: each is told until it is taken, over and over, however long nobody is there to take it."""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

import httpx

from sandbox import events
from sandbox.events import Delivery
from sandbox.settings import Settings
from sandbox.store import Store, now, rest

# Whoever does not answer within this has not taken it.
TIMEOUT_SECONDS = 5.0


class Teller:
    """Tells what is due. What is due of one order at one time keeps its order; what has failed comes later."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._url = settings.webhook_url
        self._secret = settings.webhook_secret.get_secret_value().encode()

    async def run(self) -> None:
        """Tell until cancelled."""
        bell = self._store.bell()
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False) as client:
            while True:
                by_order: dict[str, list[Delivery]] = {}
                for delivery in events.due(self._store.db, now()):
                    by_order.setdefault(delivery.order_id, []).append(delivery)
                if by_order:
                    await asyncio.gather(*(self._tell_in_turn(client, each) for each in by_order.values()))
                else:
                    await rest(bell, events.next_due(self._store.db))

    async def _tell_in_turn(self, client: httpx.AsyncClient, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            status = await self._tell(client, delivery)
            with self._store.change() as db:
                events.settle(db, delivery, status, now())

    async def _tell(self, client: httpx.AsyncClient, delivery: Delivery) -> int | None:
        """The status that it was answered with; None when there was no answer in time."""
        headers = {
            "content-type": "application/json",
            "x-sandbox-event-id": delivery.event_id,
            "x-sandbox-signature": hmac.digest(self._secret, delivery.body, hashlib.sha256).hex(),
        }
        try:
            # Not a byte of the answer's body is of interest, so none is read.
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                client.stream("POST", self._url, content=delivery.body, headers=headers) as answer,
            ):
                return answer.status_code
        except (httpx.HTTPError, TimeoutError):
            return None
