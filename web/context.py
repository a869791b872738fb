"""What a handler works with: the process's services, and one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from sanic import Request
from temporalio.client import Client

from amrutam.crypto import OPERATIONS, Keyring, SealingKeys
from amrutam.domain.common import Role
from amrutam.domain.errors import Forbidden, IfMatchMissing, Stale, Unauthenticated
from amrutam.domain.mfa import Challenge
from amrutam.gateways.documents import Documents
from amrutam.gateways.payments import PaymentGateway
from amrutam.papers import PaperPool
from amrutam.passwords import Passwords
from amrutam.pictures import Pictures
from amrutam.settings import Settings
from amrutam.storage.admission import Admissions
from amrutam.storage.audit import Caller, Origin
from amrutam.storage.cache import Cache
from amrutam.storage.guessing import Guessing
from amrutam.storage.line import Line
from amrutam.storage.nodes import Nodes
from amrutam.storage.operations import Operation
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database
from amrutam.storage.scripts import Scripts
from amrutam.storage.session_markers import SessionMarkers
from amrutam.tokens import AccessTokens, Principal
from web.addresses import client_address
from web.gate import Gate
from web.parsing import header
from web.quotas import Quotas


@dataclass(frozen=True)
class Services:
    """Everything that handlers share, built once a process."""

    settings: Settings
    keyring: Keyring
    db: Database
    nodes: Nodes
    line: Line
    cache: Cache
    temporal: Client
    tokens: AccessTokens
    person_keys: PersonKeys
    operation_keys: SealingKeys
    passwords: Passwords
    gate: Gate
    quotas: Quotas
    admissions: Admissions
    guessing: Guessing
    scripts: Scripts
    markers: SessionMarkers
    documents: Documents
    pictures: Pictures
    gateways: Mapping[str, PaymentGateway]
    papers: PaperPool

    def use(self, keyring: Keyring) -> None:
        """Take the keys that may rotate from another keyring from now on. What is made of its secret stays."""
        self.tokens.use(keyring)
        self.person_keys.use(keyring)
        self.operation_keys.use(keyring.master.sealing(OPERATIONS))


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
    challenge: Challenge | None = None  # of somebody who has only given the password and must enroll a second factor
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    # The most powerful first.
    RANK: ClassVar = (Role.ADMIN, Role.SUPPORT, Role.DOCTOR, Role.PATIENT)

    @property
    def request_id(self) -> str:
        """The id that the answer and every log line of this request carry."""
        return self.request.ctx.request_id

    @property
    def address(self) -> str:
        """Where the client is, as far as our own proxies vouch for it."""
        return client_address(self.request, self.services.settings.trusted_proxies)

    @property
    def user_id(self) -> UUID:
        """Who calls. Raises Unauthenticated on a route that is open to all and was called by a stranger."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal.user_id

    @property
    def session_id(self) -> UUID:
        """The session that the caller came with. Raises as `user_id` does."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal.session_id

    @property
    def actor(self) -> Caller:
        """Who calls, in the role that opened the route: the most powerful of theirs that it admits."""
        if self.principal is None:
            raise Unauthenticated
        for role in self.RANK:
            if role in self.roles & self.principal.roles:
                return self.acting(self.principal.user_id, role)
        raise Forbidden

    def acting(self, user_id: UUID, role: Role) -> Caller:
        """Somebody who acts by this request."""
        return Caller.by(self.origin, user_id, role)

    @property
    def origin(self) -> Origin:
        """What the audit trail notes of this request."""
        return Origin(self.request_id, self.request.ctx.trace_id, self.address, self.services.person_keys)

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
