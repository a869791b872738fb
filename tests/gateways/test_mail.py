"""Sending mail: to a real mail server, and into a folder."""

import asyncio
import hashlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from amrutam.gateways.mail import Attachment, FolderMailer, Mail, MailNotSent, MailRefused, SmtpMailer, newest
from amrutam.ids import new_id
from amrutam.stack.ports import free_port
from tests.gateways.smtp_server import BUSY, HOST, NOBODY, MailServer, certificate

SENDER = "Amrutam <no-reply@amrutam.test>"
DIGEST = hashlib.sha256(b"asha@example.com").hexdigest()[:16]
LINK = "https://api.amrutam.test/verify-email?token=" + "x" * 43


def _mail(to: str = "asha@example.com", text: str = "Namaste,\n\nnothing.\n") -> Mail:
    return Mail(new_id(), to, "Confirm your address: पुष्टि", text, "<p>Namaste</p>\n")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certificate(tmp_path)


async def test_a_mail_arrives_whole_at_a_plain_server() -> None:
    mail = _mail(text=f"Namaste,\n\n{LINK}\n.\n..dots begin these lines\n")
    async with MailServer().running() as server:
        await SmtpMailer(f"smtp://{HOST}:{server.port}", SENDER).send(mail)
    [received] = server.received
    message = received.message
    assert received.recipients == [mail.to]
    assert (message["To"], message["From"], message["Subject"]) == (mail.to, SENDER, mail.subject)
    assert message["Message-ID"] == f"<{mail.id}@amrutam.test>"
    assert message["Auto-Submitted"] == "auto-generated"
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == mail.text
    assert html.get_content().replace("\r\n", "\n") == mail.html


async def test_a_file_goes_with_a_mail_byte_for_byte_and_a_calendar_is_told_from_its_type(tmp_path: Path) -> None:
    content = "BEGIN:VCALENDAR\r\nSUMMARY:डॉ मीरा\r\nEND:VCALENDAR\r\n".encode()
    kind = "text/calendar; method=REQUEST; charset=utf-8"
    files = (Attachment("visit.ics", kind, content), Attachment("receipt.pdf", "application/pdf", b"%PDF\r\n\xff"))
    mail = _mail()._replace(attachments=files)
    async with MailServer().running() as server:
        await SmtpMailer(f"smtp://{HOST}:{server.port}", SENDER).send(mail)
    [received] = server.received
    calendar, receipt = received.message.iter_attachments()
    assert (calendar.get_content_type(), calendar["content-type"].params["method"]) == ("text/calendar", "REQUEST")
    assert (calendar.get_content_charset(), calendar.get_filename()) == ("utf-8", "visit.ics")
    assert [calendar.get_payload(decode=True), receipt.get_payload(decode=True)] == [content, b"%PDF\r\n\xff"]
    assert receipt.get_content_type() == "application/pdf"
    text, html = (received.message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == mail.text

    await FolderMailer(tmp_path, SENDER).send(mail)
    [stored] = newest(tmp_path, None, 1)
    assert (stored.text, stored.attachments) == (mail.text, ["visit.ics", "receipt.pdf"])


@pytest.mark.parametrize("implicit", [True, False])
async def test_a_password_and_a_mail_travel_encrypted(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], implicit: bool
) -> None:
    served, trusting = tls
    async with MailServer(tls=served, implicit=implicit, password="p@ss/word").running() as server:
        at = f"clinic%40example.com:p%40ss%2Fword@{HOST}:{server.port}"
        url = f"smtps://{at}" if implicit else f"smtp://{at}?starttls=required"
        await SmtpMailer(url, SENDER, trusting).send(_mail())
    [received] = server.received
    assert (received.encrypted, received.user) == (True, "clinic@example.com")


