"""Mails, by a workflow for each event that asks for them: as durable as that event."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

from activities.notification import NotificationActivities
from amrutam.domain.notification import Delivery, SendMail
from workflows.policies import MAIL, MAIL_AT_ONCE


@workflow.defn(name="SendMails")
class SendMailsWorkflow:
    """`mail/<event id>`: tries until the mail server has taken each mail of an event, or two days have passed."""

    @workflow.run
    async def run(self, message: SendMail) -> Delivery:
        """What became of the first mail; the others go the same way beside it."""
        first, *_ = await asyncio.gather(*(_at_once_or_later(each) for each in (message, *message.beside)))
        return first


@workflow.defn(name="SendMail")
class SendMailWorkflow:
    """What `mail/<event id>` was while each mail had a workflow of its own: for those that were begun then."""

    @workflow.run
    async def run(self, message: SendMail) -> Delivery:
        """What became of the mail."""
        return await _later(message)


async def _at_once_or_later(message: SendMail) -> Delivery:
    """Within the workflow's own task, where the mail server takes it at once: that costs half as much."""
    try:
        return await workflow.execute_local_activity_method(
            NotificationActivities.send_mail, message, **MAIL_AT_ONCE.options()
        )
    except FailureError:
        return await _later(message)


async def _later(message: SendMail) -> Delivery:
    return await workflow.execute_activity_method(NotificationActivities.send_mail, message, **MAIL.options())
