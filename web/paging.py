"""Pages of a list: `limit`, and a cursor that is good for the list that gave it, with the same filters, alone."""

import base64
import binascii
import hmac
from uuid import UUID

from pydantic import Field

from amrutam.domain.common import Message
from amrutam.domain.errors import InvalidCursor
from web.context import Call

# 30 bytes with the id, which base64 writes without padding. Forging one would gain nothing but another's place.
_MARK_BYTES = 14


class Page(Message):
    """Base of a list's query."""

    limit: int = Field(20, ge=1, le=100, description="how many at most")
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


def position(call: Call, query: Page) -> UUID | None:
    """The id after which the page begins; None for the first page. Raises InvalidCursor."""
    found = place(call, query)
    if found is None:
        return None
    try:
        return UUID(bytes=found)
    except ValueError:
        raise InvalidCursor(pointer="/cursor") from None


def cursor(call: Call, query: Page, last: UUID) -> str:
    """Where the next page begins, after the item with the id `last`."""
    return sealed(call, query, last.bytes)


def place(call: Call, query: Page) -> bytes | None:
    """What `sealed` was given for the page before; None for the first page. Raises InvalidCursor."""
    if not query.cursor:
        return None
    try:
        raw = base64.b64decode(query.cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidCursor(pointer="/cursor") from None
    last = raw[:-_MARK_BYTES]
    if not hmac.compare_digest(raw[-_MARK_BYTES:], _mark(call, query, last)):
        raise InvalidCursor(pointer="/cursor")
    return last


def sealed(call: Call, query: Page, last: bytes) -> str:
    """A cursor that says where the next page begins, good for this list alone."""
    return base64.urlsafe_b64encode(last + _mark(call, query, last)).decode("ascii")


def _mark(call: Call, query: Page, last: bytes) -> bytes:
    """What ties a position to its list: the page's size may change, nothing else."""
    filters = query.model_dump_json(exclude={"limit", "cursor"})
    return call.services.keyring.mark("cursor", call.request.path.encode(), filters.encode(), last)[:_MARK_BYTES]
