"""Razorpay (https://razorpay.com/docs/api). An order is a Payment Link: a page of Razorpay's own that takes the money.

A payment carries the `notes` of its link. Ours hold our id and nothing else: Razorpay learns of no patient from us.
"""

import hmac
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Generic, Literal, TypeVar, cast
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, ValidationError

from amrutam.domain.common import Money
from amrutam.gateways.bounded import answer_of
from amrutam.gateways.payments import (
    TIMEOUT_SECONDS,
    Charge,
    Checkout,
    GatewayAway,
    GatewayRefused,
    Notice,
    NotSigned,
    Order,
    Refund,
    RefundState,
)

# A link that would expire within 15 minutes is refused; clocks may differ by the minute more.
SHORTEST_LINK = timedelta(minutes=16)
# Objects of one answer of a listing: the most that are given.
PAGE = 100
# The code of an answer that is not about what was asked.
ANSWER_MISMATCH = "ANSWER_MISMATCH"

# Where our ids are in `notes`. A webhook about a refund brings the payment as well: the two must not be mixed up.
_PAYMENT, _REFUND = "payment_id", "refund_id"
_CLOSED = frozenset({"cancelled", "expired", "paid"})
# The key may be set right; what is under way by the same idempotency key, or was too much, may be asked again.
_NOT_FOR_GOOD = frozenset({401, 403, 408, 409, 429})
_STATES = {"pending": RefundState.PENDING, "processed": RefundState.DONE, "failed": RefundState.FAILED}


