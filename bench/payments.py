"""Held, paid at the sandbox, confirmed: over HTTP as an app does it, and what a whole booking of that kind costs."""

import asyncio
import json
import time
from collections.abc import Iterator
from uuid import UUID

from amrutam.ids import new_id
from bench.client import Api, Reply
from bench.load import Sample, in_flight, open_loop
from bench.people import People, Wish
from bench.plan import OPEN_RATE, WIDTH, Plan
from bench.report import Bound, Report, Row
from bench.system import System
from bench.usage import BARE_WORKER, cpu, spent

FEE = 50_000
CALL = Bound(most=500)  # the goal for writes
HISTORY = Bound(most=20)
LOOK_SECONDS = 0.05
LONGEST_SECONDS = 60
HISTORIES = 20


class Payer:
    """Books a priced time, asks where to pay, pays there, and waits until it is confirmed."""

    def __init__(self, system: System, api: Api, sandbox: Api, wishes: Iterator[Wish]) -> None:
        self._system, self._api, self._sandbox, self._wishes = system, api, sandbox, wishes
        self._key = {"Authorization": f"Bearer {system.sandbox_key}"}
        self.calls = {name: Sample() for name in ("book", "pay", "from the payment to the confirmation")}
        self.confirmed: list[str] = []

    async def __call__(self) -> str:
        """One of them; `confirmed`, or what came instead."""
        wish = next(self._wishes)
        body = {"doctor_id": str(wish.doctor_id), "starts_at": wish.starts_at.isoformat(), "mode": "video"}
        booked = await self._timed("book", wish, "/v1/bookings", body)
        if booked.status != 201:  # noqa: PLR2004 - Created
            return _said(booked)
        booking_id = json.loads(booked.body)["id"]
        asked = await self._timed("pay", wish, f"/v1/bookings/{booking_id}/pay", {})
        if asked.status != 201:  # noqa: PLR2004 - Created
            return _said(asked)
        order = json.loads(asked.body)["checkout_url"].rpartition("/")[2]
        paid = await self._sandbox.post(f"/v1/orders/{order}/pay", self._key, {"outcome": "pay"})
        if paid.status != 200:  # noqa: PLR2004 - OK
            return f"sandbox {paid.status}"
        return await self._until_confirmed(booking_id)

    async def _timed(self, name: str, wish: Wish, path: str, body: object) -> Reply:
        headers = {"Authorization": f"Bearer {wish.token}", "Idempotency-Key": str(new_id())}
        began = time.perf_counter()
        reply = await self._api.post(path, headers, body)
        self.calls[name].seconds.append(time.perf_counter() - began)
        return reply

    async def _until_confirmed(self, booking_id: str) -> str:
        began = time.perf_counter()
        while time.perf_counter() - began < LONGEST_SECONDS:
            async with self._system.owner.connection() as db:
                status = await db.fetchval("SELECT status FROM bookings WHERE id = $1", UUID(booking_id))
            if status == "confirmed":
                self.calls["from the payment to the confirmation"].seconds.append(time.perf_counter() - began)
                self.confirmed.append(booking_id)
                return status
            await asyncio.sleep(LOOK_SECONDS)
        return "not confirmed"


async def measure(system: System, people: People, plan: Plan, report: Report) -> None:
    """In an open loop, as payments come in life."""
    api, sandbox = Api(system.api_port), Api(system.sandbox_port)
    await api.open(WIDTH)
    payer = Payer(system, api, sandbox, await people.wishes(plan.doctors, fee=FEE))
    await in_flight(payer, plan.rounds * 4, 4)
    payer.calls = {name: Sample() for name in payer.calls}
    before = cpu(system)
    sample = await open_loop(payer, OPEN_RATE, plan.open_seconds)
    cost, count = spent(before, cpu(system)), max(len(sample.seconds), 1)
    details = {"outcomes": dict(sample.outcomes.most_common())}
    for name, calls in payer.calls.items():
        bound = CALL if name in {"book", "pay"} else Bound()
        what = f"paid bookings, {OPEN_RATE} a second open loop: {name}, p95"
        if calls.seconds:
            report.add(Row(what, calls.percentile(0.95), "ms", bound=bound, details=details))
    for name, seconds in cost.items():
        if name != BARE_WORKER:
            report.add(Row(f"CPU of a paid booking, {name}", seconds / count * 1000, "ms"))
    handles = [system.temporal.get_workflow_handle(f"booking/{each}") for each in payer.confirmed[-HISTORIES:]]
    lengths = [(await handle.describe()).history_length for handle in handles]
    report.add(Row("history of a paid booking", sum(lengths) / max(len(lengths), 1), "events", bound=HISTORY))
    await api.close()
    await sandbox.close()


def _said(reply: Reply) -> str:
    return f"{reply.status} {json.loads(reply.body).get('code', '')}".strip()
