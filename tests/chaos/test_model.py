"""The running system against a plain model: whatever patients do, in any order or at once, both tell the same."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run
from redis.asyncio import Redis
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own

from amrutam.ids import new_id
from amrutam.storage.cache import Cache, slots_group
from amrutam.storage.nodes import Nodes
from amrutam.storage.pool import Database
from tests.chaos.model import Book, Cancel, Doctor, Expire, Model, Told
from tests.people import Person
from tests.polling import until
from tests.web.slots import wish

T = TypeVar("T")
MakePatient = Callable[[], Coroutine[Any, Any, Person]]
MakeDoctor = Callable[..., Coroutine[Any, Any, Person]]

EXAMPLES, STEPS = 3, 30
PATIENTS = 3
# Grids and buffers that cross each other, so that a time of one doctor overlaps two of another.
DOCTORS = (
    {"fee": 0},
    {"fee": 50000},
    {"fee": 50000, "slot_minutes": 20, "buffer_before_minutes": 5, "buffer_after_minutes": 10},
    {"fee": 0, "slot_minutes": 30, "buffer_after_minutes": 15},
)
# The first of the slots that everybody wants, and how many.
FIRST, WANTED = 8, 5
# What a client does not take for an answer, but asks again with the same key.
ASK_AGAIN = frozenset({"pending", "operation_in_progress", "unavailable"})
LONGER_THAN_A_HOLD = timedelta(minutes=11)


@dataclass(frozen=True)
class Request:
    """A time that somebody books, or a booking that they cancel; perhaps asked again, with the same key."""

    who: Person
    doctor: Person
    key: str
    wanted: datetime | UUID

    @property
    def ask(self) -> Book | Cancel:
        """What the model is asked."""
        if isinstance(self.wanted, UUID):
            return Cancel(self.who.id, self.wanted)
        return Book(self.who.id, self.doctor.id, self.wanted)

    @property
    def path_and_body(self) -> tuple[str, dict[str, Any]]:
        """What the system is asked, the same each time."""
        if isinstance(self.wanted, UUID):
            return f"/v1/bookings/{self.wanted}/cancel", {}
        return "/v1/bookings", wish(self.doctor, self.wanted.isoformat())


class Answer(NamedTuple):
    """A booking's state, with the booking, or the code of a refusal; and the answer itself."""

    word: str
    booking: UUID | None
    status: int
    content: bytes


@dataclass(frozen=True)
class Clinic:
    """The running system, for a thread beside the loop on which its clients live."""

    loop: asyncio.AbstractEventLoop
    api: httpx.AsyncClient
    owner: Database
    cache: Cache
    temporal: Client
    day: date
    say: Callable[[str], None]

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    async def hear(self, asked: Sequence[Request | Expire]) -> list[Answer]:
        """The final answers to requests that run at once."""
        return await asyncio.gather(
            *(self.send(each) if isinstance(each, Request) else self._run_out(each.booking) for each in asked)
        )

    async def send(self, request: Request, **more: Any) -> Answer:
        """The final answer. `more` is not as it was the first time."""

        async def final() -> Answer | None:
            path, body = request.path_and_body
            response = await self.api.post(path, json={**body, **more}, headers=request.who.writing(request.key))
            told = response.json()
            word, booking = (told["code"], None) if response.is_error else (told["status"], UUID(told["id"]))
            return None if word in ASK_AGAIN else Answer(word, booking, response.status_code, response.content)

        return await until(final)

    async def _run_out(self, booking: UUID) -> Answer:
        """Let the hold's own clock pass its end; tells how its workflow left it."""
        handle = self.temporal.get_workflow_handle(f"booking/{booking}")
        with suppress(RPCError, RuntimeError):  # it has ended meanwhile
            await TimeSkipper(self.temporal).fast_forward(handle, LONGER_THAN_A_HOLD)
        return Answer(await handle.result(), booking, 0, b"")

    async def oversleep(self, booking: UUID, doctor: UUID) -> None:
        """Let the database's clock pass the hold's end, while its workflow sleeps on."""
        async with self.owner.transaction() as db:
            ended = "SET expires_at = now() - interval '1 second' WHERE"
            await db.execute(f"UPDATE bookings {ended} id = $1", booking)
            await db.execute(f"UPDATE claims {ended} booking_id = $1", booking)
        await self.cache.invalidate_surely(slots_group(doctor))

    async def listed(self, patient: Person) -> dict[UUID, str]:
        """The patient's bookings and their states."""
        answer = await self.api.get("/v1/bookings", params={"limit": 100}, headers=patient.headers)
        return {UUID(item["id"]): item["status"] for item in answer.json()["items"]}

    async def free(self, doctor: Person) -> list[datetime]:
        """When the doctor's free slots of the day begin."""
        params = {"from": self.day.isoformat(), "to": self.day.isoformat(), "tz": "UTC"}
        answer = await self.api.get(f"/v1/doctors/{doctor.id}/slots", params=params)
        return [datetime.fromisoformat(slot["starts_at"]) for slot in answer.json()["items"]]


