"""Asking another peer for a session, and its answer."""

from typing import ClassVar

from msgspec import field

from schemas.events import ClientEvent, ServerEvent
from schemas.fields import Id, RejectReason
from schemas.peers import PeerCard


class ConnectionRequest(ClientEvent, frozen=True):
    """Asks a peer for a session."""

    target_id: Id


class ConnectionRequestReceived(ServerEvent, frozen=True):
    """Somebody asks for a session."""

    event: ClassVar[str] = "CONNECTION_REQUEST_RECEIVED"
    request_id: str
    sender: PeerCard = field(name="from")


class ConnectionResponse(ClientEvent, frozen=True):
    """Accepts or refuses."""

    request_id: Id
    accepted: bool


class ConnectionAccepted(ServerEvent, frozen=True):
    """Tells the requester of its session; `peer` is the other one."""

    event: ClassVar[str] = "CONNECTION_ACCEPTED"
    request_id: str
    session_id: str
    peer: PeerCard


class ConnectionRejected(ServerEvent, frozen=True):
    """Tells the requester that nothing comes of it; without a reason, the target said no."""

    event: ClassVar[str] = "CONNECTION_REJECTED"
    request_id: str
    target_id: str
    reason: RejectReason | None = None
