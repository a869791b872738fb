"""Where somebody dies on the way of a request from its record to its client's hands, one point after another.

Every death but the client's is a `kill -9` that the process deals itself at the very point, see `crash_process`.
"""

from enum import StrEnum
from typing import NamedTuple


class Who(StrEnum):
    """Whose death it is."""

    API = "the API dies"
    WORKER = "the worker dies"
    CLIENT = "the client leaves"


class Moment(StrEnum):
    """The point in the code of whoever dies."""

    BEFORE_TEMPORAL = "before-temporal"
    WORKFLOW_STARTED = "workflow-started"
    TEMPORAL_ANSWERED = "temporal-answered"

    BEFORE_LOCK = "before-lock"
    BEFORE_TRANSACTION = "before-transaction"
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    AFTER_TELLING = "after-telling"

    ASKED = "asked"
    ANSWER_UNREAD = "answer-unread"


class Trace(StrEnum):
    """What can be seen of a request while nobody works on it."""

    RECORD = "its idempotency record"
    WORKFLOW = "its workflow"
    LOCK = "the lock of its doctor"
    DONE = "the row as it was asked for, and the outcome in the record"


class Point(NamedTuple):
    """When somebody dies, and what they leave behind. None: that depends on who is quicker."""

    words: str
    who: Who
    moment: Moment
    leaves: frozenset[Trace] | None

    def __str__(self) -> str:
        return f"{self.words}: {self.who}"

    @property
    def without_worker(self) -> bool:
        """Whether a healthy worker beside it would be quicker than the eye, or would do the doomed one's work."""
        return self.who is Who.WORKER or self.moment is Moment.WORKFLOW_STARTED


_ASKED = frozenset({Trace.RECORD})
_STARTED = _ASKED | {Trace.WORKFLOW}
_LOCKED = _STARTED | {Trace.LOCK}
_DONE = _STARTED | {Trace.DONE}

OF_A_BOOKING = (
    Point("its record is made", Who.API, Moment.BEFORE_TEMPORAL, _ASKED),
    Point("its workflow is started", Who.API, Moment.WORKFLOW_STARTED, _STARTED),
    Point("its step has begun", Who.WORKER, Moment.BEFORE_LOCK, _STARTED),
    Point("its doctor's lock is taken", Who.WORKER, Moment.BEFORE_TRANSACTION, _LOCKED),
    Point("all is written and nothing committed", Who.WORKER, Moment.BEFORE_COMMIT, _LOCKED),
    Point("row and outcome are committed", Who.WORKER, Moment.AFTER_COMMIT, _LOCKED | _DONE),
    Point("its step is done and Temporal has not heard", Who.WORKER, Moment.AFTER_TELLING, _LOCKED | _DONE),
    Point("Temporal has answered", Who.API, Moment.TEMPORAL_ANSWERED, _DONE),
    Point("its answer is sent and not read", Who.CLIENT, Moment.ANSWER_UNREAD, _DONE),
    Point("it has just been asked for", Who.CLIENT, Moment.ASKED, None),
)

# The workflow is there from the beginning, and a cancel takes no lock.
OF_A_CANCEL = (
    Point("its record is made", Who.API, Moment.BEFORE_TEMPORAL, _STARTED),
    Point("its update is accepted", Who.WORKER, Moment.BEFORE_TRANSACTION, _STARTED),
    Point("all is written and nothing committed", Who.WORKER, Moment.BEFORE_COMMIT, _STARTED),
    Point("row and outcome are committed", Who.WORKER, Moment.AFTER_COMMIT, _DONE),
    Point("its step is done and Temporal has not heard", Who.WORKER, Moment.AFTER_TELLING, _DONE),
    Point("Temporal has answered", Who.API, Moment.TEMPORAL_ANSWERED, _DONE),
    Point("its answer is sent and not read", Who.CLIENT, Moment.ANSWER_UNREAD, _DONE),
    Point("it has just been asked for", Who.CLIENT, Moment.ASKED, None),
)
