"""Razorpay's links: one for each order, whatever becomes of an answer; what they were paid; what webhooks tell."""

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amrutam.domain.common import Money
from amrutam.gateways.payments import GatewayAway, GatewayRefused, NotSigned, Order, PaymentGateway
from amrutam.gateways.razorpay import RazorpayGateway
from amrutam.ids import new_id
from tests.gateways.razorpay_server import (
    KEY_ID,
    KEY_SECRET,
    RazorpayServer,
    Trouble,
    razorpay_server,
    signed,
    webhook,
)

OLD, NEW = "signs-until-monday", "signs-from-sunday"
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
    """Ours, with two webhook secrets."""
    made = RazorpayGateway(server.url, KEY_ID, KEY_SECRET, [OLD, NEW])
    yield made
    await made.aclose()


def _order(**told: Any) -> Order:
    usual: dict[str, Any] = {
        "payment_id": new_id(),
        "amount": FEE,
        "description": "Consultation",
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
        "return_url": "https://clinic.example.com/back",
    }
    return Order(**usual | told)


async def test_an_order_is_a_link_that_tells_of_a_payment_and_of_nobody(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    order = _order()
    checkout = await gateway.open(order)
    link = server.links[checkout.ref]
    assert checkout.url == link["short_url"]
    made = {"id", "short_url", "status", "amount_paid", "payments", "user_id"}
    assert {name: value for name, value in link.items() if name not in made} == {
        "amount": 50_000,
        "currency": "INR",
        "accept_partial": False,
        "description": "Consultation",
        "reference_id": order.payment_id.hex,
        "expire_by": int(order.expires_at.timestamp()),
        "notify": {"sms": False, "email": False},
        "reminder_enable": False,
        "notes": {"payment_id": order.payment_id.hex},
        "callback_url": "https://clinic.example.com/back",
        "callback_method": "get",
    }


async def test_a_link_lives_as_long_as_it_must(server: RazorpayServer, gateway: PaymentGateway) -> None:
    checkout = await gateway.open(_order(expires_at=datetime.now(UTC) + timedelta(minutes=5)))
    assert 15 * 60 < server.links[checkout.ref]["expire_by"] - time.time() <= 16 * 60


@pytest.mark.parametrize("trouble", LOST_WORK)
async def test_an_order_whose_answer_was_lost_is_the_same_link_again(
    server: RazorpayServer, gateway: PaymentGateway, trouble: Trouble
) -> None:
    order = _order()
    server.troubles = [trouble]
    with pytest.raises(GatewayAway):
        await gateway.open(order)
    [ref] = server.links
    assert (await gateway.open(order)).ref == ref
    server.taken = "payment link creation with reference ID already attempted"
    assert (await gateway.open(order)).ref == ref
    assert list(server.links) == [ref]


async def test_orders_opened_at_once_are_one_link(server: RazorpayServer, gateway: PaymentGateway) -> None:
    order = _order()
    assert len({(await each).ref for each in asyncio.as_completed([gateway.open(order) for _ in range(5)])}) == 1
    assert len(server.links) == 1


async def test_a_link_that_is_not_listed_yet_is_waited_for(server: RazorpayServer, gateway: PaymentGateway) -> None:
    order = _order()
    checkout = await gateway.open(order)
    server.lists = False
    with pytest.raises(GatewayAway, match="not listed yet"):
        await gateway.open(order)
    server.lists = True
    assert await gateway.open(order) == checkout


async def test_the_link_of_another_order_is_never_taken_for_ours(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    order = _order()
    await gateway.open(_order())
    checkout = await gateway.open(order)
    server.filters = False
    assert await gateway.open(order) == checkout
    with pytest.raises(GatewayRefused, match=r"^BAD_REQUEST_ERROR$"):
        await gateway.open(_order(amount=Money(amount=99, currency="INR")))


@pytest.mark.parametrize("forged", [{"amount": 500}, {"currency": "USD"}, {"reference_id": "00" * 16}])
async def test_an_answer_that_is_not_about_the_order_is_refused(
    server: RazorpayServer, gateway: PaymentGateway, forged: dict[str, Any]
) -> None:
    server.forged = forged
    with pytest.raises(GatewayRefused, match=r"^ANSWER_MISMATCH$"):
        await gateway.open(_order())


async def test_an_order_for_another_amount_is_not_the_same_order(gateway: PaymentGateway) -> None:
    order = _order()
    await gateway.open(order)
    with pytest.raises(GatewayRefused, match=r"^ANSWER_MISMATCH$"):
        await gateway.open(order._replace(amount=PART))


@pytest.mark.parametrize(
    "forged",
    [
        {"id": "plink_1/../../refunds"},
        {"amount": 50_000.0},
        {"amount": "50000"},
        {"amount": 10**13},
        {"currency": "inr"},
        {"short_url": "http://rzp.io/1"},
        {"short_url": "javascript:alert(1)"},
        {"status": None},
    ],
)
async def test_what_cannot_be_a_link_is_not_read_as_one(
    server: RazorpayServer, gateway: PaymentGateway, forged: dict[str, Any]
) -> None:
    server.forged = forged
    with pytest.raises(GatewayAway, match=r"^an answer that cannot be read$"):
        await gateway.open(_order())


async def test_a_closed_link_takes_no_payment_and_stays_closed(server: RazorpayServer, gateway: PaymentGateway) -> None:
    ref = (await gateway.open(_order())).ref
    await gateway.close(ref)
    assert server.links[ref]["status"] == "cancelled"
    await gateway.close(ref)
    for status in ("paid", "expired"):
        server.links[ref]["status"] = status
        await gateway.close(ref)
        assert server.links[ref]["status"] == status
    server.links[ref]["status"] = "partially_paid"  # by whoever changed the link: it takes more
    for open_still in (ref, "plink_unknown"):
        with pytest.raises(GatewayRefused, match=r"^BAD_REQUEST_ERROR$"):
            await gateway.close(open_still)


async def test_charges_are_what_was_captured_and_nothing_else(server: RazorpayServer, gateway: PaymentGateway) -> None:
    order = _order()
    ref = (await gateway.open(order)).ref
    assert await gateway.charges(ref) == []
    for status in ("created", "failed", "authorized"):
        server.pay(ref, status)
    server.pay(ref, "refunded", captured=False)  # authorised too late: Razorpay gave it back
    assert await gateway.charges(ref) == []
    taken = [server.pay(ref), server.pay(ref, "refunded")]
    server.payments[taken[1]]["notes"] = []  # the link knows whose it is
    server.pay((await gateway.open(_order())).ref)
    charges = await gateway.charges(ref)
    assert [(each.id, each.payment_id, each.amount) for each in charges] == [
        (each, order.payment_id, FEE) for each in taken
    ]
    assert [each.captured_at.timestamp() for each in charges] == [server.payments[each]["created_at"] for each in taken]


async def test_a_payment_that_only_the_link_names_is_a_charge_too(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    ref = (await gateway.open(_order())).ref
    paid = server.pay(ref, by_order=False)
    assert [each.id for each in await gateway.charges(ref)] == [paid]
    server.links[ref]["payments"] = None
    with pytest.raises(GatewayAway, match="by no payment"):
        await gateway.charges(ref)


async def test_a_charge_of_somebody_else_in_the_account_is_of_no_payment_of_ours(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    now = datetime.now(UTC)
    ref = (await gateway.open(_order())).ref
    for reference, notes in (("TS1989", {"payment_id": "TS1989"}), (None, None)):
        server.links[ref] |= {"reference_id": reference, "notes": notes}
        server.pay(ref)
    assert {each.payment_id for each in await gateway.charges(ref)} == {None}
    assert [each.payment_id async for each in gateway.captured(now - timedelta(minutes=1), now)] == [None, None]


async def test_all_that_was_captured_within_a_time_is_told_page_by_page(
    server: RazorpayServer, gateway: PaymentGateway
) -> None:
    now, order = datetime.now(UTC), _order()
    ref = (await gateway.open(order)).ref
    ids = [server.pay(ref) for _ in range(200)]
    server.pay(ref, "failed")
    server.payments[server.pay(ref)]["created_at"] -= 7200
    server.payments[server.pay(ref)]["created_at"] += 7200
    server.asked.clear()
    charges = [each async for each in gateway.captured(now - timedelta(hours=1), now + timedelta(hours=1))]
    assert [each.id for each in charges] == ids[::-1]
    assert {(each.payment_id, each.amount) for each in charges} == {(order.payment_id, FEE)}
    assert server.asked == ["GET /payments"] * 3


async def test_a_webhook_tells_which_payment_it_is_about(gateway: PaymentGateway) -> None:
    payment_id = new_id()
    notes: dict[str, Any] = {"notes": {"payment_id": payment_id.hex}}
    others: dict[str, Any] = {"id": "x", "notes": [], "reference_id": "TS1989"}
    about_it: list[dict[str, Any]] = [
        {"payment_link": {"reference_id": payment_id.hex, "notes": None}, "payment": {"notes": []}},
        {"payment_link": others, "order": notes},
        {"payment": notes},
        {"refund": {"notes": {"refund_id": new_id().hex}}, "payment": notes},
    ]
    for payload in about_it:
        body = webhook(payload)
        assert gateway.notice(body, signed(body, NEW, "evt-1")) == ("evt-1", payment_id)
    about_others = [
        webhook({"payment_link": others}),
        webhook({"refund": notes}),
        webhook({}),
        b"[]",
        b"1",
        b'{"payload": 1}',
    ]
    for body in about_others:
        assert gateway.notice(body, signed(body, NEW, "evt-2")) == ("evt-2", None)


async def test_a_webhook_is_signed_by_either_secret_while_one_follows_the_other(server: RazorpayServer) -> None:
    body = webhook({})
    for secrets, good in (([OLD], {OLD}), ([OLD, NEW], {OLD, NEW}), ([NEW], {NEW}), ([], set[str]())):
        gateway = RazorpayGateway(server.url, KEY_ID, KEY_SECRET, secrets)
        for secret in (OLD, NEW, KEY_SECRET, "none"):
            if secret in good:
                assert gateway.notice(body, signed(body, secret))
            else:
                with pytest.raises(NotSigned, match=r"^signature$"):
                    gateway.notice(body, signed(body, secret))
        await gateway.aclose()


async def test_what_was_not_signed_as_it_is_does_not_come_from_razorpay(gateway: PaymentGateway) -> None:
    body = webhook({"payment": {"notes": {"payment_id": new_id().hex}}})
    headers = signed(body, NEW)
    signature = headers["x-razorpay-signature"]
    for tampered in (body + b" ", body.replace(b"payment_link.paid", b"payment_link.Paid"), body[:-1], b""):
        with pytest.raises(NotSigned):
            gateway.notice(tampered, headers)
    for given in ("", signature[:-1], signature.upper(), "sha256=" + signature, "\u0660" * 64, "\udc80"):
        with pytest.raises(NotSigned, match=r"^signature$"):
            gateway.notice(body, headers | {"x-razorpay-signature": given})
    with pytest.raises(NotSigned, match=r"^signature$"):
        gateway.notice(body, {"x-razorpay-event-id": "evt"})
    for event_id in ("", "two words", "\n", "\u00e9", "e" * 129):
        with pytest.raises(NotSigned, match=r"^event id$"):
            gateway.notice(body, headers | {"x-razorpay-event-id": event_id})


async def test_a_signed_body_that_is_no_json_does_not_come_from_razorpay(gateway: PaymentGateway) -> None:
    for body in (b"", b"<xml/>", b"{", b"\xff\xfe\xfd", b"[" * 100_000):
        with pytest.raises(NotSigned, match=r"^no JSON$"):
            gateway.notice(body, signed(body, OLD))


def test_an_empty_secret_is_none() -> None:
    with pytest.raises(ValueError, match="webhook secrets"):
        RazorpayGateway("https://api.razorpay.com", KEY_ID, KEY_SECRET, [NEW, ""])
