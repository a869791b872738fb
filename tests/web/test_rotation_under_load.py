"""Keys rotate while people register, book, read and are searched for: nothing fails, and all can be read after."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from amrutam.crypto import Keyring
from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.stack.applications import CHECKOUT
from amrutam.storage import auth
from amrutam.storage.person_keys import PersonKeys
from tests.conftest import System
from tests.own_system import OwnSystem, own_system
from tests.people import Person
from tests.polling import until
from tests.web.accounts import new_address, register
from tests.web.slots import book, free_times

PAIRS = 3


class Made(NamedTuple):
    """A booking: by whom, under which key, what was asked and answered."""

    patient: Person
    doctor: Person
    starts_at: str
    key: str
    reason: str
    answer: httpx.Response


@pytest.fixture
async def own(system: System, tmp_path: Path) -> AsyncGenerator[OwnSystem]:
    async with own_system(system, tmp_path) as own:
        yield own


async def _keys(own: OwnSystem, *arguments: str) -> tuple[int | None, str]:
    """Status and words of `python -m amrutam keys …`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "amrutam", "keys", *arguments, cwd=CHECKOUT, env=own.environment, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(90):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, stdout.decode() + stderr.decode()


class Load:
    """People who go on with their lives until `stop` is set. Whatever fails them fails the test."""

    def __init__(self, own: OwnSystem) -> None:
        self._own = own
        self.stop = asyncio.Event()
        self.made: list[Made] = []
        self.phones: dict[Person, str] = {}
        self.registered: list[str] = []

    async def run(self) -> None:
        """All at once."""
        support = await self._own.people.staff(Role.SUPPORT)
        pairs = [(await self._own.people.patient(), await self._own.people.doctor()) for _ in range(PAIRS)]
        async with asyncio.TaskGroup() as group:
            for number, (patient, doctor) in enumerate(pairs):
                group.create_task(self._live(patient, doctor, support, f"+9198765432{number:02}"))
            group.create_task(self._registering())

    async def _live(self, patient: Person, doctor: Person, support: Person, phone: str) -> None:
        api = self._own.api
        free = [time for day in range(2, 9) for time in await free_times(api, doctor, days_ahead=day)]
        for turn, starts_at in enumerate(free):
            if self.stop.is_set():
                return
            await self._says(patient, f"{phone[:-3]}{turn % 10}{phone[-2:]}")
            await self._books(patient, doctor, starts_at, f"a rash, told {turn} times")
            for who in (patient, doctor):
                listed = await api.get("/v1/bookings", params={"limit": 100}, headers=who.headers)
                assert listed.status_code == 200, listed.text
                assert all(each["reason"].startswith("a rash, told") for each in listed.json()["items"])
            found = await api.get(
                "/v1/support/patients", params={"phone": self.phones[patient]}, headers=support.headers
            )
            assert [each["id"] for each in found.json()["items"]] == [str(patient.id)], found.text

    async def _says(self, patient: Person, phone: str) -> None:
        api = self._own.api
        before = await api.get("/v1/me", headers=patient.headers)
        assert before.status_code == 200, before.text
        headers = {**patient.headers, "If-Match": before.headers["etag"]}
        after = await api.patch("/v1/me", json={"phone": phone, "address": "12 Lake Road"}, headers=headers)
        assert (after.status_code, after.json()["phone"]) == (200, phone)
        self.phones[patient] = phone

    async def _books(self, patient: Person, doctor: Person, starts_at: str, reason: str) -> None:
        key = new_id().hex
        answer = await book(self._own.api, patient, doctor, starts_at, key, reason=reason)
        assert answer.status_code == 201, answer.text
        self.made.append(Made(patient, doctor, starts_at, key, reason, answer))

    async def _registering(self) -> None:
        """New people, with new data keys."""
        while not self.stop.is_set():
            email = new_address()
            answer = await register(self._own.api, email, phone="+919876500000")
            assert answer.status_code == 202, answer.text
            self.registered.append(email)
            await asyncio.sleep(0.2)


@pytest.mark.timeout(300)  # a system of its own, and two rotations that wait for everybody
async def test_keys_rotate_under_load_and_nobody_notices(own: OwnSystem) -> None:
    load = Load(own)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())  # where somebody fails, so does the test, at once
        await until(lambda: _some(load.made))
        status, said = await _keys(own, "retire", "master-1")
        assert (status, "master-1 is in use" in said) == (1, True), said
        await asyncio.gather(_rotate(own, "master"), _rotate(own, "index", "--index"))
        count = len(load.made)
        await until(lambda: _some(load.made[count + PAIRS :]))
        load.stop.set()
    keyring = Keyring.load(own.keyring)
    assert (keyring.master.keys.keys(), keyring.index.keys.keys()) == ({"master-2"}, {"index-2"})
    await _everything_reads(own, load, keyring)


async def _rotate(own: OwnSystem, name: str, *what: str) -> None:
    """Rotate and retire."""
    status, said = await _keys(own, "rotate", "--lead", "10", *what)
    assert status == 0, said
    assert f"everything lies under {name}-2" in said
    status, said = await _keys(own, "retire", f"{name}-1")
    assert (status, f"{name}-1 is gone" in said) == (0, True), said


async def _some(things: list[Any]) -> bool:
    return bool(things)


async def _everything_reads(own: OwnSystem, load: Load, keyring: Keyring) -> None:
    for made in load.made:
        again = await book(own.api, made.patient, made.doctor, made.starts_at, made.key, reason=made.reason)
        assert (again.status_code, again.content) == (201, made.answer.content)
        assert again.headers["idempotency-replayed"] == "true"
        read = await own.api.get(made.answer.headers["location"], headers=made.doctor.headers)
        assert read.json()["reason"] == made.reason
    keys = PersonKeys(keyring)
    async with own.db.connection() as connection:
        rows = await connection.fetch("SELECT id FROM users WHERE phone IS NOT NULL")
        opened = [await auth.person(connection, keys, each) for each in [row["id"] for row in rows]]
    assert {each.phone for each in opened if each} == {*load.phones.values(), "+919876500000"}
    assert len(opened) == len(load.phones) + len(load.registered)
