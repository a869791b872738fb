"""Passwords: argon2id in a few threads, so that neither the event loop nor the machine stands still for it."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from amrutam.domain.errors import Fault, Unavailable
from amrutam.domain.passwords import weaknesses

T = TypeVar("T")

THREADS = 2
# Some seconds of work for the threads; who comes later is better told at once.
MOST_WAITING = 100


class Passwords:
    """Hashes and checks passwords. With 19 MiB and two passes each takes about 35 ms of one core."""

    def __init__(self, *, memory_kib: int, passes: int, most_waiting: int = MOST_WAITING) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1, type=Type.ID)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())
        self._most_waiting = most_waiting
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The text to store, which carries its salt and parameters. Raises Unavailable when too many wait."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right. No account (None) takes as long as a wrong password. Raises Unavailable."""
        right = await self._in_thread(lambda: self._matches(password_hash or self._nobodys, password))
        return right and password_hash is not None

    async def weaknesses(self, password: str, about: Sequence[str], pointer: str) -> list[Fault]:
        """What speaks against a new password, as `domain.passwords.weaknesses` has it. Raises Unavailable."""
        return await self._in_thread(lambda: weaknesses(password, about, pointer))

    def outdated(self, password_hash: str) -> bool:
        """Whether the text was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most_waiting:
            raise Unavailable
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
