"""Sealing the audit trail, started by a schedule."""

from temporalio import workflow

from activities.audit import AuditActivities, Sealing
from workflows.policies import HOUSEKEEPING


@workflow.defn(name="SealAudit")
class SealAuditWorkflow:
    """Seals what the audit trail has gained."""

    @workflow.run
    async def run(self) -> Sealing:
        """One round; what it did can be read in the web UI."""
        return await workflow.execute_activity_method(AuditActivities.seal, **HOUSEKEEPING.options())
