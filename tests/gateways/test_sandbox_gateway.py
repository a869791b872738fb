"""The payment sandbox as Amrutam uses it: all that is asked of a gateway, in good weather and in bad."""

import asyncio
import hmac
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from amrutam.domain.common import Money
from amrutam.gateways import sandbox as module
from amrutam.gateways.payments import (
    MOST_BYTES,
    Charge,
    GatewayAway,
    GatewayRefused,
    NotSigned,
    Order,
    PaymentGateway,
    RefundState,
)
from amrutam.gateways.sandbox import SandboxGateway
from amrutam.ids import new_id
from amrutam.stack.ports import LOOPBACK, free_port
from tests.gateways.http_listener import Answer, Listener, listening, losing_answers
from tests.gateways.sandboxes import Running
from tests.polling import until

HIDDEN = "hunter2-is-the-key"
FEE = Money(amount=50000, currency="INR")
HOUR = timedelta(hours=1)


def _order(payment_id: UUID | None = None, amount: Money = FEE) -> Order:
    expires_at = datetime.now(UTC) + timedelta(minutes=10)
    return Order(payment_id or new_id(), amount, "Consultation", expires_at, "http://127.0.0.1/back")


async def _pay(running: Running, ref: str, **how: Any) -> None:
    await running.pay({"id": ref}, **how)


async def test_what_is_paid_is_a_charge_of_its_payment(sandbox: Running) -> None:
    gateway: PaymentGateway = sandbox.gateway
    order = _order()
    checkout = await gateway.open(order)
    assert checkout.url == f"{sandbox.part.url}/pay/{checkout.ref}"
    await _pay(sandbox, checkout.ref, outcome="decline")
    assert await gateway.charges(checkout.ref) == []
    before = datetime.now(UTC)
    await _pay(sandbox, checkout.ref)
    [charge] = await gateway.charges(checkout.ref)
    assert (charge.payment_id, charge.amount) == (order.payment_id, FEE)
    assert before < charge.captured_at < datetime.now(UTC)


async def test_money_that_is_only_authorised_is_no_charge(sandbox: Running) -> None:
    checkout = await sandbox.gateway.open(_order())
    await _pay(sandbox, checkout.ref, capture_delay_seconds=600)
    assert await sandbox.gateway.charges(checkout.ref) == []


async def test_an_order_is_opened_once_for_each_payment_however_often_and_at_once(sandbox: Running) -> None:
    order = _order()
    checkouts = await asyncio.gather(*(sandbox.gateway.open(order) for _ in range(10)))
    assert len(set(checkouts)) == 1
    with pytest.raises(GatewayRefused, match=r"^REFERENCE_TAKEN$"):
        await sandbox.gateway.open(order._replace(amount=Money(amount=1, currency="INR")))


async def test_lost_answers_make_neither_a_second_order_nor_a_second_refund(sandbox: Running) -> None:
    told = sandbox.part.environment()
    async with losing_answers(sandbox.part.port) as url:
        lossy = SandboxGateway(url, told["PAYMENT_SANDBOX_KEY"], told["PAYMENT_SANDBOX_WEBHOOK_SECRET"])
        order, refund_id = _order(), new_id()
        with pytest.raises(GatewayAway):
            await lossy.open(order)
        checkout = await sandbox.gateway.open(order)
        await _pay(sandbox, checkout.ref)
        [charge] = await sandbox.gateway.charges(checkout.ref)
        for _ in range(2):
            with pytest.raises(GatewayAway):
                await lossy.refund(charge.id, refund_id, FEE)
        await lossy.aclose()
    refund = await sandbox.gateway.refund(charge.id, refund_id, FEE)  # all of it, so that a second would be too much
    assert refund.amount == FEE
    assert sandbox.listener.kinds(str(order.payment_id)).count("order.created") <= 1


