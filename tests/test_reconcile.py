"""Our books beside the gateway's list: what is missing on either side is named, and a sweep has it looked at."""

import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from amrutam.gateways.payment_choice import payment_gateways
from amrutam.ids import new_id
from amrutam.reconciling import differences
from amrutam.settings import Settings
from amrutam.stack.applications import CHECKOUT
from amrutam.storage.pool import Database
from amrutam.temporal import PAYMENTS_QUEUE
from tests.people import Person
from tests.polling import until
from tests.web.paying import FEE, at_sandbox, confirmed, held, pay, reaches

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


async def _reconciled(environment: Mapping[str, str]) -> tuple[int, str]:
    process = await create_subprocess_exec(
        sys.executable, "-m", "amrutam", "reconcile", "--hours", "1",
        env={**environment}, cwd=CHECKOUT, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    said, wrong = await process.communicate()
    return process.returncode or 0, (said + wrong).decode()


@pytest.fixture
async def booking(api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor) -> dict[str, Any]:
    """A booking that was paid for, of which the gateway has told nothing."""
    patient = await make_patient()
    made = await held(api, patient, await make_doctor(fee=FEE))
    return {"patient": patient, "id": made["id"], "checkout": (await pay(api, patient, made["id"])).json()}


async def _has_looked(temporal: Client, payment_id: str, times: int) -> None:
    """Once after the checkout was opened, and once when the gateway told of its order: then nothing else is told."""
    handle = temporal.get_workflow_handle(f"payment/{payment_id}")

    async def looked() -> bool:
        events = (await handle.fetch_history()).events
        done = [each for each in events if each.HasField("activity_task_completed_event_attributes")]
        return len(done) > times

    assert await until(looked)


async def test_what_nobody_told_of_is_named_and_found_by_a_sweep(
    api: httpx.AsyncClient, environment: Mapping[str, str], booking: dict[str, Any], temporal: Client
) -> None:
    await _has_looked(temporal, booking["checkout"]["payment_id"], times=2)
    await at_sandbox(environment, booking["checkout"]["checkout_url"], webhooks="never")
    status, said = await _reconciled(environment)
    assert status == 1
    assert "was captured, of one of our payments, and is not in our books" in said
    found = await temporal.execute_workflow(
        "SweepPayments", 1, id=f"sweep-payments/{new_id()}", task_queue=PAYMENTS_QUEUE, result_type=int
    )
    assert found >= 1
    await reaches(api, booking["patient"], booking["id"], "confirmed")
    assert booking["checkout"]["payment_id"] not in (await _reconciled(environment))[1]


async def test_what_a_gateway_does_not_know_is_named(
    api: httpx.AsyncClient, environment: Mapping[str, str], make_patient: MakePatient, make_doctor: MakeDoctor,
    settings: Settings, db: Database, owner: Database,
) -> None:  # fmt: skip
    paid = await confirmed(api, environment, await make_patient(), await make_doctor(fee=FEE))
    gateways = payment_gateways(settings)
    now, made_up = datetime.now(UTC), f"ch_{new_id().hex}"
    async with owner.connection() as connection:
        await connection.execute(
            """INSERT INTO charges (gateway, id, payment_id, amount, currency, captured_at, decision)
               VALUES ('sandbox', $1, $2::uuid, 1, 'INR', now() - interval '20 minutes', 'returned')""",
            made_up, paid["payment"]["id"],
        )  # fmt: skip
    try:
        found = [each async for each in differences(db, gateways, now - timedelta(hours=1), now)]
        assert made_up in {each.charge_id for each in found if "does not know it" in each.words}
    finally:
        async with owner.connection() as connection:
            await connection.execute("DELETE FROM charges WHERE id = $1", made_up)
        for gateway in gateways.values():
            await gateway.aclose()


async def test_a_gateway_that_is_away_is_said_and_is_no_agreement(environment: Mapping[str, str]) -> None:
    status, said = await _reconciled({**environment, "PAYMENT_SANDBOX_URL": "http://127.0.0.1:9"})
    assert status == 2
    assert "cannot be asked" in said
