"""Housekeeping, started by a schedule."""

from temporalio import workflow

from activities.maintenance import Housekeeping, MaintenanceActivities
from workflows.policies import HOUSEKEEPING


@workflow.defn(name="Maintenance")
class MaintenanceWorkflow:
    """Keeps partitions ahead of time and lifetimes kept."""

    @workflow.run
    async def run(self) -> Housekeeping:
        """One round; what it did can be read in the web UI."""
        return await workflow.execute_activity_method(MaintenanceActivities.keep_house, **HOUSEKEEPING.options())