async def test_a_closed_order_stays_closed_and_a_paid_one_paid(sandbox: Running) -> None:
    closed, paid = [await sandbox.gateway.open(_order()) for _ in range(2)]
    await _pay(sandbox, paid.ref)
    for ref in (closed.ref, closed.ref, paid.ref):
        await sandbox.gateway.close(ref)
    answer = await sandbox.http.post(f"/v1/orders/{closed.ref}/pay", json={"outcome": "pay"})
    assert answer.json()["code"] == "ORDER_CLOSED"
    assert len(await sandbox.gateway.charges(paid.ref)) == 1


@pytest.mark.parametrize("ref", ["ord_0", "../charges", "a/b?c", "\u0905"])
async def test_what_the_gateway_does_not_know_is_refused_by_its_code(sandbox: Running, ref: str) -> None:
    with pytest.raises(GatewayRefused, match=r"^NO_SUCH_ORDER$"):
        await sandbox.gateway.close(ref)
    with pytest.raises(GatewayRefused, match=r"^NO_SUCH_ORDER$"):
        await sandbox.gateway.charges(ref)
    with pytest.raises(GatewayRefused, match=r"^NO_SUCH_CHARGE$"):
        await sandbox.gateway.refund(ref, new_id(), FEE)


async def test_all_that_was_captured_within_a_time_is_told_page_by_page(sandbox: Running) -> None:
    begin = datetime.now(UTC)
    orders = [_order() for _ in range(105)]
    for order in orders:
        await _pay(sandbox, (await sandbox.gateway.open(order)).ref, webhooks="never")
    foreign = await sandbox.order("not-an-id-of-ours")
    await sandbox.pay(foreign)
    declined = await sandbox.gateway.open(_order())
    await _pay(sandbox, declined.ref, outcome="decline")
    found = await _captured(sandbox, begin, begin + HOUR)
    assert [each.payment_id for each in found] == [*(order.payment_id for order in orders), None]
    moments = [each.captured_at for each in found]
    assert moments == sorted(moments)
    assert await _captured(sandbox, moments[3], moments[5]) == found[3:5]
    assert await _captured(sandbox, begin + HOUR, begin + 2 * HOUR) == []


async def _captured(running: Running, since: datetime, until: datetime) -> list[Charge]:
    return [each async for each in running.gateway.captured(since, until)]


async def test_a_refund_is_given_once_and_tells_how_far_it_is(sandbox: Running) -> None:
    checkout = await sandbox.gateway.open(_order())
    await _pay(sandbox, checkout.ref)
    [charge] = await sandbox.gateway.charges(checkout.ref)
    refund_id, part = new_id(), Money(amount=20000, currency="INR")
    first = await asyncio.gather(*(sandbox.gateway.refund(charge.id, refund_id, part) for _ in range(5)))
    assert {(each.ref, each.amount) for each in first} == {(first[0].ref, part)}
    assert first[0].state is RefundState.PENDING

    async def done() -> bool:
        return (await sandbox.gateway.refund(charge.id, refund_id, part)).state is RefundState.DONE

    await until(done)
    refusals = {
        "REFERENCE_TAKEN": (refund_id, Money(amount=1, currency="INR")),
        "REFUND_TOO_LARGE": (new_id(), Money(amount=30001, currency="INR")),
        "WRONG_CURRENCY": (new_id(), Money(amount=1, currency="USD")),
    }
    for code, (reference, amount) in refusals.items():
        with pytest.raises(GatewayRefused, match=f"^{code}$"):
            await sandbox.gateway.refund(charge.id, reference, amount)
    await sandbox.gateway.refund(charge.id, new_id(), Money(amount=30000, currency="INR"))


