"""Identifiers: UUIDv7 (RFC 9562), whose first 48 bits are their time of creation."""

import os
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """A new UUIDv7: milliseconds since 1970, then 74 random bits."""
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    return UUID(int=millis << 80 | 0x7 << 76 | (random >> 64 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1)


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond: where a range by time of creation begins."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62)
