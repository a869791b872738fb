"""A sealed value that does not open: the request fails, an operator hears of it, and nobody sees a wrong text."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY
from temporalio.api.common.v1 import Payload

from amrutam.crypto import Keyring, SealError
from amrutam.kms import KmsUnavailable
from amrutam.storage import operations
from amrutam.storage.pool import Database
from amrutam.temporal import SealingCodec
from tests.conftest import System
from tests.people import People, Person
from tests.polling import until
from tests.web.accounts import MakePatient
from tests.web.slots import book, free_times
from web.errors import handle


async def _counted(system: System, what: str) -> float:
    """How often the API met a value of this kind that does not open."""
    async with httpx.AsyncClient(trust_env=False) as client:
        lines = (await client.get(f"http://127.0.0.1:{system.environment['METRICS_PORT']}/metrics")).text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(f'amrutam_seal_errors_total{{what="{what}"}}')
    )


async def _two_booked(api: httpx.AsyncClient, patient: Person, doctor: Person) -> list[str]:
    """A booking for each of `REASONS`."""
    ids: list[str] = []
    for starts_at, reason in zip(await free_times(api, doctor), REASONS, strict=False):
        answer = await book(api, patient, doctor, starts_at, reason=reason)
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
    return ids


REASONS = ("a rash since Monday", "a cough at night")
MOVED = "UPDATE bookings SET reason = (SELECT reason FROM bookings WHERE id = $2::uuid) WHERE id = $1::uuid"
CUT = "UPDATE bookings SET reason = substr(reason, 1, length(reason) - 1) WHERE id = $1::uuid AND $2 <> ''"
CHANGED = """UPDATE bookings SET reason = overlay(reason PLACING '\\x000000' FROM length(reason) - 20)
             WHERE id = $1::uuid AND $2 <> ''"""


@pytest.mark.parametrize("tampered", [MOVED, CUT, CHANGED], ids=["moved", "cut", "changed"])
async def test_a_reason_that_was_moved_cut_or_changed_is_not_shown_and_is_alerted(
    system: System, api: httpx.AsyncClient, db: Database, people: People, make_patient: MakePatient, tampered: str
) -> None:
    patient = await make_patient()
    one, other = await _two_booked(api, patient, await people.doctor())
    before = await _counted(system, "person_data")
    async with db.connection() as connection:
        await connection.execute(tampered, one, other)
    answer = await api.get(f"/v1/bookings/{one}", headers=patient.headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert not [reason for reason in REASONS if reason in answer.text]
    assert await _counted(system, "person_data") == before + 1
    log = system.servers.folders.logs / "api.log"
    told = await until(lambda: _lines(log, f"bookings|{one}|reason"))
    assert all("seal.broken" in line for line in told)
    assert not [line for line in told for reason in REASONS if reason in line]
    assert (await api.get(f"/v1/bookings/{other}", headers=patient.headers)).json()["reason"] == REASONS[1]


async def _lines(log: Path, words: str) -> list[str]:
    return [line for line in (await asyncio.to_thread(log.read_text, "utf-8")).splitlines() if words in line]


def _counted_here(what: str) -> float:
    return REGISTRY.get_sample_value("amrutam_seal_errors_total", {"what": what}) or 0


async def test_an_outcome_that_does_not_open_is_alerted(keyring: Keyring, some_id: UUID) -> None:
    before = _counted_here("operation")
    with pytest.raises(SealError):
        operations.open_sealed(keyring.master.sealing("operations"), b"cut", some_id)
    assert _counted_here("operation") == before + 1


async def test_a_payload_that_does_not_open_is_alerted(keyring: Keyring) -> None:
    before = _counted_here("payload")
    codec = SealingCodec(keyring.codec.sealing("temporal-codec"))
    with pytest.raises(SealError):
        await codec.decode([Payload(metadata={"encoding": b"binary/encrypted"}, data=b"cut")])
    assert _counted_here("payload") == before + 1


def test_a_key_service_that_is_away_is_a_part_that_is_away() -> None:
    request = SimpleNamespace(ctx=SimpleNamespace(request_id="r", route="/v1/me"), path="/v1/me")
    assert handle(cast("Any", request), KmsUnavailable("no answer in time")).status == 503
