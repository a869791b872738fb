"""Mail: a protocol, the real way (SMTP) and the local one (files in a folder, for demo and tests)."""

import asyncio
import hashlib
import secrets
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import aiosmtplib

from amrutam.settings import Settings

# Each command to the server may take this long; a whole mail stays well under the activity's own time.
TIMEOUT_SECONDS = 5.0

# Links stay on one line (RFC 5322 allows 998 characters), so that a text mail can be read as it lies there.
_POLICY = SMTP.clone(max_line_length=500)


class Attachment(NamedTuple):
    """A file that goes with a mail. `content_type` may have parameters, as in `text/calendar; method=REQUEST`."""

    name: str
    content_type: str
    content: bytes


class Mail(NamedTuple):
    """One mail to one person. The same `id` is the same mail, however often it is sent."""

    id: UUID
    to: str
    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()


class MailRefused(Exception):
    """The server refuses this address for good: there is no such mailbox."""


class MailNotSent(Exception):
    """The server is away, busy or not set up; try again. Says which, without the address."""


class Mailer(Protocol):
    """Sends mails."""

    async def send(self, mail: Mail) -> None:
        """Hand the mail over. Raises MailRefused, MailNotSent."""
        ...


def mailer_for(settings: Settings) -> Mailer:
    """The mailer that the settings name. Raises ValueError for an SMTP_URL that cannot be used."""
    if settings.smtp_url:
        return SmtpMailer(settings.smtp_url.get_secret_value(), settings.mail_from)
    if settings.mail_folder:
        return FolderMailer(settings.mail_folder, settings.mail_from)
    raise ValueError("SMTP_URL: needed to send mail")


class SmtpMailer:
    """A mail server: `smtps://user:password@host:port`, or `smtp://…?starttls=required`.

    The server's certificate is checked. Without either, as for a trial server on the same machine, no password is sent.
    """

    def __init__(self, url: str, sender: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise ValueError("SMTP_URL: should look like smtps://user:password@host:port")
        self._sender = sender
        self._host = parts.hostname
        self._implicit_tls = parts.scheme == "smtps"
        self._starttls = parse_qs(parts.query).get("starttls") == ["required"]
        self._port = parts.port or (465 if self._implicit_tls else 587 if self._starttls else 25)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._tls = tls
        if self._user and not (self._implicit_tls or self._starttls):
            raise ValueError("SMTP_URL: a password needs smtps:// or ?starttls=required")

    async def send(self, mail: Mail) -> None:
        """Hand the mail to the server. Raises MailRefused, MailNotSent."""
        try:
            await aiosmtplib.send(
                compose(mail, self._sender),
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password,
                use_tls=self._implicit_tls,
                start_tls=self._starttls,
                tls_context=self._tls,
                timeout=TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as refused:
            codes = [each.code for each in refused.recipients]
            for_good = all(code >= 500 for code in codes)  # noqa: PLR2004 - RFC 5321: 5yz is permanent
            raise (MailRefused if for_good else MailNotSent)(f"recipient refused: {codes}") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            code = f" {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else ""
            raise MailNotSent(f"{type(error).__name__}{code}") from None


class FolderMailer:
    """Writes each mail as `<id>.<digest of the address>.eml`: names sort by time, and a repeat replaces its first."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Put the mail into the folder, whole or not at all."""
        await asyncio.to_thread(self._write, mail)

    def _write(self, mail: Mail) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{mail.id}.{_digest(mail.to)}.eml"
        unfinished = self._folder / f".{target.name}.{secrets.token_hex(4)}"
        try:
            unfinished.write_bytes(compose(mail, self._sender).as_bytes())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


def compose(mail: Mail, sender: str) -> EmailMessage:
    """The message, as text and as HTML, with its files.

    Its Message-ID comes from the mail's id, so that a repeat can be recognised.
    """
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{mail.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    for each in mail.attachments:
        kind = _POLICY.header_factory("Content-Type", each.content_type)
        message.add_attachment(
            each.content, maintype=kind.maintype, subtype=kind.subtype, params=kind.params, filename=each.name
        )
    return message


@dataclass(frozen=True)
class StoredMail:
    """A mail as it lies in the folder."""

    id: UUID
    to: str
    subject: str
    text: str
    attachments: list[str]
    created_at: datetime


def newest(folder: Path, to: str | None, limit: int) -> list[StoredMail]:
    """Up to `limit` mails of the folder, the newest first; only those to `to` when it is given."""
    names = sorted(each.name for each in folder.glob(f"*.{_digest(to) if to else '*'}.eml"))
    return [_read(folder / name) for name in islice(reversed(names), limit)]


def _read(file: Path) -> StoredMail:
    message = message_from_bytes(file.read_bytes(), policy=_POLICY)
    body = message.get_body(("plain",))
    return StoredMail(
        id=UUID(file.name.partition(".")[0]),
        to=str(message["To"]),
        subject=str(message["Subject"]),
        text=body.get_content().replace("\r\n", "\n") if body else "",
        attachments=[part.get_filename() or "" for part in message.iter_attachments()],
        created_at=message["Date"].datetime.astimezone(UTC),
    )


def _digest(address: str) -> str:
    return hashlib.sha256(address.lower().encode()).hexdigest()[:16]
