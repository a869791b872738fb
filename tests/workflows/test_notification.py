"""A mail's workflow: tried until the server takes it, once for each event, and not when nobody needs it any more."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from icalendar import Calendar
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.notification import NotificationActivities
from amrutam.crypto import Keyring
from amrutam.domain.auth import Profile
from amrutam.domain.common import Role
from amrutam.domain.notification import Delivery, SendMail, Template, mails_for
from amrutam.gateways.mail import FolderMailer, Mail, MailNotSent, MailRefused, newest
from amrutam.ids import new_id
from amrutam.settings import Settings
from amrutam.storage import auth as accounts
from amrutam.storage import passwords
from amrutam.storage.auth import Registration
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from tests.people import People, Person
from workflows.notification import SendMailsWorkflow
from workflows.registry import PASSED_THROUGH

SENDER = "Amrutam <no-reply@amrutam.test>"
ASKED_AT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


class FailsFirst:
    """A mail server that is away for one attempt."""

    def __init__(self, then: FolderMailer) -> None:
        self._then = then
        self.attempts = 0

    async def send(self, mail: Mail) -> None:
        self.attempts += 1
        if self.attempts == 1:
            raise MailNotSent("SMTPConnectError")
        await self._then.send(mail)


class Refuses:
    """A mail server that knows no such mailbox."""

    async def send(self, mail: Mail) -> None:
        raise MailRefused(f"recipient refused: [550] {mail.id}")


@asynccontextmanager
async def _worker(temporal: Client, steps: NotificationActivities) -> AsyncGenerator[str, None]:
    """A worker of a queue of its own; yields the queue."""
    queue = f"test-{new_id()}"
    passed_through = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[SendMailsWorkflow],
        activities=[steps.send_mail],
        workflow_runner=SandboxedWorkflowRunner(restrictions=passed_through),
    ):
        yield queue


async def _asked_for(db: Database, keyring: Keyring) -> SendMail:
    """A new account that waits for its link."""
    user_id, token_id = new_id(), new_id()
    profile = Profile(full_name="Asha <b>Rao</b>", time_zone="Asia/Kolkata")
    async with db.transaction() as connection:
        email = f"{user_id.hex}@told.amrutam.test"
        keys = PersonKeys(keyring)
        await accounts.insert(connection, keys, user_id, email, "hash", [Role.PATIENT], profile)
        hashed = accounts.token_hash(accounts.link_token(keyring, token_id))
        until = await connection.fetchval("SELECT now() + interval '1 day'")
        said = Registration("hash", [Role.DOCTOR], profile, ASKED_AT)
        await accounts.insert_email_token(connection, keys, token_id, user_id, hashed, said, until)
    return SendMail(event_id=new_id(), template=Template.VERIFY_EMAIL, user_id=user_id, token_id=token_id)


async def _send(temporal: Client, queue: str, message: SendMail) -> Delivery:
    return await temporal.execute_workflow(
        SendMailsWorkflow.run, message, id=f"mail/{message.event_id}", task_queue=queue
    )


async def test_a_mail_is_tried_again_until_the_server_takes_it(
    temporal: Client, db: Database, keyring: Keyring, settings: Settings, tmp_path: Path
) -> None:
    message = await _asked_for(db, keyring)
    mailer = FailsFirst(FolderMailer(tmp_path, SENDER))
    async with _worker(temporal, NotificationActivities(db, mailer, keyring, settings)) as queue:
        assert await _send(temporal, queue, message) is Delivery.SENT
    assert mailer.attempts == 2
    [mail] = newest(tmp_path, None, 10)
    assert mail.id == message.event_id
    assert message.token_id is not None
    link = f"{settings.public_url}/verify-email?token={accounts.link_token(keyring, message.token_id)}"
    assert link in mail.text.splitlines()


async def test_a_link_says_what_it_stands_for_by_no_word_of_whoever_asked_for_it(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path
) -> None:
    assert await _once(db, keyring, settings, tmp_path, await _asked_for(db, keyring)) is Delivery.SENT
    [mail] = newest(tmp_path, None, 10)
    assert "account of a doctor that was asked for on 04 March 2026, 05:06 (UTC)." in mail.text
    [file] = os.scandir(tmp_path)
    whole = await asyncio.to_thread(Path(file).read_text)
    assert whole.count("04 March 2026, 05:06 (UTC)") == 2  # in the HTML too
    assert "Asha" not in whole
    assert "Kolkata" not in whole


async def test_a_mailbox_that_does_not_exist_ends_the_workflow_without_alarm(
    temporal: Client, db: Database, keyring: Keyring, settings: Settings
) -> None:
    message = await _asked_for(db, keyring)
    async with _worker(temporal, NotificationActivities(db, Refuses(), keyring, settings)) as queue:
        assert await _send(temporal, queue, message) is Delivery.REFUSED


async def test_a_workflow_holds_ids_and_neither_address_nor_link(
    temporal: Client, db: Database, keyring: Keyring, settings: Settings, tmp_path: Path
) -> None:
    message = await _asked_for(db, keyring)
    steps = NotificationActivities(db, FolderMailer(tmp_path, SENDER), keyring, settings)
    async with _worker(temporal, steps) as queue:
        await _send(temporal, queue, message)
    history = await temporal.get_workflow_handle(f"mail/{message.event_id}").fetch_history()
    payloads = [event.workflow_execution_started_event_attributes.input.payloads for event in history.events]
    opened = [payload for each in payloads for payload in await temporal.data_converter.decode(each)]
    assert message.token_id is not None
    assert [set(each) for each in opened] == [set(SendMail.model_fields)]


@pytest.mark.parametrize("change", ["used_at = now()", "expires_at = now()"])
async def test_a_link_that_is_used_or_too_old_is_not_sent(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path, change: str
) -> None:
    message = await _asked_for(db, keyring)
    async with db.connection() as connection:
        await connection.execute(f"UPDATE email_tokens SET {change} WHERE id = $1", message.token_id)  # noqa: S608 - the two above
    assert await _once(db, keyring, settings, tmp_path, message) is Delivery.NOT_NEEDED
    assert newest(tmp_path, None, 10) == []


async def test_nobody_is_told_of_an_account_that_is_gone(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path, some_id: UUID
) -> None:
    message = SendMail(event_id=new_id(), template=Template.ALREADY_REGISTERED, user_id=some_id)
    assert await _once(db, keyring, settings, tmp_path, message) is Delivery.NOT_NEEDED


async def test_a_second_attempt_after_a_lost_answer_leaves_one_mail(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path
) -> None:
    message = await _asked_for(db, keyring)
    for _ in range(2):
        assert await _once(db, keyring, settings, tmp_path, message) is Delivery.SENT
    assert len(newest(tmp_path, None, 10)) == 1


async def test_a_name_is_text_in_the_html_of_a_mail(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path
) -> None:
    asked = await _asked_for(db, keyring)
    message = SendMail(event_id=new_id(), template=Template.ALREADY_REGISTERED, user_id=asked.user_id)
    await _once(db, keyring, settings, tmp_path, message)
    [mail] = os.scandir(tmp_path)
    assert "Asha &lt;b&gt;Rao&lt;/b&gt;" in await asyncio.to_thread(Path(mail).read_text)


async def _once(db: Database, keyring: Keyring, settings: Settings, folder: Path, message: SendMail) -> Delivery:
    """One attempt of the activity."""
    steps = NotificationActivities(db, FolderMailer(folder, SENDER), keyring, settings)
    return await ActivityEnvironment().run(steps.send_mail, message)


async def test_a_reset_whose_link_is_used_is_not_sent(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path
) -> None:
    asked, token_id = await _asked_for(db, keyring), new_id()
    message = SendMail(event_id=new_id(), template=Template.RESET_PASSWORD, user_id=asked.user_id, token_id=token_id)
    async with db.transaction() as connection:
        until = await connection.fetchval("SELECT now() + interval '1 hour'")
        await passwords.insert_reset(connection, token_id, asked.user_id, token_id.bytes, until)
    assert await _once(db, keyring, settings, tmp_path, message) is Delivery.SENT
    async with db.transaction() as connection:
        await passwords.end_resets(connection, asked.user_id)
    assert await _once(db, keyring, settings, tmp_path, message) is Delivery.NOT_NEEDED


async def _visit(db: Database, patient: Person, doctor: Person, starts_at: datetime) -> UUID:
    """The id of a confirmed booking, which no workflow has."""
    booking_id = new_id()
    async with db.connection() as connection:
        await connection.execute(
            """INSERT INTO bookings (id, status, doctor_id, patient_id, booked_by, starts_at, ends_at, mode, fee_amount,
                                     fee_currency, confirmed_at)
               VALUES ($1, 'confirmed', $2, $3, $3, $4, $5, 'video', 0, 'INR', now())""",
            booking_id, doctor.id, patient.id, starts_at, starts_at + timedelta(minutes=15),
        )  # fmt: skip
    return booking_id


async def test_each_side_of_a_booking_gets_a_mail_of_its_own_with_the_visit_for_its_calendar(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path, people: People
) -> None:
    patient, doctor, starts_at = await people.patient(), await people.doctor(), datetime.now(UTC) + timedelta(days=1)
    booking_id = await _visit(db, patient, doctor, starts_at)
    told = {"doctor_id": doctor.id, "patient_id": patient.id, "starts_at": starts_at.isoformat()}
    mails = mails_for(new_id(), "booking.confirmed", booking_id, json.dumps(told, default=str))
    for mail in [*mails, *mails]:  # the answer of each first attempt was lost
        assert await _once(db, keyring, settings, tmp_path, mail) is Delivery.SENT
    messages = [await asyncio.to_thread(_message, Path(file)) for file in os.scandir(tmp_path)]
    assert {str(message["To"]) for message in messages} == {patient.email, doctor.email}
    assert len({str(message["Message-ID"]) for message in messages}) == 2
    assert len({mail.id for mail in newest(tmp_path, None, 9)}) == 2
    for message in messages:
        [calendar] = message.iter_attachments()
        assert (calendar.get_content_type(), calendar["content-type"].params["method"]) == ("text/calendar", "REQUEST")
        invited: Any = Calendar.from_ical(calendar.get_content())
        [event] = invited.walk("VEVENT")
        assert event["attendee"] == f"mailto:{message['To']}"
        assert event["uid"] == f"{booking_id}@amrutam"


def _message(file: Path) -> EmailMessage:
    """A mail as it lies in the folder."""
    return message_from_bytes(file.read_bytes(), policy=SMTP)


@pytest.mark.parametrize("change", ["status = 'cancelled'", "starts_at = starts_at + interval '1 hour'"])
async def test_a_visit_that_was_moved_or_is_off_is_not_confirmed_any_more(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path, people: People, change: str
) -> None:
    patient, doctor, starts_at = await people.patient(), await people.doctor(), datetime.now(UTC) + timedelta(days=1)
    booking_id = await _visit(db, patient, doctor, starts_at)
    async with db.connection() as connection:
        await connection.execute(f"UPDATE bookings SET {change} WHERE id = $1", booking_id)  # noqa: S608 - the two above
    told = {"doctor_id": doctor.id, "patient_id": patient.id, "starts_at": starts_at.isoformat()}
    for mail in mails_for(new_id(), "booking.confirmed", booking_id, json.dumps(told, default=str)):
        assert await _once(db, keyring, settings, tmp_path, mail) is Delivery.NOT_NEEDED
    assert newest(tmp_path, None, 10) == []


async def test_whoever_is_told_reads_the_time_by_their_own_clock(
    db: Database, keyring: Keyring, settings: Settings, tmp_path: Path, people: People
) -> None:
    patient, doctor = await people.patient(), await people.doctor()
    starts_at = datetime(2199, 7, 1, 20, 30, tzinfo=UTC)
    booking_id = await _visit(db, patient, doctor, starts_at)
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET time_zone = 'Europe/Berlin' WHERE id = $1", doctor.id)
    told = {"doctor_id": doctor.id, "patient_id": patient.id, "starts_at": starts_at.isoformat()}
    for mail in mails_for(
        new_id(), "booking.moved", booking_id, json.dumps({**told, "was_at": told["starts_at"]}, default=str)
    ):
        await _once(db, keyring, settings, tmp_path, mail)
    read = {mail.to: (mail.subject, mail.text) for mail in newest(tmp_path, None, 10)}
    for person, clock in (
        (patient, "02 July 2199, 02:00 (Asia/Kolkata)"),
        (doctor, "01 July 2199, 22:30 (Europe/Berlin)"),
    ):
        subject, text = read[person.email]
        assert subject.endswith(clock)
        assert text.count(clock) == 2
