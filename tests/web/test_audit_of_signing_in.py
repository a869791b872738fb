"""What the audit trail holds of people who are not signed in: every act leaves its row, whatever came of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest

from amrutam.storage.pool import Database
from tests.people import People
from tests.web.accounts import (
    MakePatient,
    Outbox,
    log_in,
    new_address,
    refresh,
    register,
    token_in,
    verify,
    with_password,
)
from web import links

RESEND, FORGOT = "/v1/auth/verify-email/resend", "/v1/auth/password/forgot"


@dataclass(frozen=True)
class World:
    """Where people come from."""

    api: httpx.AsyncClient
    db: Database
    people: People
    make_patient: MakePatient
    outbox: Outbox

    async def confirmed(self) -> str:
        """The address of a patient who signs in with PASSWORD."""
        return (await with_password(self.db, self.make_patient)).email

    async def unconfirmed(self) -> str:
        """An address that was registered with PASSWORD."""
        email = new_address()
        await register(self.api, email)
        return email

    async def asked(self, path: str, email: str) -> httpx.Response:
        """Ask for a mail."""
        return await self.api.post(path, json={"email": email})

    async def rows(self, answer: httpx.Response) -> list[tuple[str, str, str]]:
        """Action, role and outcome of what was noted of a request."""
        async with self.db.connection() as connection:
            rows = await connection.fetch(
                "SELECT action, actor_role, outcome FROM audit WHERE request_id = $1 ORDER BY id",
                answer.headers["x-request-id"],
            )
        return [(row["action"], row["actor_role"], row["outcome"]) for row in rows]


Act = Callable[[World], Awaitable[httpx.Response]]


@pytest.fixture
def world(api: httpx.AsyncClient, db: Database, people: People, make_patient: MakePatient, outbox: Outbox) -> World:
    """All of it."""
    return World(api, db, people, make_patient, outbox)


async def _register(world: World) -> httpx.Response:
    return await register(world.api, new_address())


async def _register_again(world: World) -> httpx.Response:
    return await register(world.api, await world.unconfirmed(), role="doctor")


async def _register_over_an_account(world: World) -> httpx.Response:
    return await register(world.api, await world.confirmed())


async def _register_more_often_than_mails_are_sent(world: World) -> httpx.Response:
    email = await world.confirmed()
    return [await register(world.api, email) for _ in range(links.MOST_LIVE + 1)][-1]


async def _confirm(world: World) -> httpx.Response:
    email = await world.unconfirmed()
    return await verify(world.api, token_in((await world.outbox(email))[0]))


async def _resend_to_an_unknown_address(world: World) -> httpx.Response:
    return await world.asked(RESEND, new_address())


async def _resend_to_an_account(world: World) -> httpx.Response:
    return await world.asked(RESEND, await world.confirmed())


async def _resend(world: World) -> httpx.Response:
    return await world.asked(RESEND, await world.unconfirmed())


async def _resend_more_often_than_mails_are_sent(world: World) -> httpx.Response:
    email = await world.unconfirmed()
    return [await world.asked(RESEND, email) for _ in range(links.MOST_LIVE)][-1]


async def _forget_at_an_unknown_address(world: World) -> httpx.Response:
    return await world.asked(FORGOT, new_address())


async def _forget_before_confirming(world: World) -> httpx.Response:
    return await world.asked(FORGOT, await world.unconfirmed())


async def _forget(world: World) -> httpx.Response:
    return await world.asked(FORGOT, await world.confirmed())


async def _sign_in(world: World) -> httpx.Response:
    return await log_in(world.api, await world.confirmed())


async def _sign_in_wrongly(world: World) -> httpx.Response:
    return await log_in(world.api, await world.confirmed(), "wrong")


async def _sign_in_before_confirming(world: World) -> httpx.Response:
    return await log_in(world.api, await world.unconfirmed())


async def _sign_in_without_the_code(world: World) -> httpx.Response:
    patient = await world.people.with_factor(await with_password(world.db, world.make_patient))
    answer = await log_in(world.api, patient.email)
    assert answer.json()["status"] == "mfa_required"
    return answer


async def _stay_signed_in(world: World) -> httpx.Response:
    tokens = (await log_in(world.api, await world.confirmed())).json()
    return await refresh(world.api, tokens["refresh_token"])


ACTS: list[tuple[Act, int, tuple[str, str, str]]] = [
    (_register, 202, ("account.register", "patient", "done")),
    (_register_again, 202, ("account.register", "doctor", "done")),
    (_register_over_an_account, 202, ("account.register", "stranger", "done")),
    (_register_more_often_than_mails_are_sent, 202, ("account.register", "stranger", "done")),
    (_confirm, 200, ("account.verify", "patient", "done")),
    (_resend_to_an_unknown_address, 202, ("account.ask_for_verification", "stranger", "done")),
    (_resend_to_an_account, 202, ("account.ask_for_verification", "stranger", "done")),
    (_resend, 202, ("account.ask_for_verification", "patient", "done")),
    (_resend_more_often_than_mails_are_sent, 202, ("account.ask_for_verification", "patient", "done")),
    (_forget_at_an_unknown_address, 202, ("account.ask_for_reset", "stranger", "done")),
    (_forget_before_confirming, 202, ("account.ask_for_reset", "patient", "done")),
    (_forget, 202, ("account.ask_for_reset", "patient", "done")),
    (_sign_in, 200, ("auth.login", "patient", "done")),
    (_sign_in_wrongly, 401, ("auth.login", "stranger", "refused")),
    (_sign_in_before_confirming, 403, ("auth.login", "stranger", "refused")),
    (_sign_in_without_the_code, 200, ("auth.show_password", "patient", "done")),
    (_stay_signed_in, 200, ("auth.refresh", "patient", "done")),
]


@pytest.mark.parametrize(("act", "status", "row"), ACTS, ids=[act.__name__.strip("_") for act, _, _ in ACTS])
async def test_whoever_is_not_signed_in_leaves_one_row(
    world: World, act: Act, status: int, row: tuple[str, str, str]
) -> None:
    answer = await act(world)
    assert answer.status_code == status, answer.text
    assert await world.rows(answer) == [row]


async def test_what_is_asked_for_with_an_unknown_address_lies_under_its_mark(world: World) -> None:
    email = new_address()
    answers = [await world.asked(FORGOT, email), await world.asked(RESEND, email), await log_in(world.api, email)]
    marks: set[UUID] = set()
    for answer in answers:
        async with world.db.connection() as connection:
            row = await connection.fetchrow(
                "SELECT subject, address FROM audit WHERE request_id = $1", answer.headers["x-request-id"]
            )
        assert row
        assert row["address"] is None
        marks.add(row["subject"])
    assert len(marks) == 1


async def test_what_is_asked_for_with_somebodys_address_lies_on_their_account(world: World) -> None:
    patient = await with_password(world.db, world.make_patient)
    for answer in (await register(world.api, patient.email), await world.asked(RESEND, patient.email)):
        async with world.db.connection() as connection:
            row = await connection.fetchrow(
                "SELECT actor_id, subject, sealed_for FROM audit WHERE request_id = $1", answer.headers["x-request-id"]
            )
        assert row
        assert tuple(row) == (None, patient.id, patient.id)
