"""A small mail server (RFC 5321) with STARTTLS and AUTH PLAIN, that keeps what it is given."""

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
NOBODY = "nobody@example.com"
BUSY = "busy@example.com"


@dataclass
class Received:
    """A mail as it came in, and how."""

    recipients: list[str]
    message: EmailMessage
    encrypted: bool
    user: str | None


@dataclass
class MailServer:
    """Answers on `port`. Refuses NOBODY for good and BUSY for now."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    password: str | None = None
    port: int = 0
    received: list[Received] = field(default_factory=list[Received])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["MailServer", None]:
        """Listen for as long as the block lasts."""
        server = await asyncio.start_server(self._talk, HOST, 0, ssl=self.tls if self.implicit else None)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = _Conversation(self, reader, writer)
        try:
            await conversation.hold()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # a client that does not trust us hangs up
        finally:
            writer.close()


class _Conversation:
    """One connection."""

    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._encrypted = server.implicit
        self._user: str | None = None
        self._recipients: list[str] = []

    async def hold(self) -> None:
        await self._say("220 mail.example.com ESMTP")
        while line := (await self._reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO":
                    await self._offer()
                case "STARTTLS" if self._server.tls:
                    await self._say("220 go ahead")
                    await self._writer.start_tls(self._server.tls)
                    self._encrypted = True
                case "AUTH":
                    await self._authenticate(rest)
                case "MAIL" if self._server.password and not self._user:
                    await self._say("530 5.7.0 authentication required")
                case "MAIL":
                    await self._say("250 OK")
                case "RCPT":
                    await self._accept(rest[rest.index("<") + 1 : rest.index(">")])
                case "DATA":
                    await self._take()
                case "QUIT":
                    await self._say("221 bye")
                    return
                case _:
                    await self._say("502 not here")

    async def _offer(self) -> None:
        offers = ["mail.example.com", "8BITMIME"]
        if self._server.tls and not self._encrypted:
            offers.append("STARTTLS")
        if self._server.password:
            offers.append("AUTH PLAIN")
        for offer in offers[:-1]:
            await self._say(f"250-{offer}")
        await self._say(f"250 {offers[-1]}")

    async def _authenticate(self, given: str) -> None:
        _, user, password = base64.b64decode(given.partition(" ")[2]).decode().split("\0")
        if password != self._server.password:
            await self._say("535 5.7.8 no")
            return
        self._user = user
        await self._say("235 welcome")

    async def _accept(self, recipient: str) -> None:
        if recipient == NOBODY:
            await self._say("550 5.1.1 no such mailbox")
        elif recipient == BUSY:
            await self._say("450 4.2.0 try later")
        else:
            self._recipients.append(recipient)
            await self._say("250 OK")

    async def _take(self) -> None:
        await self._say("354 end with a dot")
        raw = (await self._reader.readuntil(b"\r\n.\r\n")).removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        message = message_from_bytes(raw, policy=SMTP)
        self._server.received.append(Received(self._recipients, message, self._encrypted, self._user))
        await self._say("250 kept")

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A fresh certificate for HOST: the server's context, and that of a client who trusts it."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime.now(UTC)
    issued = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, None)
    )
    file = folder / "server.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + issued.public_bytes(Encoding.PEM)
    file.write_bytes(pem)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    return served, ssl.create_default_context(cadata=issued.public_bytes(Encoding.DER))
