"""What the gateway's customers ask by HTTP, with its key as a bearer token.

A refusal answers `{"code", "detail"}`; `code` is for programs.
"""

import secrets
from collections.abc import Callable
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from sanic import HTTPResponse, Request, Sanic
from sanic.response import raw

from sandbox import charges, orders, refunds
from sandbox.charges import Charge, Charges, Pay, Within
from sandbox.orders import Order, PlaceOrder
from sandbox.refunds import GiveBack, Refund
from sandbox.refused import Refused
from sandbox.settings import Settings
from sandbox.store import Store, now


class Problem(BaseModel):
    """Why not."""

    code: str
    detail: str


class PayableOrder(Order):
    """An order, and the page on which it is paid."""

    url: str


class Api:
    """The routes under `/v1`."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._token = f"Bearer {settings.key.get_secret_value()}".encode()

    def mount(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes to the application."""
        routes: list[tuple[str, str, Callable[..., BaseModel]]] = [
            ("POST", "/v1/orders", self.place),
            ("POST", "/v1/orders/<order_id:str>/close", self.close),
            ("POST", "/v1/orders/<order_id:str>/pay", self.pay),
            ("GET", "/v1/orders/<order_id:str>/charges", self.charges_of),
            ("GET", "/v1/charges", self.captured),
            ("POST", "/v1/charges/<charge_id:str>/refunds", self.give_back),
            ("GET", "/v1/refunds/<refund_id:str>", self.refund),
        ]
        for method, path, handler in routes:
            app.add_route(self._guarded(handler), path, methods=[method], name=handler.__name__)

    def place(self, request: Request) -> PayableOrder:
        """Have an order, once for each reference."""
        return self._payable(orders.place(self._store, PlaceOrder.model_validate_json(request.body), now()))

    def close(self, _request: Request, order_id: str) -> PayableOrder:
        """Take no payment for an order from now on."""
        return self._payable(orders.close(self._store, order_id, now()))

    def pay(self, request: Request, order_id: str) -> Charge:
        """Do what a payer does on the page."""
        return charges.pay(self._store, order_id, Pay.model_validate_json(request.body), now())

    def charges_of(self, _request: Request, order_id: str) -> Charges:
        """All charges of an order, whatever became of them."""
        orders.find(self._store.db, order_id, now())
        return charges.of_order(self._store.db, order_id)

    def captured(self, request: Request) -> Charges:
        """All that was captured within a time, page by page."""
        return charges.captured(self._store.db, Within.model_validate(dict(request.query_args)))

    def give_back(self, request: Request, charge_id: str) -> Refund:
        """Have a refund, once for each reference."""
        wanted = GiveBack.model_validate_json(request.body)
        return refunds.give_back(self._store, charge_id, wanted, now(), self._settings.refund_seconds)

    def refund(self, _request: Request, refund_id: str) -> Refund:
        """How far a refund is."""
        return refunds.find(self._store.db, refund_id)

    def _payable(self, order: Order) -> PayableOrder:
        return PayableOrder(**order.model_dump(), url=f"{self._settings.url}/pay/{order.id}")

    def _guarded(self, handler: Callable[..., BaseModel]) -> Callable[..., Any]:
        async def guarded(request: Request, **given: str) -> HTTPResponse:
            token = cast("str | None", request.headers.get("authorization")) or ""
            if not secrets.compare_digest(token.encode(errors="replace"), self._token):
                return _answer(401, Problem(code="UNAUTHENTICATED", detail="The key is missing or wrong."))
            try:
                return _answer(200, handler(request, **given))
            except ValidationError as error:
                return _answer(400, Problem(code="BAD_REQUEST", detail=_first_fault(error)))
            except Refused as refused:
                detail = refused.code.replace("_", " ").capitalize()
                return _answer(refused.status, Problem(code=refused.code, detail=f"{detail}."))

        return guarded


def _answer(status: int, said: BaseModel) -> HTTPResponse:
    return raw(said.model_dump_json().encode(), status=status, content_type="application/json")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
