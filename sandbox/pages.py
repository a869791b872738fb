"""The page on which a person pays, and what they see instead of it or afterwards.

Whoever knows an order's id may pay for it: that is how they were sent here. Nothing is loaded, and no script runs.
"""

import hashlib
import hmac
import math
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, Field, ValidationError
from sanic import HTTPResponse, Request, Sanic

from sandbox import charges, money, orders
from sandbox.charges import LONGEST_DELAY, Charge, Outcome, Pay
from sandbox.events import Webhooks
from sandbox.orders import Order, State
from sandbox.refused import Refused
from sandbox.settings import Settings
from sandbox.store import Store, now

_TEMPLATES = Environment(loader=PackageLoader("sandbox"), autoescape=True, undefined=StrictUndefined)
# Late money is proposed to come so many seconds after its order's time is over.
_AFTER_EXPIRY = 5


class Chosen(BaseModel):
    """The form as it is sent."""

    outcome: Outcome
    webhooks: Webhooks = Webhooks.NOW
    delay_seconds: float = Field(5, ge=0, le=LONGEST_DELAY)
    late_capture: bool = False
    capture_delay_seconds: float = Field(0, ge=0, le=LONGEST_DELAY)

    def payment(self) -> Pay:
        """The same as the API takes it."""
        return Pay(
            outcome=self.outcome,
            webhooks=self.webhooks,
            delay_seconds=self.delay_seconds,
            capture_delay_seconds=self.capture_delay_seconds if self.late_capture else 0,
        )


class Pages:
    """`/pay/{order id}`."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._key = settings.key.get_secret_value().encode()
        self._origins = settings.return_origin

    def mount(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes to the application."""
        app.add_route(self.show, "/pay/<order_id:str>", methods=["GET"], name="show")
        app.add_route(self.act, "/pay/<order_id:str>", methods=["POST"], name="act")

    async def show(self, _request: Request, order_id: str) -> HTTPResponse:
        """The page of an order."""
        try:
            return self._order(orders.find(self._store.db, order_id, now()))
        except Refused:
            return self._told(404, "No such payment", "Please go back to where you came from, and try again.")

    async def act(self, request: Request, order_id: str) -> HTTPResponse:
        """Pay or decline, then go back."""
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        if not secrets.compare_digest(form.get("token", "").encode(errors="replace"), self._token(order_id).encode()):
            return self._told(403, "This form is not ours", "Please open the payment page again and use its buttons.")
        try:
            charge = charges.pay(self._store, order_id, Chosen.model_validate(form).payment(), now())
        except ValidationError:
            words = f"Seconds are a number from 0 to {LONGEST_DELAY}."
            return self._order(orders.find(self._store.db, order_id, now()), fault=words)
        except Refused:  # it was paid, closed or too late meanwhile, of which its page tells
            return await self.show(request, order_id)
        return self._done(orders.find(self._store.db, order_id, now()), charge)

    def _done(self, order: Order, charge: Charge) -> HTTPResponse:
        if self._may_return(order):
            return HTTPResponse(status=303, headers={**_headers(), "Location": order.return_url})
        amount = money.shown(order.amount, order.currency)
        match charge.state:
            case charges.State.DECLINED:
                words = ("Payment declined", "Nothing was taken.", f"/pay/{order.id}", "Try again")
            case charges.State.AUTHORISED:
                words = ("Payment authorised", f"{amount} will be taken later.")
            case charges.State.CAPTURED:
                words = ("Payment made", f"{amount} was taken.")
        return self._told(200, *words)

    def _order(self, order: Order, fault: str = "") -> HTTPResponse:
        back = (order.return_url, "Go back") if self._may_return(order) else ()
        match order.state:
            case State.PAID:
                amount = money.shown(order.amount, order.currency)
                return self._told(200, "Paid already", f"{amount} was taken. There is nothing left to do here.", *back)
            case State.CLOSED:
                return self._told(
                    200, "Closed", "This payment is not wanted any more. Nothing can be paid here.", *back
                )
            case State.EXPIRED:
                return self._told(
                    200, "Too late", "The time for this payment is over. Nothing can be paid here.", *back
                )
            case State.OPEN:
                return self._form(order, fault)

    def _form(self, order: Order, fault: str) -> HTTPResponse:
        known = charges.of_order(self._store.db, order.id).items
        left = math.ceil((order.expires_at - now()).total_seconds())
        return self._page(
            422 if fault else 200,
            "pay.html",
            order=order,
            amount=money.shown(order.amount, order.currency),
            until=f"{order.expires_at:%d %B %Y, %H:%M:%S} UTC",
            token=self._token(order.id),
            longest=LONGEST_DELAY,
            late=min(left + _AFTER_EXPIRY, LONGEST_DELAY),
            authorised=any(each.state is charges.State.AUTHORISED for each in known),
            fault=fault,
        )

    def _told(self, status: int, title: str, words: str, link: str = "", link_words: str = "") -> HTTPResponse:
        return self._page(status, "told.html", title=title, words=words, link=link, link_words=link_words)

    def _page(self, status: int, name: str, **values: Any) -> HTTPResponse:
        nonce = secrets.token_urlsafe(16)
        # Browsers ask a form's policy about where its answer sends them, too.
        targets = " ".join(["'self'", *self._origins])
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {targets}; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        body = _TEMPLATES.get_template(name).render(nonce=nonce, **values)
        headers = {**_headers(), "Content-Security-Policy": policy}
        return HTTPResponse(body, status, headers, content_type="text/html; charset=utf-8")

    def _may_return(self, order: Order) -> bool:
        parts = urlsplit(order.return_url)
        return f"{parts.scheme}://{parts.netloc}" in self._origins

    def _token(self, order_id: str) -> str:
        """What only our own page holds: another site can send its visitors' browsers here, and cannot read it."""
        return hmac.digest(self._key, f"form {order_id}".encode(), hashlib.sha256).hex()


def _headers() -> dict[str, str]:
    return {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
