"""Refusals in the language of the domain. They know nothing of HTTP or Temporal.

The docstring of a class is its default message, `code` its stable name on the wire and in a workflow's history.
"""

import inspect
from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from amrutam.domain.common import Message


class Fault(Message):
    """One thing that is wrong with one field: `pointer` is its JSON pointer (RFC 6901)."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """The request cannot be met."""

    code: ClassVar[str]
    known: ClassVar[dict[str, type["DomainError"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in cls.__dict__:
            DomainError.known[cls.code] = cls

    def __init__(self, detail: str | None = None, *, pointer: str | None = None, faults: Sequence[Fault] = ()) -> None:
        self.detail = detail or inspect.cleandoc(self.__doc__ or "").partition("\n")[0]
        self.faults = list(faults) or ([Fault(pointer=pointer, code=self.code, detail=self.detail)] if pointer else [])
        super().__init__(self.detail)

    def refusal(self) -> "Refused":
        """This error as a value that can be stored, or carried through Temporal."""
        return Refused(code=self.code, detail=self.detail, faults=self.faults)


class Refused(Message):
    """A `DomainError` as a value."""

    code: str
    detail: str
    faults: list[Fault] = Field(default_factory=list)

    def error(self) -> DomainError:
        """The error again, of its own class. Raises LookupError for a code that this version does not know."""
        return DomainError.known[self.code](self.detail, faults=self.faults)


class BadRequest(DomainError):
    """The request is not valid HTTP."""

    code = "bad_request"


class MalformedJson(DomainError):
    """The body is not valid JSON."""

    code = "malformed_json"


class IdempotencyKeyMissing(DomainError):
    """Send an `Idempotency-Key` of 1 to 255 visible ASCII characters, a new one for each thing you want done."""

    code = "idempotency_key_missing"


class Unauthenticated(DomainError):
    """Send `Authorization: Bearer` with a valid access token."""

    code = "unauthenticated"


class TokenExpired(DomainError):
    """The access token has expired; use the refresh token to get a new one."""

    code = "token_expired"


class InvalidCredentials(DomainError):
    """The address or the password is wrong."""

    code = "invalid_credentials"


class Forbidden(DomainError):
    """Your role may not do this."""

    code = "forbidden"


class EmailUnverified(DomainError):
    """Open the link in the mail that was sent to you, then sign in again."""

    code = "email_unverified"


class StepUpRequired(DomainError):
    """Show your second factor first, by `POST /v1/auth/step-up`."""

    code = "step_up_required"


class MfaEnrollmentRequired(DomainError):
    """This needs a second factor, and you have none yet; enroll one first."""

    code = "mfa_enrollment_required"


class NotFound(DomainError):
    """There is nothing here that you may see."""

    code = "not_found"


class NotYours(NotFound):
    """There is nothing here that you may see.

    Told as `NotFound`, so that nothing shows that it exists; noted in the audit trail as denied, with the patient.
    """

    def __init__(self, patient_id: UUID | None = None) -> None:
        super().__init__()
        self.patient_id = patient_id


class MethodNotAllowed(DomainError):
    """This address does not take that method."""

    code = "method_not_allowed"


class RequestTimeout(DomainError):
    """The request did not arrive in time."""

    code = "request_timeout"


class SlotTaken(DomainError):
    """This time has just been taken."""

    code = "slot_taken"


class HoldExpired(DomainError):
    """The time for paying has passed; the slot is free again."""

    code = "hold_expired"
    title = "Hold expired"


class PatientBusy(DomainError):
    """The patient already has an appointment that overlaps this time."""

    code = "patient_busy"


class InvalidState(DomainError):
    """The present state does not allow this."""

    code = "invalid_state"


class OperationInProgress(DomainError):
    """This is still being worked on; send the same request again."""

    code = "operation_in_progress"


class Stale(DomainError):
    """It has changed since you read it; read it again."""

    code = "stale"


class TooLarge(DomainError):
    """The request is too large."""

    code = "too_large"


class UnsupportedMediaType(DomainError):
    """The body is of a kind that is not taken here."""

    code = "unsupported_media_type"


class ValidationFailed(DomainError):
    """Some fields are not valid; `errors` names each."""

    code = "validation_failed"


class NotASlot(DomainError):
    """This is not a time that the doctor offers."""

    code = "not_a_slot"


class DoctorUnavailable(DomainError):
    """This doctor cannot be booked."""

    code = "doctor_unavailable"


class InvalidCursor(DomainError):
    """The cursor does not belong to this list; start again without it."""

    code = "invalid_cursor"


class IdempotencyKeyReused(DomainError):
    """This `Idempotency-Key` was used for another request; use a new one."""

    code = "idempotency_key_reused"


class IfMatchMissing(DomainError):
    """Send `If-Match` with the `ETag` that you read."""

    code = "if_match_missing"


class TooManyHolds(DomainError):
    """You hold too many unpaid times, or let too many run out today."""

    code = "too_many_holds"


class RateLimited(DomainError):
    """Too much in a short time; try again later."""

    code = "rate_limited"
    retry_after = 60

    @classmethod
    def after(cls, seconds: int) -> "RateLimited":
        """To be tried again in so many seconds."""
        error = cls(f"Too much in a short time; try again in {seconds} s.")
        error.retry_after = seconds
        return error


class Unavailable(DomainError):
    """The service cannot do this at the moment; nothing was lost, send the same request again."""

    code = "unavailable"


class Internal(DomainError):
    """Something went wrong on our side; it was noted under this request's id."""

    code = "internal"