class _Wire(BaseModel):
    """What Razorpay sends, as far as it is read."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


_M = TypeVar("_M", bound=_Wire)


class _Error(_Wire):
    code: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$", validation_alias=AliasPath("error", "code"))
    description: str | None = Field(None, validation_alias=AliasPath("error", "description"))


class _Sum(_Wire):
    amount: int = Field(ge=0, le=10**12)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    notes: dict[str, Any] | list[Any] | None = None  # a list when there are none

    @property
    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)


class _Paid(_Wire):
    payment_id: str = Field(pattern=r"^pay_[A-Za-z0-9]{1,64}$")


class _Link(_Sum):
    id: str = Field(pattern=r"^plink_[A-Za-z0-9]{1,64}$")
    reference_id: str | None = None
    short_url: str = Field(pattern=r"^https://[\x21-\x7e]+$", max_length=2000)
    status: str
    amount_paid: int = 0
    # There is none before somebody has tried to pay.
    order_id: str | None = Field(None, pattern=r"^(order_[A-Za-z0-9]{1,64})?$")
    payments: list[_Paid] | None = None


class _Payment(_Sum):
    id: str = Field(pattern=r"^pay_[A-Za-z0-9]{1,64}$")
    status: str
    captured: bool | None = None
    created_at: int = Field(ge=0, le=4_765_046_400)  # the latest time that Razorpay knows

    @property
    def took_money(self) -> bool:
        """What Razorpay gives back by itself, because it was never captured, is `refunded` too."""
        return bool(self.captured) and self.status in {"captured", "refunded"}

    def charge(self, payment_id: UUID | None) -> Charge:
        moment = datetime.fromtimestamp(self.created_at, UTC)
        return Charge(self.id, payment_id or _ours(_field(self.notes, _PAYMENT)), self.money, moment)


class _Refund(_Sum):
    id: str = Field(pattern=r"^rfnd_[A-Za-z0-9]{1,64}$")
    payment_id: str
    receipt: str | None = None
    status: Literal["pending", "processed", "failed"]

    def is_of(self, refund_id: UUID) -> bool:
        return refund_id.hex in (self.receipt, _field(self.notes, _REFUND))


class _Page(_Wire, Generic[_M]):
    items: list[_M] = Field(validation_alias=AliasChoices("items", "payment_links"))


class RazorpayGateway:
    """One account. `webhook_secrets` are all that may have signed: a new one joins before the old one goes."""

    name = "razorpay"

    def __init__(self, base_url: str, key_id: str, key_secret: str, webhook_secrets: Sequence[str]) -> None:
        if not all(webhook_secrets):
            raise ValueError("webhook secrets: an empty one would let anybody sign")
        self._webhook_secrets = [secret.encode() for secret in webhook_secrets]
        self._client = httpx.AsyncClient(
            base_url=base_url,
            auth=httpx.BasicAuth(key_id, key_secret),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=TIMEOUT_SECONDS,  # of each step; a request as a whole has no more
            follow_redirects=False,
            trust_env=False,
        )
        self._request = self._client.build_request

    async def open(self, order: Order) -> Checkout:
        """Have a link there. Where it must live longer than the order, it is for the caller to close it in time."""
        expires_at = max(order.expires_at, datetime.now(UTC) + SHORTEST_LINK)
        wanted = {
            "amount": order.amount.amount,
            "currency": order.amount.currency,
            "accept_partial": False,
            "description": order.description,
            "reference_id": order.payment_id.hex,
            "expire_by": int(expires_at.timestamp()),
            "notify": {"sms": False, "email": False},
            "reminder_enable": False,
            "notes": {_PAYMENT: order.payment_id.hex},
            "callback_url": order.return_url,
            "callback_method": "get",
        }
        answer = await self._try(_Link, self._request("POST", "/v1/payment_links", json=wanted))
        link = await self._earlier(order.payment_id, answer) if isinstance(answer, _Error) else answer
        if (link.money, link.reference_id) != (order.amount, order.payment_id.hex):
            raise GatewayRefused(ANSWER_MISMATCH)
        return Checkout(link.id, link.short_url)

    async def _earlier(self, payment_id: UUID, error: _Error) -> _Link:
        """The link of an earlier try, whose answer was lost. Raises GatewayRefused when there is none.

        A reference can be had once. That it is taken has no code of its own, and its words have changed over time: so
        that any refusal is a reason to look, and the words only tell a link that is not listed yet.
        """
        listed = self._request("GET", "/v1/payment_links", params={"reference_id": payment_id.hex})
        for link in (await self._ask(_Page[_Link], listed)).items:
            if link.reference_id == payment_id.hex:
                return link
        if "reference" in (error.description or ""):
            raise GatewayAway("a link is there, but not listed yet")
        raise GatewayRefused(error.code)

    async def close(self, ref: str) -> None:
        """Cancel the link. One that takes no payment any more cannot be cancelled, and need not be."""
        path = _path("payment_links", ref)
        answer = await self._try(_Link, self._request("POST", f"{path}/cancel"))
        if isinstance(answer, _Error) and (await self._ask(_Link, self._request("GET", path))).status not in _CLOSED:
            raise GatewayRefused(answer.code)

    async def charges(self, ref: str) -> Sequence[Charge]:
        """All that was captured for a link: what its order tells, and what the link itself names besides."""
        link = await self._ask(_Link, self._request("GET", _path("payment_links", ref)))
        found: list[_Payment] = []
        if link.order_id:
            tried = self._request("GET", f"{_path('orders', link.order_id)}/payments")
            found = (await self._ask(_Page[_Payment], tried)).items
        others = {each.payment_id for each in link.payments or []} - {payment.id for payment in found}
        found += [await self._ask(_Payment, self._request("GET", _path("payments", each))) for each in sorted(others)]
        charges = [payment.charge(_ours(link.reference_id)) for payment in found if payment.took_money]
        if link.amount_paid and not charges:
            raise GatewayAway("a link is paid, but by no payment")
        return charges

    async def captured(self, since: datetime, until: datetime) -> AsyncGenerator[Charge]:
        """All that was captured of what was begun within a time, page by page: when it was captured is not told."""
        query = {"from": int(since.timestamp()), "to": ceil(until.timestamp())}
        async for payment in self._each(_Page[_Payment], "/v1/payments", query):
            if payment.took_money:
                yield payment.charge(None)

    async def refund(self, charge_id: str, refund_id: UUID, amount: Money) -> Refund:
        """Give back some of a payment. What is there already is found; an idempotency key is for what is under way."""
        path = _path("payments", charge_id)
        tried = [each async for each in self._each(_Page[_Refund], f"{path}/refunds", {}) if each.is_of(refund_id)]
        failed = sum(_STATES[each.status] is RefundState.FAILED for each in tried)
        known = [each for each in tried if _STATES[each.status] is not RefundState.FAILED]
        refund = known[0] if known else await self._give_back(path, refund_id, amount, failed)
        if (refund.money, refund.payment_id) != (amount, charge_id) or not refund.is_of(refund_id):
            raise GatewayRefused(ANSWER_MISMATCH)
        return Refund(refund.id, refund.money, _STATES[refund.status])

    async def _give_back(self, path: str, refund_id: UUID, amount: Money, failed: int) -> _Refund:
        """Ask for it; after tries that failed under another key, as under the first one the failure is the answer."""
        # The request names no currency: a number alone could be much more money, and on its way for good.
        if (await self._ask(_Payment, self._request("GET", path))).currency != amount.currency:
            raise GatewayRefused(ANSWER_MISMATCH)
        key = f"{refund_id.hex}-{failed}" if failed else refund_id.hex
        body = {"amount": amount.amount, "receipt": key, "notes": {_REFUND: refund_id.hex}}
        once = {"X-Refund-Idempotency": key}
        return await self._ask(_Refund, self._request("POST", f"{path}/refund", json=body, headers=once))

    def notice(self, body: bytes, headers: Mapping[str, str]) -> Notice:
        """What a webhook is about. Raises NotSigned. The event's id is a header, which the signature does not cover."""
        given = headers.get("x-razorpay-signature", "").encode(errors="replace")
        signatures = [hmac.digest(secret, body, "sha256").hex().encode() for secret in self._webhook_secrets]
        if not any(hmac.compare_digest(given, each) for each in signatures):
            raise NotSigned("signature")
        event_id = headers.get("x-razorpay-event-id", "")
        if not re.fullmatch(r"[\x21-\x7e]{1,128}", event_id):
            raise NotSigned("event id")
        try:
            event: object = json.loads(body)
        except (ValueError, RecursionError):
            raise NotSigned("no JSON") from None
        return Notice(event_id, _payment_of(event))

    async def aclose(self) -> None:
        """Give up its connections."""
        await self._client.aclose()

    async def _each(self, kind: type[_Page[_M]], path: str, query: Mapping[str, int]) -> AsyncGenerator[_M]:
        skip, items = 0, list[_M]()
        while skip == 0 or len(items) == PAGE:
            page = self._request("GET", path, params={**query, "count": PAGE, "skip": skip})
            earlier, items = items, (await self._ask(kind, page)).items
            if items and items == earlier:
                raise GatewayAway("a listing without an end")
            for item in items:
                yield item
            skip += PAGE

    async def _ask(self, kind: type[_M], request: httpx.Request) -> _M:
        """The answer. Raises GatewayRefused, GatewayAway."""
        answer = await self._try(kind, request)
        if isinstance(answer, _Error):
            raise GatewayRefused(answer.code)
        return answer

    async def _try(self, kind: type[_M], request: httpx.Request) -> _M | _Error:
        """The answer, or why there is none for good. Raises GatewayAway."""
        try:
            status, content = await answer_of(self._client, request, _NOT_FOR_GOOD)
            return (kind if httpx.codes.is_success(status) else _Error).model_validate_json(content)
        except ValidationError:
            raise GatewayAway("an answer that cannot be read") from None


def _path(kind: str, id: str) -> str:
    return f"/v1/{kind}/{quote(id, safe='')}"


def _ours(text: object) -> UUID | None:
    """None for what the account's other users write where our ids are."""
    return UUID(text) if isinstance(text, str) and re.fullmatch(r"[0-9a-f]{32}", text) else None


def _field(notes: object, key: str) -> object:
    return cast("dict[str, object]", notes).get(key) if isinstance(notes, dict) else None


def _payment_of(event: object) -> UUID | None:
    """What an event brings, its link, payment or order, may name the payment."""
    for name in ("payment_link", "payment", "order"):
        entity = _field(_field(_field(event, "payload"), name), "entity")
        if found := _ours(_field(entity, "reference_id")) or _ours(_field(_field(entity, "notes"), _PAYMENT)):
            return found
    return None
