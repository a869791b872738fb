"""Which workflows each task queue runs, and the sandbox that all of them run in: for the worker and for replay."""

from collections.abc import Mapping, Sequence

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from amrutam.temporal import BACKGROUND_QUEUE, BOOKINGS_QUEUE, MAILS_QUEUE, PAYMENTS_QUEUE
from workflows.audit import SealAuditWorkflow
from workflows.booking import BookingWorkflow
from workflows.cancel_day import CancelDayWorkflow
from workflows.maintenance import MaintenanceWorkflow
from workflows.notification import SendMailsWorkflow, SendMailWorkflow
from workflows.payment import PaymentWorkflow, SweepPaymentsWorkflow
from workflows.suspension import SuspensionWorkflow
from workflows.verification import VerificationWorkflow

WORKFLOWS: Mapping[str, Sequence[type]] = {
    BOOKINGS_QUEUE: (BookingWorkflow,),
    PAYMENTS_QUEUE: (PaymentWorkflow, SweepPaymentsWorkflow),
    MAILS_QUEUE: (SendMailsWorkflow, SendMailWorkflow),
    BACKGROUND_QUEUE: (
        SendMailWorkflow,  # those that were begun before mails had a queue of their own
        MaintenanceWorkflow,
        SealAuditWorkflow,
        VerificationWorkflow,
        SuspensionWorkflow,
        CancelDayWorkflow,
    ),
}

# Imported once by the process, not again for each workflow: asyncpg would crash the sandbox, and the rest takes 20 ms.
PASSED_THROUGH = ("amrutam", "activities", "workflows.policies", "workflows.refusals", "pydantic", "pydantic_core")


def sandbox() -> SandboxedWorkflowRunner:
    """A runner in which workflows may reach neither the clock nor chance."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
