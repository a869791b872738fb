"""Blind indices: a sealed value is found by a mark of it, which tells nobody without the key what the value is.

A mark begins with the name of its key, so that old marks are found while new ones take their place. Whoever has the key
and the table can try every number there is: the index hides telephone numbers from who has the table alone.
"""

import hashlib
import hmac
from datetime import UTC, datetime

from amrutam.crypto import KeySet, head


class BlindIndex:
    """Marks of telephone numbers (E.164)."""

    def __init__(self, keys: KeySet) -> None:
        self._schedule = keys
        self._keys = keys.derived("users.phone")

    @property
    def current(self) -> str:
        """The name of the key that marks now."""
        return self._schedule.used_at(datetime.now(UTC))

    def of(self, phone: str) -> bytes:
        """What is stored beside the sealed number."""
        return self._mark(self.current, phone)

    def known_as(self, phone: str) -> list[bytes]:
        """Everything under which the number may be stored."""
        return [self._mark(name, phone) for name in self._keys]

    def _mark(self, name: str, phone: str) -> bytes:
        return head(name) + hmac.new(self._keys[name], phone.encode(), hashlib.sha256).digest()
