"""Telling people by mail."""

from datetime import datetime
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from temporalio import activity

from amrutam.crypto import Keyring
from amrutam.domain.notification import Delivery, SendMail, Template
from amrutam.gateways.mail import Mail, Mailer, MailNotSent, MailRefused
from amrutam.settings import Settings
from amrutam.storage import auth as accounts
from amrutam.storage.auth import Recipient
from amrutam.storage.pool import Database
from amrutam.telemetry import MAILS


class NotificationActivities:
    """Needs PostgreSQL and the mail server."""

    def __init__(self, db: Database, mailer: Mailer, keyring: Keyring, settings: Settings) -> None:
        self._db = db
        self._mailer = mailer
        self._keyring = keyring
        self._public_url = settings.public_url.rstrip("/")
        self._templates = Environment(
            loader=PackageLoader("amrutam", "templates/mails"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
        )

    @activity.defn(name="notification.send_mail")
    async def send_mail(self, message: SendMail) -> Delivery:
        """Render and send one mail. A repeat carries the same Message-ID. Raises MailNotSent, to be tried again."""
        delivery = await self._deliver(message)
        MAILS.labels(message.template, delivery).inc()
        return delivery

    async def _deliver(self, message: SendMail) -> Delivery:
        async with self._db.connection() as db:
            person = await accounts.recipient(db, message.user_id, message.token_id)
        if person is None or (message.token_id and person.link_until is None):
            return Delivery.NOT_NEEDED
        try:
            await self._mailer.send(self._render(message, person))
        except MailRefused:
            return Delivery.REFUSED
        except MailNotSent:
            MAILS.labels(message.template, "failed").inc()
            raise
        return Delivery.SENT

    def _render(self, message: SendMail, person: Recipient) -> Mail:
        values = self._values(message, person)
        text = self._templates.get_template(f"{message.template}.txt").render(values)
        html = self._templates.get_template(f"{message.template}.html").render(values)
        head, _, body = text.partition("\n\n")
        return Mail(message.event_id, person.email, head.removeprefix("Subject: "), body, html)

    def _values(self, message: SendMail, person: Recipient) -> dict[str, str]:
        """What the template may say. A mail to an address that is not confirmed holds no word that its sender chose."""
        match message:
            case SendMail(template=Template.VERIFY_EMAIL, token_id=token_id) if token_id and person.link_until:
                return {
                    "public_url": self._public_url,
                    "token": accounts.link_token(self._keyring, token_id),
                    "link_until": _wall_clock(person.link_until, person.time_zone),
                }
            case _:
                return {"full_name": person.full_name}


def _wall_clock(moment: datetime, time_zone: str) -> str:
    return f"{moment.astimezone(ZoneInfo(time_zone)):%d %B %Y, %H:%M} ({time_zone})"