@pytest.mark.parametrize("implicit", [True, False])
async def test_a_server_whose_certificate_is_not_trusted_gets_nothing(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], implicit: bool
) -> None:
    async with MailServer(tls=tls[0], implicit=implicit).running() as server:
        url = f"smtps://{HOST}:{server.port}" if implicit else f"smtp://{HOST}:{server.port}?starttls=required"
        with pytest.raises(MailNotSent):
            await SmtpMailer(url, SENDER).send(_mail())
    assert server.received == []


async def test_required_encryption_is_not_given_up_where_the_server_offers_none() -> None:
    async with MailServer().running() as server:
        with pytest.raises(MailNotSent):
            await SmtpMailer(f"smtp://{HOST}:{server.port}?starttls=required", SENDER).send(_mail())
    assert server.received == []


async def test_a_mailbox_that_does_not_exist_is_refused_for_good() -> None:
    async with MailServer().running() as server:
        with pytest.raises(MailRefused):
            await SmtpMailer(f"smtp://{HOST}:{server.port}", SENDER).send(_mail(NOBODY))


async def test_a_mailbox_that_is_busy_may_be_tried_again_and_the_error_names_nobody() -> None:
    async with MailServer().running() as server:
        with pytest.raises(MailNotSent) as failed:
            await SmtpMailer(f"smtp://{HOST}:{server.port}", SENDER).send(_mail(BUSY))
    assert "450" in str(failed.value)
    assert BUSY not in str(failed.value)


async def test_a_wrong_password_may_be_set_right_and_tried_again(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    served, trusting = tls
    async with MailServer(tls=served, implicit=True, password="right").running() as server:
        with pytest.raises(MailNotSent, match="535") as failed:
            await SmtpMailer(f"smtps://clinic:wrong@{HOST}:{server.port}", SENDER, trusting).send(_mail())
    assert "wrong" not in str(failed.value)


async def test_a_server_that_is_away_may_be_tried_again() -> None:
    with pytest.raises(MailNotSent):
        await SmtpMailer(f"smtp://{HOST}:{free_port()}", SENDER).send(_mail())


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com:25",
        "http://mail.example.com",
        "smtp://",
        "smtp://clinic:hunter2@mail.example.com",
        "smtp://clinic:hunter2@mail.example.com?starttls=maybe",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="SMTP_URL") as refused:
        SmtpMailer(url, SENDER)
    assert "hunter2" not in str(refused.value)


async def test_a_mail_in_the_folder_can_be_read_as_it_lies_there(tmp_path: Path) -> None:
    mail = _mail(text=f"Namaste,\n\n{LINK}\n")
    await FolderMailer(tmp_path / "mail", SENDER).send(mail)
    [file] = (tmp_path / "mail").iterdir()
    assert LINK in file.read_text().splitlines()
    [stored] = newest(tmp_path / "mail", mail.to, 20)
    assert (stored.id, stored.to, stored.subject) == (mail.id, mail.to, mail.subject)
    assert (stored.text, stored.attachments) == (mail.text, [])
    assert abs(stored.created_at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_mail_that_is_sent_twice_lies_in_the_folder_once(tmp_path: Path) -> None:
    mail, mailer = _mail(), FolderMailer(tmp_path, SENDER)
    await asyncio.gather(*(mailer.send(mail) for _ in range(3)))
    assert [each.name for each in os.scandir(tmp_path)] == [f"{mail.id}.{DIGEST}.eml"]


async def test_the_newest_mails_come_first_and_as_many_as_asked_for(tmp_path: Path) -> None:
    mailer = FolderMailer(tmp_path, SENDER)
    mails = [_mail() for _ in range(5)]
    for mail in reversed(mails):
        await mailer.send(mail)
    await mailer.send(_mail("ravi@example.com"))
    expected = sorted((mail.id for mail in mails), reverse=True)[:3]
    assert [stored.id for stored in newest(tmp_path, "Asha@example.com", 3)] == expected
    assert len(newest(tmp_path, None, 100)) == 6


def test_an_outbox_that_nothing_was_put_into_is_empty(tmp_path: Path) -> None:
    assert newest(tmp_path / "never", None, 20) == []
