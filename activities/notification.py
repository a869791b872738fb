"""Telling people by mail."""

from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from temporalio import activity

from amrutam.crypto import Keyring
from amrutam.domain import invitation
from amrutam.domain.booking import Booking
from amrutam.domain.common import Role
from amrutam.domain.email_change import Side
from amrutam.domain.notification import Delivery, SendMail, Template
from amrutam.domain.wallclock import wall_clock
from amrutam.gateways.mail import Attachment, Mail, Mailer, MailNotSent, MailRefused
from amrutam.settings import Settings
from amrutam.storage import auth as accounts
from amrutam.storage import email_change, invitations, passwords
from amrutam.storage.auth import Recipient
from amrutam.storage.particulars import Particulars, particulars
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection, Database
from amrutam.telemetry import MAILS

# Mails with a link, and what its token is derived for. A link that is used or too old is not sent.
_LINKS = {
    Template.VERIFY_EMAIL: accounts.VERIFY_LINK,
    Template.RESET_PASSWORD: passwords.RESET_LINK,
    Template.CONFIRM_EMAIL_CHANGE: email_change.LINKS[Side.OLD],
    Template.CONFIRM_NEW_EMAIL: email_change.LINKS[Side.NEW],
    Template.INVITATION: invitations.LINK,
}
_TO_STRANGERS = {Template.VERIFY_EMAIL, Template.CONFIRM_NEW_EMAIL}


class NotificationActivities:
    """Needs PostgreSQL and the mail server."""

    def __init__(
        self,
        db: Database,
        mailer: Mailer,
        keyring: Keyring,
        settings: Settings,
        person_keys: PersonKeys | None = None,
    ) -> None:
        self._db = db
        self._mailer = mailer
        self._keyring = keyring
        self._person_keys = person_keys or PersonKeys(keyring)
        self._sender = settings.mail_from
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
            person = await _recipient(db, message)
            more = await particulars(db, self._person_keys, message, person) if person else None
        if person is None or more is None or (message.template in _LINKS and person.link_until is None):
            return Delivery.NOT_NEEDED
        try:
            await self._mailer.send(self._render(message, person, more))
        except MailRefused:
            return Delivery.REFUSED
        except MailNotSent:
            MAILS.labels(message.template, "failed").inc()
            raise
        return Delivery.SENT

    def _render(self, message: SendMail, person: Recipient, more: Particulars) -> Mail:
        values = {**self._values(message, person), **more.values}
        text = self._templates.get_template(f"{message.template}.txt").render(values)
        html = self._templates.get_template(f"{message.template}.html").render(values)
        head, _, body = text.partition("\n\n")
        attachments = (self._invitation(message, person, more.visit),) if more.visit else ()
        return Mail(message.mail_id, person.email, head.removeprefix("Subject: "), body, html, attachments)

    def _invitation(self, message: SendMail, person: Recipient, visit: Booking) -> Attachment:
        """The visit for the calendar of this side of it."""
        side = Role.DOCTOR if message.to_doctor else Role.PATIENT
        content = invitation.write(visit, side, person.email, self._sender, self._public_url)
        return Attachment(invitation.FILE_NAME, invitation.content_type(visit), content)

    def _values(self, message: SendMail, person: Recipient) -> dict[str, str]:
        """What the template may say. A mail to an address that is not confirmed holds no word that its sender chose."""
        values = {"public_url": self._public_url}
        if message.template not in _TO_STRANGERS:
            values["full_name"] = person.full_name
        link_id = message.token_id or message.change_id or message.invitation_id
        if link_id and person.link_until:
            values["token"] = accounts.link_token(self._keyring, link_id, _LINKS[message.template])
            values["link_until"] = wall_clock(person.link_until, person.time_zone)
        if person.asked_at:
            values["role"] = " and ".join(person.roles)
            values["asked_at"] = wall_clock(person.asked_at, person.time_zone)
        return values


async def _recipient(db: Connection, message: SendMail) -> Recipient | None:
    """Where the mail goes: to the account's address, but for those that speak of a change of it."""
    match message:
        case SendMail(template=Template.RESET_PASSWORD, user_id=user_id, token_id=UUID() as token_id):
            return await passwords.recipient(db, user_id, token_id)
        case SendMail(template=Template.CONFIRM_NEW_EMAIL, user_id=user_id, change_id=UUID() as change_id):
            return await email_change.recipient(db, user_id, change_id, Side.NEW)
        case SendMail(
            template=Template.CONFIRM_EMAIL_CHANGE | Template.EMAIL_CHANGED,
            user_id=user_id,
            change_id=UUID() as change_id,
        ):
            return await email_change.recipient(db, user_id, change_id, Side.OLD)
        case SendMail(template=Template.INVITATION, invitation_id=UUID() as invitation_id):
            return await invitations.recipient(db, invitation_id)
        case _:
            return await accounts.recipient(db, message.user_id, message.token_id)
