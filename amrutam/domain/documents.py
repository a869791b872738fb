"""Files that people give: what may be sent, for what, and what is known of each."""

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from pydantic import Field

from amrutam.domain.common import Instant, Message
from amrutam.domain.errors import Fault, UnsupportedMediaType, ValidationFailed

MIB = 1024 * 1024

# So many of one doctor at once, those counted that were deleted and are not gone yet.
MOST_DOCUMENTS = 50


class Purpose(StrEnum):
    """What a file is for. Photos are public; documents of a verification are sealed and staff's alone."""

    PHOTO = "photo"
    VERIFICATION = "verification"


class MediaType(StrEnum):
    """The kinds of files that are taken."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    PDF = "application/pdf"


# What an object's key ends with, which tells its content type wherever it lies.
SEALED = "application/octet-stream"
ENDINGS: dict[str, str] = {
    MediaType.JPEG: "jpg",
    MediaType.PNG: "png",
    MediaType.WEBP: "webp",
    MediaType.PDF: "pdf",
    SEALED: "sealed",
}
_TYPES = {ending: content_type for content_type, ending in ENDINGS.items()}

# What is said where a client does not know the kind, or does not say it.
_UNSAID = {"", SEALED}


class Upload(NamedTuple):
    """What a route takes as its body: one file, as it is."""

    kinds: tuple[MediaType, ...]
    most_bytes: int

    @property
    def right(self) -> str:
        """What would be right, in words."""
        return f"Send the file itself as the body, {_or(self.kinds)}, at most {self.most_bytes // MIB} MiB."


PHOTO = Upload((MediaType.JPEG, MediaType.PNG, MediaType.WEBP), 5 * MIB)
DOCUMENT = Upload((MediaType.PDF, MediaType.JPEG, MediaType.PNG), 10 * MIB)


class Document(Message):
    """A document that a doctor gave for the verification. Its content is sealed, for administrators alone."""

    id: UUID
    content_type: MediaType
    size: int = Field(description="in bytes")
    created_at: Instant


def kind_of(content: bytes) -> MediaType | None:
    """What a file is by its first bytes; None for what is never taken."""
    if content.startswith(b"\xff\xd8\xff"):
        return MediaType.JPEG
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaType.PNG
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return MediaType.WEBP
    return MediaType.PDF if content.startswith(b"%PDF-") else None


def check(content: bytes, said: str, upload: Upload) -> MediaType:
    """The kind of an upload. What it is counts; what the request says of it (`said`) must at least be taken here.

    Raises UnsupportedMediaType, ValidationFailed.
    """
    if said not in _UNSAID and said not in upload.kinds:
        raise UnsupportedMediaType(upload.right)
    if not content:
        raise invalid("missing", f"There is no body. {upload.right}")
    kind = kind_of(content)
    if kind is None or kind not in upload.kinds:
        raise UnsupportedMediaType(f"The file is of another kind, whatever it is called. {upload.right}")
    if kind is MediaType.PDF and b"%%EOF" not in content[-2048:]:
        raise invalid("incomplete", "The PDF has no end; send the whole file.")
    return kind


def invalid(code: str, detail: str) -> ValidationFailed:
    """The refusal of a body that is a file: there is no field to point at but the whole."""
    return ValidationFailed(detail, faults=[Fault(pointer="", code=code, detail=detail)])


def key_of(purpose: Purpose, upload_id: UUID, content_type: str) -> str:
    """Where an object goes. `upload_id` is of this one attempt: what no row names later belongs to nobody."""
    return f"{purpose}/{upload_id}.{ENDINGS[content_type]}"


def content_type_of(key: str) -> str:
    """What an object is by its key. Raises ValueError for a key of no such form."""
    content_type = _TYPES.get(key.rpartition(".")[2])
    if content_type is None:
        raise ValueError(f"no content type ends so: {key}")
    return content_type


def photo_url(doctor_id: UUID, photo_id: UUID | None) -> str | None:
    """Where a doctor's photo is. Another photo has another address, so that caches need not ask."""
    return f"/v1/doctors/{doctor_id}/photo?v={photo_id}" if photo_id else None


def _or(kinds: Collection[str]) -> str:
    *others, last = kinds
    return f"{', '.join(others)} or {last}"