async def test_a_webhook_says_which_event_and_payment_it_is_about(sandbox: Running) -> None:
    order = _order()
    await sandbox.gateway.open(order)

    async def arrived() -> list[dict[str, Any]]:
        return sandbox.listener.events(str(order.payment_id))

    [event] = await until(arrived)
    [heard] = [each for each in sandbox.listener.heard if each.body and each.event["id"] == event["id"]]
    assert sandbox.gateway.notice(heard.body, heard.headers) == (heard.headers["x-sandbox-event-id"], order.payment_id)
    tampered = heard.body.replace(str(order.payment_id).encode(), str(new_id()).encode())
    signature = heard.headers["x-sandbox-signature"]
    for body, headers in (
        (tampered, heard.headers),
        (heard.body, {}),
        (heard.body, {"x-sandbox-signature": ""}),
        (heard.body, {"x-sandbox-signature": signature[:-1]}),
        (heard.body, {"x-sandbox-signature": "\u00fc" + signature[1:]}),
        (heard.body, {"x-sandbox-signature": hmac.digest(b"another", heard.body, "sha256").hex()}),
    ):
        with pytest.raises(NotSigned):
            sandbox.gateway.notice(body, headers)


def test_a_signed_webhook_may_be_about_no_payment_of_ours_but_must_be_an_event() -> None:
    gateway = SandboxGateway("http://127.0.0.1:1", HIDDEN, HIDDEN)

    def signed(body: bytes) -> dict[str, str]:
        return {"x-sandbox-signature": hmac.digest(HIDDEN.encode(), body, "sha256").hex()}

    strange = json.dumps({"id": "evt_1", "reference": "somebody-else", "type": "order.created"}).encode()
    assert gateway.notice(strange, signed(strange)) == ("evt_1", None)
    for body in (b"", b"[]", b"{", b'{"id": "evt_1"}', b"\xff", b"[" * 100_000):
        with pytest.raises(NotSigned):
            gateway.notice(body, signed(body))


@pytest.fixture
async def listener() -> AsyncGenerator[Listener]:
    """Somebody where the gateway should be."""
    async with listening() as listener:
        yield listener


async def _away(url: str) -> str:
    gateway = SandboxGateway(url, HIDDEN, HIDDEN)
    with pytest.raises(GatewayAway) as away:
        await gateway.open(_order())
    await gateway.aclose()
    assert HIDDEN not in f"{away.value!r} {away.value.__cause__!r}"
    return str(away.value)


@pytest.mark.parametrize("status", [302, 307, 408, 429, 500, 503])
async def test_an_answer_that_may_be_another_one_later_is_no_refusal(listener: Listener, status: int) -> None:
    listener.answer = Answer(status, b'{"code": "ANYTHING"}', location=f"{listener.url}/elsewhere")
    assert await _away(listener.url) == f"status {status}"
    assert [each.path for each in listener.heard] == ["/v1/orders"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b""),
        Answer(200, b"{}"),
        Answer(200, b'{"id": "ord_1", "amount": -1, "currency": "INR", "url": "http://127.0.0.1/pay"}'),
        Answer(200, b'{"id": "ord_1", "amount": 1, "currency": "INR", "url": "javascript:alert(1)"}'),
        Answer(404, b"<html>no such page</html>"),
        Answer(400, b'{"code": "a sentence, which a code is not"}'),
        Answer(200, b" " * (MOST_BYTES + 1)),
    ],
    ids=["empty", "no-order", "no-amount", "no-address", "no-code", "strange-code", "too-large"],
)
async def test_what_no_gateway_would_answer_is_no_answer(listener: Listener, answer: Answer) -> None:
    listener.answer = answer
    await _away(listener.url)


async def test_a_wrong_key_may_be_set_right_and_tried_again(sandbox: Running) -> None:
    assert await _away(sandbox.part.url) == "status 401"


async def test_a_gateway_that_is_gone_or_silent_is_away(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _away(f"http://{LOOPBACK}:{free_port()}") == "ConnectError"
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.3)
    listener.silent = True
    assert await _away(listener.url) in {"TimeoutError", "ReadTimeout"}


async def test_a_listing_that_never_ends_is_given_up(listener: Listener) -> None:
    listener.answer = Answer(200, b'{"items": [], "next_cursor": "chg_1"}')
    gateway = SandboxGateway(listener.url, HIDDEN, HIDDEN)
    with pytest.raises(GatewayAway, match="without an end"):
        [each async for each in gateway.captured(datetime.now(UTC), datetime.now(UTC) + HOUR)]
    await gateway.aclose()
