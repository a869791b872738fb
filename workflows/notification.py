"""Mails, each by a workflow of its own: as durable as the event that asked for it."""

from temporalio import workflow

from activities.notification import NotificationActivities
from amrutam.domain.notification import Delivery, SendMail
from workflows.policies import MAIL


@workflow.defn(name="SendMail")
class SendMailWorkflow:
    """`mail/<event id>`: tries until the mail server has taken the mail, or two days have passed."""

    @workflow.run
    async def run(self, message: SendMail) -> Delivery:
        """What became of the mail."""
        return await workflow.execute_activity_method(NotificationActivities.send_mail, message, **MAIL.options())
