"""A payment's life: the patient is sent to a gateway, what is captured is decided on, what is to go back goes back."""

import contextlib
from datetime import datetime, timedelta

from temporalio import workflow

from activities.payment import PaymentActivities
from amrutam.domain.errors import DomainError, InvalidState
from amrutam.domain.payment import CheckoutAnswer, Pursue, RefundStatus, Standing
from workflows.policies import GATEWAY, HOUSEKEEPING
from workflows.refusals import or_refusal


@workflow.defn(name="SweepPayments")
class SweepPaymentsWorkflow:
    """Compares what gateways have captured lately with our books, started by a schedule."""

    @workflow.run
    async def run(self, hours: int) -> int:
        """How many charges of so many hours differ; each of them is looked at, and counted for an alert."""
        return await workflow.execute_activity_method(PaymentActivities.sweep, hours, **HOUSEKEEPING.options())


@workflow.defn(name="Payment")
class PaymentWorkflow:
    """`payment/<id>`: sees to a payment until the gateway can capture no more and nothing is left to go back.

    It ends before its booking does. What is to go back later starts it again, by the same id.
    """

    def __init__(self) -> None:
        self._checkout: CheckoutAnswer | None = None
        self._refusal: DomainError | None = None
        self._news = False

    @workflow.run
    async def run(self, case: Pursue) -> str:
        """Returns the state in which the payment was left; `refused` where it never came to be."""
        if case.ask and not await self._opened(case):
            await workflow.wait_condition(workflow.all_handlers_finished)
            return "refused" if self._refusal else "joined"
        while True:
            standing = await self._seen_to(case)
            if standing.look_again_at is None and not self._news:
                break
            await self._news_or(standing.look_again_at)
            if workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(Pursue(payment_id=case.payment_id))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return standing.status

    @workflow.update
    async def checkout(self) -> CheckoutAnswer:
        """Where the patient pays, as soon as the gateway has answered. Raises the refusal."""
        await workflow.wait_condition(lambda: self._checkout is not None or self._refusal is not None)
        if self._checkout is None:
            raise self._refusal or InvalidState()
        return self._checkout

    @workflow.signal
    async def look(self) -> None:
        """Something has happened. Says nothing else: what it was is asked of the gateway, and read from the rows."""
        self._news = True

    async def _opened(self, case: Pursue) -> bool:
        """Whether there is a checkout of this payment to see to."""
        if case.ask is None:
            return True
        opened = await or_refusal(
            workflow.execute_activity_method(PaymentActivities.open, case.ask, **GATEWAY.options())
        )
        if isinstance(opened, DomainError):
            self._refusal = opened
            workflow.set_current_details(f"Refused: {opened.code}")
            return False
        self._checkout = opened
        workflow.set_current_details(f"To be paid by {opened.gateway} until {opened.expires_at:%Y-%m-%d %H:%M:%S} UTC")
        return opened.payment_id == case.payment_id  # else the booking's open payment is another, and sees to itself

    async def _seen_to(self, case: Pursue) -> Standing:
        """Everything that can be done now is done."""
        self._news = False
        standing = await workflow.execute_activity_method(
            PaymentActivities.look, args=[case.payment_id, workflow.now()], **GATEWAY.options()
        )
        for refund_id in standing.refunds:
            status = await workflow.execute_activity_method(PaymentActivities.refund, refund_id, **GATEWAY.options())
            if status is not RefundStatus.SENT:
                self._news = True  # its standing is another one now
        workflow.set_current_details(f"The payment is {standing.status.replace('_', ' ')}")
        return standing

    async def _news_or(self, moment: datetime | None) -> None:
        timeout = max(moment - workflow.now(), timedelta(0)) if moment else timedelta(0)
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._news, timeout=timeout, timeout_summary="look again")
