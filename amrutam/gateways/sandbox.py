"""The payment sandbox (`python -m sandbox`), which takes no money: the gateway of a demo and of the tests."""

import hashlib
import hmac
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

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

# The key may be set right, and who asked too much may ask again: none of these is refused for good.
_NOT_FOR_GOOD = frozenset({401, 403, 408, 429})


class _Wire(BaseModel):
    """What the sandbox sends, as far as it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


_W = TypeVar("_W", bound=_Wire)


class _Error(_Wire):
    code: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")


class _Sum(_Wire):
    id: str = Field(pattern=r"^[a-z]{3}_[0-9a-f]{1,64}$")
    amount: int = Field(ge=0, le=10**12)
    currency: str = Field(pattern=r"^[A-Z]{3}$")

    @property
    def money(self) -> Money:
        return Money(amount=self.amount, currency=self.currency)


class _Order(_Sum):
    url: str = Field(pattern=r"^https?://[!-~]+$", max_length=2000)


class _Charge(_Sum):
    reference: str
    state: str
    captured_at: AwareDatetime | None

    def captured(self) -> Charge | None:
        """None where no money was taken."""
        if self.state != "captured" or self.captured_at is None:
            return None
        return Charge(self.id, _uuid(self.reference), self.money, self.captured_at.astimezone(UTC))


class _Charges(_Wire):
    items: list[_Charge]
    next_cursor: str | None


class _Refund(_Sum):
    state: RefundState


class _Event(_Wire):
    id: str = Field(pattern=r"^[!-~]{1,128}$")
    reference: str


class SandboxGateway:
    """One sandbox, by its address and its two secrets."""

    name = "sandbox"

    def __init__(self, url: str, key: str, webhook_secret: str) -> None:
        self._webhook_secret = webhook_secret.encode()
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"},
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
        )

    async def open(self, order: Order) -> Checkout:
        """Have an order there, once for each payment, and say where it is paid."""
        wanted = {
            "reference": str(order.payment_id),
            "amount": order.amount.amount,
            "currency": order.amount.currency,
            "description": order.description,
            "expires_at": order.expires_at.astimezone(UTC).isoformat(),
            "return_url": order.return_url,
        }
        answer = await self._ask(_Order, "POST", "/v1/orders", json=wanted)
        return Checkout(answer.id, answer.url)

    async def close(self, ref: str) -> None:
        """Take no payment for the order any more. One that is closed or paid already stays as it is."""
        await self._ask(_Order, "POST", f"/v1/orders/{_quoted(ref)}/close")

    async def charges(self, ref: str) -> Sequence[Charge]:
        """All that was captured for an order."""
        answer = await self._ask(_Charges, "GET", f"/v1/orders/{_quoted(ref)}/charges")
        return [charge for each in answer.items if (charge := each.captured())]

    async def captured(self, since: datetime, until: datetime) -> AsyncGenerator[Charge]:
        """All that was captured from `since` until before `until`, page by page, the oldest first."""
        wanted = {"from": since.astimezone(UTC).isoformat(), "to": until.astimezone(UTC).isoformat()}
        cursors: list[str] = []
        while True:
            page = await self._ask(_Charges, "GET", "/v1/charges", params=wanted)
            for each in page.items:
                if charge := each.captured():
                    yield charge
            if page.next_cursor is None:
                return
            if page.next_cursor in cursors:
                raise GatewayAway("a listing without an end")
            cursors.append(page.next_cursor)
            wanted["cursor"] = page.next_cursor

    async def refund(self, charge_id: str, refund_id: UUID, amount: Money) -> Refund:
        """Give back some of a charge: once for each `refund_id`, however often it is asked for. Tells how far it is."""
        wanted = {"reference": str(refund_id), "amount": amount.amount, "currency": amount.currency}
        answer = await self._ask(_Refund, "POST", f"/v1/charges/{_quoted(charge_id)}/refunds", json=wanted)
        return Refund(answer.id, answer.money, answer.state)

    def notice(self, body: bytes, headers: Mapping[str, str]) -> Notice:
        """What a webhook is about. Raises NotSigned, also for a body that no sandbox would sign."""
        given = headers.get("x-sandbox-signature", "").encode(errors="replace")
        signature = hmac.digest(self._webhook_secret, body, hashlib.sha256).hex()
        if not hmac.compare_digest(given, signature.encode()):
            raise NotSigned("signature")
        try:
            event = _Event.model_validate_json(body)
        except ValidationError:
            raise NotSigned("no event") from None
        return Notice(event.id, _uuid(event.reference))

    async def aclose(self) -> None:
        """Give up its connections."""
        await self._client.aclose()

    async def _ask(
        self, kind: type[_W], method: str, path: str, *, json: Any = None, params: Mapping[str, str] | None = None
    ) -> _W:
        """The answer. Raises GatewayRefused, GatewayAway."""
        request = self._client.build_request(method, path, json=json, params=params)
        try:
            status, content = await answer_of(self._client, request, _NOT_FOR_GOOD)
            if httpx.codes.is_success(status):
                return kind.model_validate_json(content)
            raise GatewayRefused(_Error.model_validate_json(content).code)
        except ValidationError:
            raise GatewayAway("an answer that cannot be read") from None


def _quoted(id: str) -> str:
    return quote(id, safe="")


def _uuid(reference: str) -> UUID | None:
    """None for what is no id of ours."""
    try:
        return UUID(reference)
    except ValueError:
        return None
