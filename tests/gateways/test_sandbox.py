"""The payment sandbox as a server: what it takes, what it tells, and that it forgets nothing."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from amrutam.ids import new_id
from amrutam.stack.applications import CHECKOUT
from sandbox import events, orders
from sandbox.events import MOST_REFUSALS
from sandbox.money import shown
from sandbox.store import Store
from tests.gateways.http_listener import Answer
from tests.gateways.sandboxes import Running, running_sandbox
from tests.polling import until

CREATED, AUTHORISED, CAPTURED = "order.created", "charge.authorised", "charge.captured"


async def _heard(running: Running, reference: str, *kinds: str) -> None:
    """Wait until these were told of an order, as often, and look at their order."""

    async def enough() -> bool:
        return len(running.listener.kinds(reference)) >= len(kinds)

    await until(enough)
    assert running.listener.kinds(reference) == list(kinds)


async def test_an_order_is_had_once_for_each_reference(sandbox: Running) -> None:
    reference, expires_at = str(new_id()), (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    answers = await asyncio.gather(*(sandbox.order(reference, expires_at=expires_at) for _ in range(10)))
    assert all(answer == answers[0] for answer in answers)
    other = {name: answers[0][name] for name in ("reference", "currency", "description", "expires_at", "return_url")}
    refused = await sandbox.http.post("/v1/orders", json=other | {"amount": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "REFERENCE_TAKEN")
    await _heard(sandbox, reference, CREATED)


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic d3Jvbmc6", "Bearer \u00fc"])
async def test_nobody_is_answered_without_the_key(sandbox: Running, key: str) -> None:
    order = await sandbox.order()
    headers = httpx.Headers([(b"authorization", key.encode("latin-1"))])
    for method, path in (("POST", "orders"), ("POST", f"orders/{order['id']}/pay"), ("GET", "charges")):
        answer = await sandbox.http.request(method, f"/v1/{path}", headers=headers, json={"outcome": "pay"})
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    assert await sandbox.charges(order) == []


@pytest.mark.parametrize(
    ("webhooks", "told"),
    [
        ("now", [AUTHORISED, CAPTURED]),
        ("late", [AUTHORISED, CAPTURED]),
        ("twice", [AUTHORISED, AUTHORISED, CAPTURED, CAPTURED]),
        ("out_of_order", [CAPTURED, AUTHORISED]),
    ],
)
async def test_a_payment_is_told_as_it_is_asked_for(sandbox: Running, webhooks: str, told: list[str]) -> None:
    order = await sandbox.order()
    charge = await sandbox.pay(order, webhooks=webhooks, delay_seconds=0.7)
    paid_at = datetime.fromisoformat(charge["captured_at"])
    await _heard(sandbox, order["reference"], CREATED, *told)
    about_it = sandbox.listener.events(order["reference"])[1:]
    assert len({event["id"] for event in about_it}) == 2
    assert {event["charge_id"] for event in about_it} == {charge["id"]}
    assert (datetime.now(UTC) - paid_at > timedelta(seconds=0.7)) or webhooks != "late"
    assert [each["state"] for each in await sandbox.charges(order)] == ["captured"]


async def test_a_payment_that_is_never_told_is_found_by_who_asks(sandbox: Running) -> None:
    order = await sandbox.order()
    await sandbox.pay(order, webhooks="never")
    later = await sandbox.order()
    await _heard(sandbox, later["reference"], CREATED)
    assert sandbox.listener.kinds(order["reference"]) == [CREATED]
    assert [each["state"] for each in await sandbox.charges(order)] == ["captured"]


async def test_money_that_is_late_is_taken_though_its_order_was_closed(sandbox: Running) -> None:
    order = await sandbox.order()
    assert (await sandbox.pay(order, capture_delay_seconds=1))["state"] == "authorised"
    closed = await sandbox.http.post(f"/v1/orders/{order['id']}/close")
    assert closed.json()["state"] == "closed"
    await _heard(sandbox, order["reference"], CREATED, AUTHORISED, CAPTURED)
    [charge] = await sandbox.charges(order)
    assert charge["state"] == "captured"


async def test_an_order_whose_money_is_late_can_be_paid_twice(sandbox: Running) -> None:
    order = await sandbox.order()
    await sandbox.pay(order, capture_delay_seconds=1)
    await sandbox.pay(order)
    await _heard(sandbox, order["reference"], CREATED, AUTHORISED, AUTHORISED, CAPTURED, CAPTURED)
    assert [each["state"] for each in await sandbox.charges(order)] == ["captured", "captured"]


async def test_who_was_declined_may_pay_after_all_and_who_has_paid_may_not(sandbox: Running) -> None:
    order = await sandbox.order()
    assert (await sandbox.pay(order, outcome="decline"))["state"] == "declined"
    both = await asyncio.gather(
        *(sandbox.http.post(f"/v1/orders/{order['id']}/pay", json={"outcome": "pay"}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in both) == [200, 409, 409, 409, 409]
    assert {answer.json().get("code") for answer in both} == {None, "ORDER_PAID"}
    await _heard(sandbox, order["reference"], CREATED, "charge.declined", AUTHORISED, CAPTURED)


@pytest.mark.parametrize("state", ["closed", "expired"])
async def test_an_order_that_is_over_takes_no_payment(sandbox: Running, state: str) -> None:
    order = await sandbox.order(**({"expires_at": datetime.now(UTC).isoformat()} if state == "expired" else {}))
    if state == "closed":
        await sandbox.http.post(f"/v1/orders/{order['id']}/close")
    answer = await sandbox.http.post(f"/v1/orders/{order['id']}/pay", json={"outcome": "pay"})
    assert (answer.status_code, answer.json()["code"]) == (409, f"ORDER_{state.upper()}")


async def test_no_more_is_given_back_than_was_taken_however_many_ask(sandbox: Running) -> None:
    charge = await sandbox.pay(order := await sandbox.order())
    path = f"/v1/charges/{charge['id']}/refunds"
    wanted = [{"reference": str(new_id()), "amount": 15000} for _ in range(6)]
    answers = await asyncio.gather(*(sandbox.http.post(path, json=each) for each in (*wanted, *wanted)))
    given = {answer.json()["id"] for answer in answers if answer.status_code == 200}
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 200}
    assert (len(given), refused) == (3, {"REFUND_TOO_LARGE"})
    await _heard(sandbox, order["reference"], CREATED, AUTHORISED, CAPTURED, *["refund.done"] * 3)
    for refund_id in given:
        assert (await sandbox.http.get(f"/v1/refunds/{refund_id}")).json()["state"] == "done"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BAD_REQUEST"),
        (b"[]", "BAD_REQUEST"),
        (b'{"outcome": "steal"}', "BAD_REQUEST"),
        (b'{"outcome": "pay", "delay_seconds": -1}', "BAD_REQUEST"),
    ],
)
async def test_what_cannot_be_read_is_refused(sandbox: Running, body: bytes, code: str) -> None:
    order = await sandbox.order()
    answer = await sandbox.http.post(f"/v1/orders/{order['id']}/pay", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_redirect_is_no_answer_and_nobody_follows_it(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as running:
        running.listener.answers = [Answer(302, location=f"{running.listener.url}/elsewhere"), Answer(503)]
        order = await running.order()
        await _heard(running, order["reference"], CREATED, CREATED, CREATED)
        assert {each.path for each in running.listener.heard} == {"/webhooks"}
        assert len({event["id"] for event in running.listener.events(order["reference"])}) == 1


async def test_killed_in_the_midst_of_telling_it_tells_everything_and_has_forgotten_nothing(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as running:
        running.listener.silent = True
        paid = [await running.order() for _ in range(8)]
        for order in paid:
            await running.pay(order, webhooks="twice")
        late = await running.order()
        await running.pay(late, capture_delay_seconds=2, webhooks="late", delay_seconds=0.5)

        async def some() -> bool:
            return len(running.listener.heard) >= 3

        await until(some)
        before = [await running.charges(order) for order in paid]
        await running.part.kill()
        running.listener.heard.clear()
        running.listener.silent = False
        await running.part.start()

        async def all_told() -> bool:
            told = [running.listener.kinds(order["reference"]) for order in (*paid, late)]
            return all({CREATED, AUTHORISED, CAPTURED} <= set(each) for each in told)

        await until(all_told)
        assert [await running.charges(order) for order in paid] == before
        again = {name: paid[0][name] for name in orders.PlaceOrder.model_fields}
        assert (await running.http.post("/v1/orders", json=again)).json() == {**paid[0], "state": "paid"}


async def test_it_tells_whoever_was_away_once_they_are_back(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as running:
        await running.listener.close()
        order = await running.order()
        await running.pay(order)
        await running.part.restart()
        await running.listener.open()

        async def all_told() -> bool:  # each after its own pause, and so in any order
            return {CREATED, AUTHORISED, CAPTURED} == set(running.listener.kinds(order["reference"]))

        await until(all_told)


@pytest.mark.parametrize(
    ("status", "given_up"),
    [(400, True), (404, True), (408, False), (429, False), (302, False), (500, False), (None, False)],
)
def test_who_refuses_an_event_often_enough_hears_no_more_of_it(
    tmp_path: Path, now: datetime, status: int | None, given_up: bool
) -> None:
    store = Store(tmp_path)
    orders.place(store, _order(now), now)
    pauses: list[float] = []
    moment = now
    for _ in range(MOST_REFUSALS):
        [delivery] = events.due(store.db, moment)
        with store.change() as db:
            events.settle(db, delivery, status, moment)
        if next_due := events.next_due(store.db):
            pauses.append((datetime.fromisoformat(next_due) - moment).total_seconds())
            moment = datetime.fromisoformat(next_due)
    assert pauses == [0.5, 1, 2, 4, 8][: 4 if given_up else 5]
    assert (events.due(store.db, moment) == []) is given_up
    store.close()


def _order(moment: datetime) -> orders.PlaceOrder:
    return orders.PlaceOrder(
        reference="a", amount=1, currency="INR", description="a", expires_at=moment, return_url="http://127.0.0.1"
    )


async def test_it_ends_with_status_0_when_it_is_asked_to(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as running:
        running.listener.silent = True
        await running.order()
        await running.part.stop()
        assert running.part.process
        assert running.part.process.exit_status == 0
        with pytest.raises(httpx.ConnectError):
            await running.http.get("/health")


async def test_when_its_own_work_fails_it_ends_with_status_1(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as running:
        process = running.part.process
        assert process
        with closing(sqlite3.connect(tmp_path / "sandbox" / "sandbox.sqlite3")) as db:
            db.execute("DROP TABLE refunds")
        await running.order()
        await process.finished(20)
        assert process.exit_status == 1
        assert "no such table" in process.last_lines(50)


def test_settings_that_do_not_fit_are_all_named_and_none_is_shown() -> None:
    told = {"PATH": os.defpath, "SANDBOX_PORT": "0", "SANDBOX_KEY": "hunter2", "SANDBOX_WEBHOOK_URL": "ftp://a"}
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox"], env=told, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    named = {line.partition(":")[0] for line in ended.stderr.splitlines()[1:]}
    secret = "SANDBOX_WEBHOOK_SECRET"  # noqa: S105 - a variable's name
    assert named == {"SANDBOX_PORT", "SANDBOX_FOLDER", "SANDBOX_KEY", secret, "SANDBOX_WEBHOOK_URL"}
    assert "hunter2" not in ended.stderr


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "INR", "₹0.00"),
        (50000, "INR", "₹500.00"),
        (123456789, "INR", "₹12,34,567.89"),
        (10**12, "INR", "₹10,00,00,00,000.00"),
        (123456, "USD", "USD\u00a01,234.56"),
        (1234, "JPY", "¥1,234"),
        (1005, "KWD", "KWD\u00a01.005"),
    ],
)
def test_amounts_are_shown_as_people_read_them(amount: int, currency: str, text: str) -> None:
    assert shown(amount, currency) == text
