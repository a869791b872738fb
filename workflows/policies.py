"""Timeouts and retries, named once, each with its reason."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy


class Options(TypedDict):
    """What `workflow.execute_*activity*` takes of a policy."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy


@dataclass(frozen=True)
class ActivityPolicy:
    """How long one attempt may take, how long all of them, and how they follow one another."""

    start_to_close: timedelta
    retry: RetryPolicy
    schedule_to_close: timedelta | None = None

    def options(self) -> Options:
        """As keyword arguments."""
        return Options(
            start_to_close_timeout=self.start_to_close,
            schedule_to_close_timeout=self.schedule_to_close,
            retry_policy=self.retry,
        )


# A write must happen, however long the database is away: a booking's workflow never gives up on its own row.
UNTIL_DONE = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)

# Over the database's own bound of 6 s for a transaction, so that an attempt that Temporal gives up has surely ended.
WRITE = ActivityPolicy(start_to_close=timedelta(seconds=10), retry=UNTIL_DONE)

# Requests to a gateway and our own writes together. A gateway may be away for a day: nothing is given up meanwhile.
GATEWAY = ActivityPolicy(
    start_to_close=timedelta(seconds=60),
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=1)),
)

# Another workflow that does not answer for so long is asked again later, so that it holds nobody else up meanwhile.
ASK = ActivityPolicy(start_to_close=timedelta(seconds=10), schedule_to_close=timedelta(minutes=2), retry=UNTIL_DONE)

# A mail server may be away for a night. Two days of trying, then support sees a failed workflow.
MAIL = ActivityPolicy(
    start_to_close=timedelta(seconds=30),
    schedule_to_close=timedelta(days=2),
    retry=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5)),
)

# The first try of a mail: within its workflow's own task, so it must be short.
MAIL_AT_ONCE = ActivityPolicy(
    start_to_close=timedelta(seconds=8), schedule_to_close=timedelta(seconds=8), retry=RetryPolicy(maximum_attempts=1)
)

# Housekeeping works in short batches and comes round again, so it need not try for long.
HOUSEKEEPING = ActivityPolicy(
    start_to_close=timedelta(minutes=2),
    retry=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_attempts=5),
)
