"""Razorpay's refunds: one for each of ours, whatever becomes of an answer. And bad weather, which is no refusal."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from amrutam.domain.common import Money
from amrutam.gateways import razorpay
from amrutam.gateways.payments import (
    Charge,
    GatewayAway,
    GatewayRefused,
    Order,
    PaymentGateway,
    RefundState,
)
from amrutam.gateways.razorpay import RazorpayGateway
from amrutam.ids import new_id
from amrutam.stack.ports import LOOPBACK, free_port
from tests.gateways.razorpay_server import KEY_ID, KEY_SECRET, RazorpayServer, Trouble, razorpay_server

SIGNS = "signs-webhooks"
FEE = Money(amount=50_000, currency="INR")
PART = Money(amount=20_000, currency="INR")
LOST_WORK = (Trouble.LOST, Trouble.GARBAGE, Trouble.LARGE)


@pytest.fixture
async def server() -> AsyncGenerator[RazorpayServer]:
    """What speaks Razorpay's protocol."""
    async with razorpay_server() as running:
        yield running


@pytest.fixture
async def gateway(server: RazorpayServer) -> AsyncGenerator[PaymentGateway]:
    """Ours."""
    made = RazorpayGateway(server.url, KEY_ID, KEY_SECRET, [SIGNS])
    yield made
    await made.aclose()


def _order() -> Order:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    return Order(new_id(), FEE, "Consultation", expires_at, "https://clinic.example.com/back")


async def _charged(server: RazorpayServer, gateway: PaymentGateway) -> str:
    return server.pay((await gateway.open(_order())).ref)


async def _captured(gateway: PaymentGateway) -> list[Charge]:
    now = datetime.now(UTC)
    return [each async for each in gateway.captured(now - timedelta(hours=1), now)]


@pytest.mark.parametrize(
    ("told", "state"),
    [("processed", RefundState.DONE), ("pending", RefundState.PENDING), ("failed", RefundState.FAILED)],
)
async def test_a_refund_is_asked_for_once_and_tells_how_far_it_is(
    server: RazorpayServer, gateway: PaymentGateway, told: str, state: RefundState
) -> None:
    charge_id, refund_id = await _charged(server, gateway), new_id()
    server.state = told
    refund = await gateway.refund(charge_id, refund_id, PART)
    assert (refund.amount, refund.state) == (PART, state)
    [kept] = server.refunds.values()
    assert (kept["id"], kept["receipt"], kept["notes"]) == (refund.ref, refund_id.hex, {"refund_id": refund_id.hex})
    assert list(server.keys) == [refund_id.hex]
    kept["status"] = "processed"
    assert (await gateway.refund(charge_id, refund_id, PART)).state is RefundState.DONE
    assert server.asked.count(f"POST /payments/{charge_id}/refund") == 1


@pytest.mark.parametrize("trouble", LOST_WORK)
async def test_a_refund_whose_answer_was_lost_is_not_made_twice(
    server: RazorpayServer, gateway: PaymentGateway, trouble: Trouble
) -> None:
    charge_id, refund_id = await _charged(server, gateway), new_id()
    server.troubles = [Trouble.NONE, Trouble.NONE, trouble]
    with pytest.raises(GatewayAway):
        await gateway.refund(charge_id, refund_id, PART)
    [ref] = server.refunds
    server.keys.clear()  # Razorpay does not say for how long it knows them
    assert (await gateway.refund(charge_id, refund_id, PART)).ref == ref
    assert list(server.refunds) == [ref]


async def test_refunds_asked_for_at_once_by_one_id_are_one(server: RazorpayServer, gateway: PaymentGateway) -> None:
    charge_id, refund_id = await _charged(server, gateway), new_id()
    refunds = await asyncio.gather(*(gateway.refund(charge_id, refund_id, PART) for _ in range(5)))
    assert {each.ref for each in refunds} == set(server.refunds)
    assert len(server.refunds) == 1


