"""Asking a booking's own workflow: nobody else changes a booking's status."""

from uuid import UUID

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from amrutam.domain.common import Message
from amrutam.temporal import ANSWER


async def ask_booking(temporal: Client, booking_id: UUID, update: str, command: Message, update_id: str) -> bool:
    """Ask a booking's workflow, the same however often it is tried. False where it refuses or has ended."""
    handle = temporal.get_workflow_handle(f"booking/{booking_id}")
    try:
        await handle.execute_update(update, command, id=update_id, rpc_timeout=ANSWER)
    except WorkflowUpdateFailedError:
        return False  # refused: it has moved on
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False  # its workflow has ended, and so has the booking
        raise
    return True
