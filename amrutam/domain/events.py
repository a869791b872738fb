"""The base of all facts. Each feature names its own, in the past tense, beside its rules."""

from typing import ClassVar
from uuid import UUID

from amrutam.domain.common import Message


class Event(Message):
    """Something that happened to `subject`. Holds ids, states and times; never clinical text, names or addresses."""

    type: ClassVar[str]
    subject: UUID
