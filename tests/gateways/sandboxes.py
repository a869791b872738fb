"""A payment sandbox of its own for a test: a real process, and who hears what it tells."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx

from amrutam.gateways.sandbox import SandboxGateway
from amrutam.ids import new_id
from amrutam.stack.folders import Folders
from amrutam.stack.ports import free_port
from amrutam.stack.sandbox import Sandbox
from tests.gateways.http_listener import Listener, listening


class Running(NamedTuple):
    """A sandbox, HTTP to it with its key, the gateway that Amrutam would use, and its listener."""

    part: Sandbox
    http: httpx.AsyncClient
    gateway: SandboxGateway
    listener: Listener

    async def order(self, reference: UUID | str | None = None, **changes: Any) -> dict[str, Any]:
        """A new order, for 500 rupees within ten minutes."""
        wanted = {
            "reference": str(reference or new_id()),
            "amount": 50000,
            "currency": "INR",
            "description": "Consultation on 3 March 2027",
            "expires_at": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(),
            "return_url": f"{self.listener.url}/back?from=sandbox",
        }
        answer = await self.http.post("/v1/orders", json=wanted | changes)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pay(self, order: dict[str, Any], **how: Any) -> dict[str, Any]:
        """The charge of a payment, as the API answers it."""
        answer = await self.http.post(f"/v1/orders/{order['id']}/pay", json={"outcome": "pay", **how})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def charges(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """All of an order."""
        return (await self.http.get(f"/v1/orders/{order['id']}/charges")).json()["items"]


@asynccontextmanager
async def running_sandbox(folder: Path) -> AsyncGenerator[Running]:
    """One whose data lie in `folder`, stopped at the end."""
    folders = Folders(folder)
    folders.make()
    async with listening() as listener:
        part = Sandbox(folders, free_port(), f"{listener.url}/webhooks", listener.url)
        told = part.environment()
        url, key, signed = (told[f"PAYMENT_SANDBOX_{name}"] for name in ("URL", "KEY", "WEBHOOK_SECRET"))
        gateway = SandboxGateway(url, key, signed)
        headers = {"Authorization": f"Bearer {key}"}
        try:
            await part.start()
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False) as http:
                yield Running(part, http, gateway, listener)
        finally:
            await gateway.aclose()
            await part.stop()
