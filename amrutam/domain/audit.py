"""Who is responsible for an act."""

from uuid import UUID

from amrutam.domain.common import Message, Role


class Actor(Message):
    """Who acts, in which role, by which request."""

    id: UUID
    role: Role
    request_id: str