async def test_a_refund_that_is_under_way_already_is_asked_for_again(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    charge_id, refund_id = await _charged(server, gateway), new_id()
    server.refunding = 1
    with pytest.raises(GatewayAway, match=r"^status 409$"):
        await gateway.refund(charge_id, refund_id, PART)
    assert (await gateway.refund(charge_id, refund_id, PART)).state is RefundState.DONE


async def test_two_refunds_are_two_until_nothing_is_left(server: RazorpayServer, gateway: PaymentGateway) -> None:
    charge_id = await _charged(server, gateway)
    refunds = [await gateway.refund(charge_id, new_id(), PART) for _ in range(2)]
    assert {each.ref for each in refunds} == set(server.refunds)
    assert len(server.refunds) == 2
    with pytest.raises(GatewayRefused, match=r"^BAD_REQUEST_ERROR$"):
        await gateway.refund(charge_id, new_id(), PART)


async def test_a_refund_is_found_among_many_by_its_receipt_or_its_notes(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    charge_id, refund_id, other = await _charged(server, gateway), new_id(), Money(amount=100, currency="INR")
    first = await gateway.refund(charge_id, refund_id, other)
    for number in range(200):  # none of them by an id of ours
        by_hand = {"id": f"rfnd_{number}", "receipt": f"no. {number}", "notes": None}
        server.refunds[f"rfnd_{number}"] = server.refunds[first.ref] | by_hand
    server.keys.clear()
    for receipt, notes in ((None, {"refund_id": refund_id.hex}), (refund_id.hex, None)):
        server.refunds[first.ref] |= {"receipt": receipt, "notes": notes}
        assert await gateway.refund(charge_id, refund_id, other) == first
    assert len(server.refunds) == 201


async def test_a_refund_of_another_amount_or_currency_is_not_the_same_refund(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    charge_id, refund_id = await _charged(server, gateway), new_id()
    with pytest.raises(GatewayRefused, match=r"^ANSWER_MISMATCH$"):
        await gateway.refund(charge_id, refund_id, Money(amount=20_000, currency="USD"))
    assert server.refunds == {}
    await gateway.refund(charge_id, refund_id, PART)
    with pytest.raises(GatewayRefused, match=r"^ANSWER_MISMATCH$"):
        await gateway.refund(charge_id, refund_id, FEE)
    assert [each["amount"] for each in server.refunds.values()] == [20_000]


@pytest.mark.parametrize(
    "forged",
    [{"amount": 1}, {"currency": "USD"}, {"payment_id": "pay_1"}, {"receipt": "1", "notes": {"refund_id": [1]}}],
)
async def test_an_answer_about_another_refund_is_refused(
    server: RazorpayServer, gateway: PaymentGateway, forged: dict[str, object]
) -> None:
    charge_id = await _charged(server, gateway)
    server.forged = forged
    with pytest.raises(GatewayRefused, match=r"^ANSWER_MISMATCH$"):
        await gateway.refund(charge_id, new_id(), PART)


async def test_a_refund_of_no_state_that_is_known_is_not_read(server: RazorpayServer, gateway: PaymentGateway) -> None:
    charge_id = await _charged(server, gateway)
    server.state = "mislaid"
    with pytest.raises(GatewayAway, match=r"^an answer that cannot be read$"):
        await gateway.refund(charge_id, new_id(), PART)


CALLS: dict[str, Callable[[PaymentGateway, str, str], Awaitable[object]]] = {
    "open": lambda gateway, _ref, _charge: gateway.open(_order()),
    "close": lambda gateway, ref, _charge: gateway.close(ref),
    "charges": lambda gateway, ref, _charge: gateway.charges(ref),
    "captured": lambda gateway, _ref, _charge: _captured(gateway),
    "refund": lambda gateway, _ref, charge: gateway.refund(charge, new_id(), PART),
}
WEATHER = {
    Trouble.DOWN: "^status 502$",
    Trouble.BUSY: "^status 429$",
    Trouble.MOVED: "^status 307$",
    Trouble.GARBAGE: "^an answer that cannot be read$",
    Trouble.LARGE: "^an answer larger than 1048576 bytes$",
    Trouble.LOST: "^RemoteProtocolError$",
    Trouble.SILENT: "^TimeoutError$",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trouble", WEATHER)
async def test_bad_weather_is_no_refusal_and_the_next_try_is_as_good(
    server: RazorpayServer, gateway: PaymentGateway, trouble: Trouble, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, charge = (await gateway.open(_order())).ref, await _charged(server, gateway)
    server.troubles = [trouble]
    asked = len(server.asked)
    with monkeypatch.context() as patch:
        if trouble is Trouble.SILENT:
            patch.setattr(razorpay, "TIMEOUT_SECONDS", 0.05)
        with pytest.raises(GatewayAway, match=WEATHER[trouble]):
            await CALLS[call](gateway, ref, charge)
    assert len(server.asked) == asked + 1
    await CALLS[call](gateway, ref, charge)


async def test_nobody_at_the_address_is_bad_weather_too() -> None:
    gateway = RazorpayGateway(f"http://{LOOPBACK}:{free_port()}", KEY_ID, KEY_SECRET, [SIGNS])
    with pytest.raises(GatewayAway, match=r"^ConnectError$"):
        await gateway.charges("plink_1")
    await gateway.aclose()


async def test_a_wrong_key_opens_nothing_and_may_be_set_right(server: RazorpayServer) -> None:
    for key_id, key_secret in ((KEY_ID, "hunter2-guess"), ("rzp_test_other", KEY_SECRET)):
        gateway = RazorpayGateway(server.url, key_id, key_secret, [SIGNS])
        with pytest.raises(GatewayAway, match=r"^status 401$"):
            await gateway.open(_order())
        await gateway.aclose()
    assert server.links == {}


async def test_ids_stay_within_their_place_in_the_address(server: RazorpayServer, gateway: PaymentGateway) -> None:
    with pytest.raises(GatewayRefused):
        await gateway.charges("../payments?x=#1")
    assert server.asked == ["GET /payment_links/../payments?x=#1"]  # one part, once it is decoded


async def test_a_listing_that_never_ends_is_left(server: RazorpayServer, gateway: PaymentGateway) -> None:
    ref = (await gateway.open(_order())).ref
    for _ in range(100):
        server.pay(ref)
    server.skips = False
    with pytest.raises(GatewayAway, match=r"^a listing without an end$"):
        await _captured(gateway)


async def test_an_error_names_no_secret(server: RazorpayServer, gateway: PaymentGateway) -> None:
    shown = [repr(gateway)]
    for trouble in WEATHER:
        if trouble is not Trouble.SILENT:
            server.troubles = [trouble]
            with pytest.raises(GatewayAway) as away:
                await gateway.open(_order())
            shown.append(repr(away.value) + str(away.value.__cause__))
    with pytest.raises(GatewayRefused) as refused:
        await gateway.close("plink_unknown")
    shown.append(repr(refused.value))
    for hidden in (KEY_SECRET, SIGNS, "clinic.example.com", "does not exist"):
        assert not any(hidden in each for each in shown)
