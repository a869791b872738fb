"""The payment sandbox, a gateway that takes no money, as `make up` and the tests run it."""

import json
import secrets
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from amrutam.stack.applications import CHECKOUT, Demo
from amrutam.stack.folders import Folders, write_private
from amrutam.stack.part import Part
from amrutam.stack.ports import LOOPBACK, Wanted, answers_ok, port_of
from amrutam.stack.process import Program

DEFAULT_PORT = 8010


class Sandbox(Part):
    """Its keys are made at random, once, and lie beside its database."""

    name = "Payment sandbox"
    port_variable = "SANDBOX_PORT"
    stop_seconds = 4

    def __init__(self, folders: Folders, port: int, webhook_url: str, return_origins: str) -> None:
        super().__init__(folders, port)
        self._webhook_url = webhook_url
        self._return_origins = return_origins

    @classmethod
    def of(cls, folders: Folders, demo: Demo, environment: Mapping[str, str]) -> "Sandbox":
        """The one of a demo: it tells the demo's API, and sends people back to where that may send them.

        Raises StackError for a port that is none.
        """
        allowed = [environment["PUBLIC_URL"], *environment.get("CORS_ORIGINS", "").split(",")]
        parts = [urlsplit(each.strip()) for each in allowed]
        origins = [f"{each.scheme}://{each.netloc}" for each in parts if each.scheme in {"http", "https"}]
        webhook_url = f"{demo.url}/v1/payments/webhooks/sandbox"
        return cls(folders, cls.wanted(environment).port, webhook_url, ",".join(origins))

    @classmethod
    def wanted(cls, environment: Mapping[str, str]) -> Wanted:
        """Its port. Raises StackError for one that is none."""
        return Wanted(cls.name, cls.port_variable, port_of(environment, cls.port_variable, DEFAULT_PORT))

    @property
    def url(self) -> str:
        """Where it answers, and where people pay."""
        return f"http://{LOOPBACK}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What Amrutam's processes are told of it."""
        keys = self._keys()
        return {
            "PAYMENT_SANDBOX_URL": self.url,
            "PAYMENT_SANDBOX_KEY": keys["key"],
            "PAYMENT_SANDBOX_WEBHOOK_SECRET": keys["webhook_secret"],
        }

    def _keys(self) -> dict[str, str]:
        file = self._folders.sandbox / "keys.json"
        if not file.exists():
            names = ("key", "webhook_secret")
            write_private(file, json.dumps({name: secrets.token_urlsafe(32) for name in names}))
        return json.loads(file.read_text())

    async def _prepare(self) -> Program:
        keys = self._keys()
        told = {
            "SANDBOX_PORT": str(self.port),
            "SANDBOX_FOLDER": str(self._folders.sandbox),
            "SANDBOX_KEY": keys["key"],
            "SANDBOX_WEBHOOK_SECRET": keys["webhook_secret"],
            "SANDBOX_WEBHOOK_URL": self._webhook_url,
            "SANDBOX_RETURN_ORIGIN": self._return_origins,
        }
        return self._program([sys.executable, "-m", "sandbox"], folder=CHECKOUT, environment=told)

    async def _answers(self) -> bool:
        return await answers_ok(f"{self.url}/health")
