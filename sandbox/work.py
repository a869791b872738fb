"""What the gateway does by itself: it captures and refunds when the time has come, and tells of it."""

import asyncio

from sandbox import charges, refunds
from sandbox.settings import Settings
from sandbox.store import Store, now, rest
from sandbox.telling import Teller


async def work(store: Store, settings: Settings) -> None:
    """Until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_time(store))
        group.create_task(Teller(store, settings).run())


async def _keep_time(store: Store) -> None:
    """Do what is due when it is due."""
    bell = store.bell()
    while True:
        moment = now()
        charges.capture_due(store, moment)
        refunds.finish_due(store, moment)
        dues = (charges.next_due(store.db), refunds.next_due(store.db))
        await rest(bell, min(filter(None, dues), default=None))
