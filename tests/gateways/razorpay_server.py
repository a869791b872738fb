"""As much of Razorpay's API as the gateway speaks, over real HTTP: links, their orders and payments, refunds.

It refuses what lacks `KEY` and what it does not know, as Razorpay does, and can be told to fail.
"""

import asyncio
import base64
import hmac
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from amrutam.gateways.payments import MOST_BYTES

KEY_ID, KEY_SECRET = "rzp_test_key", "kept-by-few"
_KEY = "Basic " + base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
_LINK_FIELDS = frozenset(
    {"amount", "currency", "accept_partial", "description", "reference_id", "expire_by"}
    | {"notify", "reminder_enable", "notes", "callback_url", "callback_method"}
)


class Trouble(StrEnum):
    """What becomes of a request."""

    NONE = "none"
    DOWN = "down"  # an error of the server's, nothing done
    BUSY = "busy"  # too many requests, nothing done
    MOVED = "moved"  # a redirect to where it would be done
    GARBAGE = "garbage"  # done, but the answer is no JSON
    LARGE = "large"  # done, and the answer has no end to speak of
    LOST = "lost"  # done, but the connection breaks before the answer
    SILENT = "silent"  # done, but the answer never comes


class Refused(Exception):
    """An error that Razorpay documents: its status and its words."""

    def __init__(self, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(description)
        self.status = status


class Asked(NamedTuple):
    """A request. The path is in its parts, without `/v1`."""

    method: str
    path: list[str]
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class RazorpayServer:
    """The account's state. Objects are as they are on the wire; new ones come last."""

    url: str = ""
    links: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    payments: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    keys: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(
        default_factory=dict[str, tuple[dict[str, Any], dict[str, Any]]]
    )  # by idempotency key: what was asked, what was answered
    troubles: list[Trouble] = field(default_factory=list[Trouble])  # of the next requests
    taken: str = "payment link with given reference_id: {} already exists"  # how it says so
    filters: bool = True  # whether it honours a listing's reference_id
    lists: bool = True  # whether it lists links already
    skips: bool = True  # whether a listing goes on where it is told to
    state: str = "processed"  # of new refunds
    refunding: int = 0  # so many of the next refunds are under way already, by their idempotency key
    forged: dict[str, Any] = field(default_factory=dict[str, Any])  # fields of each answer about a link or a refund
    asked: list[str] = field(default_factory=list[str])

    def pay(self, ref: str, status: str = "captured", *, by_order: bool = True, captured: bool | None = None) -> str:
        """A patient pays a link, or tries to: the payment's id."""
        link = self.links[ref]
        took = status in {"captured", "refunded"} if captured is None else captured
        payment: dict[str, Any] = {
            "id": _new("pay"),
            "entity": "payment",
            "amount": link["amount"],
            "currency": link["currency"],
            "status": status,
            "captured": took,
            "order_id": link.setdefault("order_id", _new("order")),
            "email": "patient@example.com",
            "contact": "+919000090000",
            "notes": link["notes"] or [],
            "created_at": int(time.time()),
        }
        if not by_order:
            del link["order_id"], payment["order_id"]
        self.payments[payment["id"]] = payment
        if took:
            paid = {"payment_id": payment["id"], "amount": link["amount"], "status": "captured"}
            link |= {"status": "paid", "amount_paid": link["amount"], "payments": [*(link["payments"] or []), paid]}
        return payment["id"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while asked := await _read(reader):
                self.asked.append(f"{asked.method} /{'/'.join(asked.path)}")
                trouble = self.troubles.pop(0) if self.troubles else Trouble.NONE
                status, headers, body = self._answer(asked, trouble)
                if trouble is Trouble.LOST:
                    return
                if trouble is Trouble.SILENT:
                    await reader.read()  # until the other side gives up
                    return
                lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, asked: Asked, trouble: Trouble) -> tuple[HTTPStatus, dict[str, str], bytes]:
        try:
            match trouble:
                case Trouble.DOWN:
                    raise Refused("Something went wrong", HTTPStatus.BAD_GATEWAY)
                case Trouble.BUSY:
                    raise Refused("Too many requests", HTTPStatus.TOO_MANY_REQUESTS)
                case Trouble.MOVED:
                    there = f"/v1/{'/'.join(asked.path)}"
                    return HTTPStatus.TEMPORARY_REDIRECT, {"Location": there}, b""
                case _ if asked.headers.get("authorization") != _KEY:
                    raise Refused("Authentication failed", HTTPStatus.UNAUTHORIZED)
                case _:
                    body = json.dumps(self._done(asked)).encode()
        except Refused as refused:
            error = {"code": "BAD_REQUEST_ERROR", "description": str(refused), "source": "NA", "reason": "NA"}
            return refused.status, {}, json.dumps({"error": error}).encode()
        if trouble is Trouble.GARBAGE:
            body = b"<html>Welcome"
        elif trouble is Trouble.LARGE:
            body += b" " * MOST_BYTES  # which a reader of JSON would not mind
        return HTTPStatus.OK, {"Content-Type": "application/json"}, body

    def _done(self, asked: Asked) -> dict[str, Any]:  # noqa: PLR0911 - one for each of its addresses
        match asked.method, asked.path:
            case "POST", ["payment_links"]:
                return self._open(asked.body) | self.forged
            case "GET", ["payment_links"]:
                wanted = asked.query.get("reference_id") if self.filters else None
                found = [each for each in self.links.values() if wanted in {None, each["reference_id"]}]
                return {"payment_links": found if self.lists else []}
            case "GET", ["payment_links", ref]:
                return _one(self.links, ref) | self.forged
            case "POST", ["payment_links", ref, "cancel"]:
                return self._cancel(_one(self.links, ref))
            case "GET", ["orders", order, "payments"]:
                return _page([each for each in self.payments.values() if each.get("order_id") == order])
            case "GET", ["payments"]:
                first, last = int(asked.query["from"]), int(asked.query["to"])
                within = [each for each in self.payments.values() if first <= each["created_at"] <= last]
                return _page(within[::-1], asked.query if self.skips else asked.query | {"skip": "0"})
            case "GET", ["payments", id]:
                return _one(self.payments, id)
            case "GET", ["payments", id, "refunds"]:
                return _page([each for each in self.refunds.values() if each["payment_id"] == id][::-1], asked.query)
            case "POST", ["payments", id, "refund"]:
                return self._refund(_one(self.payments, id), asked) | self.forged
            case _:
                raise Refused("The requested URL was not found on the server")

    def _open(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := body.keys() - _LINK_FIELDS:
            raise Refused(f"{', '.join(sorted(unknown))} is/are not required and should not be sent")
        if type(body["amount"]) is not int or body["amount"] < 100:
            raise Refused("amount: amount should be minimum 1.00 for INR")
        if body["expire_by"] < time.time() + 15 * 60:
            raise Refused("timestamp must be atleast 15 minutes in future")
        if len(body["reference_id"]) > 40 or len(body["description"]) > 2048 or body["callback_method"] != "get":
            raise Refused("wrong input fields sent")
        if any(each["reference_id"] == body["reference_id"] for each in self.links.values()):
            raise Refused(self.taken.format(body["reference_id"]))
        ref = _new("plink")
        made = {"id": ref, "short_url": f"https://rzp.io/rzp/{ref}", "status": "created", "amount_paid": 0}
        self.links[ref] = {**body, **made, "payments": None, "user_id": ""}
        return self.links[ref]

    def _cancel(self, link: dict[str, Any]) -> dict[str, Any]:
        if link["status"] != "created":
            kind = "an already paid/partially paid" if "paid" in link["status"] else "an expired"
            raise Refused(f"cannot cancel or expire {kind} link")
        link["status"] = "cancelled"
        return link

    def _refund(self, payment: dict[str, Any], asked: Asked) -> dict[str, Any]:
        key = asked.headers.get("x-refund-idempotency", "")
        if key and not re.fullmatch(r"[A-Za-z0-9_-]{10,}", key):
            raise Refused("The idempotency key must be at least 10 characters long.")
        if self.refunding:
            self.refunding -= 1
            raise Refused("Another request with the same idempotency key is still in progress.", HTTPStatus.CONFLICT)
        if earlier := self.keys.get(key):
            if earlier[0] != asked.body:
                raise Refused("Different request with the same idempotency key", HTTPStatus.CONFLICT)
            return earlier[1]
        given_back = sum(each["amount"] for each in self.refunds.values() if each["payment_id"] == payment["id"])
        if not payment["captured"] or given_back + asked.body["amount"] > payment["amount"]:
            raise Refused("The refund amount provided is greater than amount captured")
        refund: dict[str, Any] = {
            "id": _new("rfnd"),
            "entity": "refund",
            "receipt": None,
            "notes": [],
            **asked.body,
            "payment_id": payment["id"],
            "currency": payment["currency"],
            "status": self.state,
        }
        self.refunds[refund["id"]] = refund
        if key:
            self.keys[key] = (asked.body, refund)
        return refund


@asynccontextmanager
async def razorpay_server() -> AsyncGenerator[RazorpayServer]:
    """A running server with an account in which nothing has happened."""
    account = RazorpayServer()
    server = await asyncio.start_server(account.serve, "127.0.0.1", 0)
    account.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield account


def webhook(payload: Mapping[str, Any], event: str = "payment_link.paid") -> bytes:
    """The body of a webhook that brings these entities, by their names."""
    entities = {name: {"entity": entity} for name, entity in payload.items()}
    return json.dumps({"entity": "event", "event": event, "contains": list(payload), "payload": entities}).encode()


def signed(body: bytes, secret: str, event_id: str = "Gb5kMCdcAZ8jJ8") -> dict[str, str]:
    """The headers that come with a webhook's body."""
    signature = hmac.digest(secret.encode(), body, "sha256").hex()
    return {"x-razorpay-signature": signature, "x-razorpay-event-id": event_id}


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(7)}"


def _one(objects: Mapping[str, dict[str, Any]], id: str) -> dict[str, Any]:
    if id not in objects:
        raise Refused("The id provided does not exist")
    return objects[id]


def _page(items: list[dict[str, Any]], query: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Ten without a `count`, of which the most is a hundred; all of them for an order."""
    if query is not None:
        count, skip = int(query.get("count", "10")), int(query.get("skip", "0"))
        if count > 100:
            raise Refused("The count may not be greater than 100")
        items = list(islice(items, skip, skip + count))
    return {"entity": "collection", "count": len(items), "items": items}


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    path, _, query = target.partition("?")
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = [unquote(part) for part in path.removeprefix("/v1/").split("/")]
    return Asked(method, parts, dict(parse_qsl(query)), headers, json.loads(content or b"{}"))
