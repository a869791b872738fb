"""Money on its way while a part is killed: each patient who paid has the visit, once, and the books agree."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from amrutam.domain.payment import Account
from amrutam.gateways.payment_choice import payment_gateways
from amrutam.reconciling import differences
from amrutam.settings import Settings
from amrutam.stack.part import Part
from amrutam.storage import ledger
from amrutam.storage import payment as payments
from amrutam.storage.pool import Database
from tests.conftest import System
from tests.people import Person
from tests.polling import until
from tests.web.paying import FEE, at_sandbox, held, pay

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
PAYERS = 6


def _part(system: System, name: str) -> Part:
    parts: dict[str, Part | None] = {
        "worker": system.worker,
        "api": system.api,
        "sandbox": system.sandbox,
        "temporal": system.servers.temporal,
        "postgresql": system.servers.postgres,
    }
    part = parts[name]
    assert part
    return part


async def _asked(api: httpx.AsyncClient, patient: Person, booking_id: str) -> dict[str, Any]:
    """The checkout, however often it must be asked for."""
    key = f"pay-{booking_id}"

    async def answered() -> dict[str, Any] | None:
        answer = await pay(api, patient, booking_id, key)
        return answer.json() if answer.status_code == 201 else None

    return await until(answered, seconds=60)


async def _is_confirmed(api: httpx.AsyncClient, patient: Person, booking_id: str) -> None:
    async def confirmed() -> bool:
        try:
            answer = await api.get(f"/v1/bookings/{booking_id}", headers=patient.headers)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["status"] == "confirmed"

    assert await until(confirmed, seconds=80)


@pytest.mark.parametrize("name", ["worker", "api", "sandbox", "temporal", "postgresql"])
async def test_who_paid_while_a_part_was_killed_has_the_visit_and_the_books_agree(
    api: httpx.AsyncClient,
    system: System,
    make_patient: MakePatient,
    make_doctor: MakeDoctor,
    db: Database,
    settings: Settings,
    name: str,
) -> None:
    doctor = await make_doctor(fee=FEE)
    patients = [await make_patient() for _ in range(PAYERS)]
    bookings = [await held(api, patient, doctor, place) for place, patient in enumerate(patients)]
    asked = await asyncio.gather(
        *(_asked(api, patient, each["id"]) for patient, each in zip(patients, bookings, strict=True))
    )
    part = _part(system, name)
    paying = asyncio.gather(*(at_sandbox(system.environment, each["checkout_url"]) for each in asked[: PAYERS // 2]))
    if name == "sandbox":
        await paying  # who pays there waits for its answer
    await part.kill()
    await part.start()
    await paying
    await asyncio.gather(*(at_sandbox(system.environment, each["checkout_url"]) for each in asked[PAYERS // 2 :]))
    await asyncio.gather(
        *(_is_confirmed(api, patient, each["id"]) for patient, each in zip(patients, bookings, strict=True))
    )
    for each in asked:
        async with db.connection() as connection:
            [charge] = await payments.charges(connection, each["payment_id"])
            assert charge.decision == "applied"
            assert await ledger.balance(connection, each["payment_id"], Account.VISIT) == FEE
    gateways = payment_gateways(settings)
    now = datetime.now(UTC)
    ours = {each["payment_id"] for each in asked}
    found = [each async for each in differences(db, gateways, now - timedelta(hours=1), now)]
    assert not [each for each in found if each.charge and str(each.charge.payment_id) in ours]
    for gateway in gateways.values():
        await gateway.aclose()