class Bookings(RuleBasedStateMachine):
    """Each step asks the system and the model; after each step both show the same bookings and free times.

    Hypothesis chooses the steps. Whom and which time each is about follows from one seed: drawn one by one they would
    be the first patient and the first time far too often.
    """

    def __init__(self, clinic: Clinic, make_patient: MakePatient, make_doctor: MakeDoctor) -> None:
        super().__init__()
        self.clinic = clinic
        self.patients = [clinic.wait(make_patient()) for _ in range(PATIENTS)]
        self.doctors = [clinic.wait(make_doctor(**given)) for given in DOCTORS]
        hours = zip(self.doctors, DOCTORS, strict=True)
        self.model = Model({each.id: Doctor(clinic.wait(clinic.free(each)), **given) for each, given in hours})
        self.people = {person.id: person for person in (*self.patients, *self.doctors)}
        self.requests: list[Request] = []
        self.done: dict[str, Answer] = {}

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.clinic.say(f"begin with the seed {seed}")
        self.chance = Random(seed)  # noqa: S311 - a repeatable test

    @rule()
    def book(self) -> None:
        """One patient asks for a time, once or impatiently."""
        self._all_at_once([self._booking()] * self.chance.choice([1, 1, 3]))

    @precondition(lambda self: self.model.made)
    @rule()
    def cancel(self) -> None:
        """Somebody gives a time back, be it theirs or not."""
        self._all_at_once([self._cancellation()])

    @precondition(lambda self: self.model.holds())
    @rule()
    def run_out(self) -> None:
        """A hold is not paid for."""
        self._all_at_once([Expire(self.chance.choice(self.model.holds()))])

    @precondition(lambda self: self.requests)
    @rule()
    def ask_again(self) -> None:
        """The same request with the same key: what was done is told again, what was refused is tried afresh."""
        self._all_at_once([self.chance.choice(self.requests)])

    @precondition(lambda self: self.requests)
    @rule()
    def use_a_key_for_something_else(self) -> None:
        """It is refused, and nothing happens."""
        request = self.chance.choice(self.requests)
        answer = self.clinic.wait(self.clinic.send(request, reason="another"))
        self.clinic.say(f"for another reason, {self._line(request, answer)}")
        assert answer.word == "idempotency_key_reused"

    @precondition(lambda self: self.model.waiting())
    @rule()
    def oversleep(self) -> None:
        """A hold's time is up, and its workflow is late: the time is free, the booking still there."""
        booking = self.chance.choice(self.model.waiting())
        self.clinic.say(f"{booking} is overdue by the database's clock, and its workflow sleeps on")
        self.clinic.wait(self.clinic.oversleep(booking, self.model.made[booking].doctor))
        self.model.overdue |= {booking}

    @rule()
    def race(self) -> None:
        """Every patient asks for the same time at the same moment."""
        first = self._booking()
        self._all_at_once([replace(first, who=patient, key=str(new_id())) for patient in self.patients])

    @rule()
    def all_at_once(self) -> None:
        """Several things happen at the same moment; the answers must be those of some order."""
        several: list[Callable[[], Request | Expire]] = [self._booking, self._booking, self._booking]
        several += [lambda: self.chance.choice(self.requests)] if self.requests else []
        several += [self._cancellation] if self.model.made else []
        several += [lambda: Expire(self.chance.choice(self.model.holds()))] if self.model.holds() else []
        self._all_at_once([each() for each in self.chance.choices(several, k=self.chance.randint(2, 4))])

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        """The bookings of each patient, and the free times of each doctor."""
        for patient in self.patients:
            assert self.clinic.wait(self.clinic.listed(patient)) == self.model.of_patient(patient.id)
        for doctor in self.doctors:
            assert self.clinic.wait(self.clinic.free(doctor)) == self.model.free(doctor.id)

    def _booking(self) -> Request:
        """Of a time that everybody wants, or now and then of one that nobody offers."""
        patient, doctor = self.chance.choice(self.patients), self.chance.choice(self.doctors)
        offered = self.model.doctors[doctor.id].offered
        wanted = [*offered[FIRST : FIRST + WANTED]] * 3 + [offered[FIRST] + timedelta(minutes=7)]
        return Request(patient, doctor, str(new_id()), self.chance.choice(wanted))

    def _cancellation(self) -> Request:
        booking = self.chance.choice(list(self.model.made))
        made = self.model.made[booking]
        patient, doctor = self.people[made.patient], self.people[made.doctor]
        by = self.chance.choice([patient, patient, patient, doctor, *self.patients])
        return Request(by, doctor, str(new_id()), booking)

    def _all_at_once(self, asked: Sequence[Request | Expire]) -> None:
        """Ask, and look for an order in which the model would have told the same."""
        old = frozenset(self.done)
        answers = self.clinic.wait(self.clinic.hear(asked))
        self.clinic.say(" | ".join(map(self._line, asked, answers)))
        told = [self._heard(each, answer, old) for each, answer in zip(asked, answers, strict=True)]
        after = self.model.after(list(dict.fromkeys(each for each in told if each)))
        assert after is not None
        self.model = after

    def _heard(self, asked: Request | Expire, answer: Answer, old: frozenset[str]) -> Told | None:
        """What the model must explain. None where an old request was answered as it was the first time."""
        if isinstance(asked, Expire):
            return Told(asked, answer.word, answer.booking)
        if asked not in self.requests:
            self.requests.append(asked)
        if answer.booking or asked.key in old:
            assert self.done.setdefault(asked.key, answer) == answer
        return None if asked.key in old else Told(asked.ask, answer.word, answer.booking)

    def _line(self, asked: Request | Expire, answer: Answer) -> str:
        names = {person.id: f"patient {number}" for number, person in enumerate(self.patients)}
        names |= {person.id: f"doctor {number}" for number, person in enumerate(self.doctors)}
        match asked.ask if isinstance(asked, Request) else asked:
            case Book(patient, doctor, starts_at):
                words = f"{names[patient]} books {names[doctor]} at {starts_at:%H:%M}"
            case Cancel(by, booking):
                words = f"{names[by]} cancels {booking}"
            case Expire(booking):
                words = f"{booking} runs out"
        key = f", key {asked.key[-4:]}" if isinstance(asked, Request) else ""
        return f"{words}{key}: {answer.word} {answer.booking or ''}"


@pytest.mark.timeout(400)  # each of its steps is a dozen requests
async def test_whatever_patients_do_the_system_and_a_plain_model_tell_the_same(
    api: httpx.AsyncClient, owner: Database, redis: Redis, temporal: Client,
    make_patient: MakePatient, make_doctor: MakeDoctor,
) -> None:  # fmt: skip
    day = (datetime.now(UTC) + timedelta(days=2)).date()
    clinic = Clinic(asyncio.get_running_loop(), api, owner, Cache(redis, Nodes(owner, [])), temporal, day, print)
    few_and_long = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # to look for a shorter way to a failure takes minutes; the steps are told as they are
        suppress_health_check=[HealthCheck.too_slow],
    )
    machine = cast("type[Bookings]", lambda: Bookings(clinic, make_patient, make_doctor))
    await asyncio.to_thread(run, machine, settings=few_and_long)
