"""Domain errors on their way through Temporal: encoded by the interceptor, decoded by whoever waits.

A refusal is final and expected: it is not retried and is marked BENIGN, so that it counts as no failure in metrics.
"""

from collections.abc import Awaitable
from typing import Any, TypeVar

from pydantic import ValidationError
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from amrutam.domain.errors import DomainError, Refused

T = TypeVar("T")


def encode(error: DomainError) -> ApplicationError:
    """The failure that carries a domain error."""
    return ApplicationError(
        error.detail,
        error.refusal(),
        type=error.code,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def refusal_of(error: BaseException) -> BaseException:
    """The domain error that a failure carries, from a local or a normal activity; else the failure itself."""
    if not isinstance(error, FailureError):
        return error
    failure = error if isinstance(error, ApplicationError) else error.cause
    if not isinstance(failure, ApplicationError) or not failure.details:
        return error
    try:
        return Refused.model_validate(failure.details[0]).error()
    except (ValidationError, LookupError):
        return error


async def or_refusal(step: Awaitable[T]) -> T | DomainError:
    """What an activity gives, or the domain error with which it refused. Raises any other failure."""
    try:
        return await step
    except FailureError as error:
        refusal = refusal_of(error)
        if isinstance(refusal, DomainError):
            return refusal
        raise


class RefusalInterceptor(Interceptor):
    """Turns domain errors that leave an activity, an update or a workflow into failures."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap an activity."""
        return _Activity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: ARG002 - the base class names it so
        """Wrap a workflow."""
        return _Workflow


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except DomainError as error:
            activity.logger.info("refused: %s", error.code)
            raise encode(error) from None


class _Workflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        try:
            return await super().execute_workflow(input)
        except DomainError as error:
            workflow.logger.info("refused: %s", error.code)
            raise encode(error) from None

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        try:
            super().handle_update_validator(input)
        except DomainError as error:
            raise encode(error) from None

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        try:
            return await super().handle_update_handler(input)
        except DomainError as error:
            raise encode(error) from None
