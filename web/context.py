"""What a handler works with: the process's services, and one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from sanic import Request
from temporalio.client import Client

from amrutam.crypto import Keyring, SealingKeys
from amrutam.domain.audit import Actor
from amrutam.domain.common import Role
from amrutam.domain.errors import Forbidden, IfMatchMissing, Stale, Unauthenticated
from amrutam.passwords import Passwords
from amrutam.settings import Settings
from amrutam.storage.cache import Cache
from amrutam.storage.operations import Operation
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.tokens import AccessTokens, Principal
from web.gate import Gate
from web.parsing import header


@dataclass(frozen=True)
class Services:
    """Everything that handlers share, built once a process."""

    settings: Settings
    keyring: Keyring
    db: Database
    cache: Cache
    temporal: Client
    tokens: AccessTokens
    person_keys: PersonKeys
    operation_keys: SealingKeys
    passwords: Passwords
    gate: Gate


class Answer(NamedTuple):
    """What a handler answers: a model, a plain mapping, ready JSON bytes, or nothing."""

    body: BaseModel | Mapping[str, Any] | bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = {}
    etag: str | None = None


@dataclass
class Call:
    """One request on its way through a handler."""

    services: Services
    request: Request
    roles: frozenset[Role]
    principal: Principal | None = None
    operation: Operation | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def request_id(self) -> str:
        """The id that the answer and every log line of this request carry."""
        return self.request.ctx.request_id

    @property
    def user_id(self) -> UUID:
        """Who calls. Raises Unauthenticated on a route that is open to all and was called by a stranger."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal.user_id

    @property
    def actor(self) -> Actor:
        """Who calls, in the role that opened the route: the most powerful of theirs that it admits."""
        if self.principal is None:
            raise Unauthenticated
        for role in (Role.ADMIN, Role.SUPPORT, Role.DOCTOR, Role.PATIENT):
            if role in self.roles & self.principal.roles:
                return Actor(id=self.principal.user_id, role=role, request_id=self.request_id)
        raise Forbidden

    @property
    def required_operation(self) -> Operation:
        """The idempotency record, on a route that is declared with one."""
        if self.operation is None:
            raise RuntimeError("this route was not declared with an idempotency record")
        return self.operation

    def check_if_match(self, etag: str) -> None:
        """Raises IfMatchMissing, Stale unless the caller read what stands now."""
        sent = header(self.request, "if-match")
        if not sent:
            raise IfMatchMissing
        if sent != "*" and etag not in {tag.strip() for tag in sent.split(",")}:
            raise Stale


def version_tag(version: int) -> str:
    """The ETag of a row by its version."""
    return f'"v{version}"'
