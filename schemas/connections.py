"""Asking another peer for a session, and its answer."""

from typing import ClassVar

from msgspec import field
from msgspec.structs import replace

from schemas.capabilities import Capability, Spoken
from schemas.events import ClientEvent, Kept, ServerEvent
from schemas.examples import ANN, BOB, REQUEST_ID, SESSION_ID, TIMESTAMP, Example
from schemas.fields import CancelReason, Id, RejectReason, Role, Timestamp
from schemas.peers import PeerCard


class ConnectionRequest(ClientEvent, frozen=True):
    """Asks a peer for a session. The request waits 30 seconds for its answer.

    If the peer has asked the sender already, and both have `sessions`, this accepts that request: the answer is
    `SESSION_CREATED`. Otherwise the answer to a frame with `ref` is `CONNECTION_PENDING`.
    """

    example: ClassVar[Example] = {"targetId": "bob"}
    target_id: Id


class ConnectionPending(ServerEvent, frozen=True):
    """Answers a request that has a `ref`: the request waits for the target until `expires_at`."""

    event: ClassVar[str] = "CONNECTION_PENDING"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "targetId": "bob", "expiresAt": TIMESTAMP}
    request_id: str
    target_id: str
    expires_at: Timestamp


class ConnectionRequestReceived(ServerEvent, frozen=True):
    """Tells a peer that somebody asks it for a session, or invites it to one. Answer with `CONNECTION_RESPONSE`.

    A receiver with `sessions` also gets `expires_at`, and of an invitation `session_id` and `role`.
    """

    event: ClassVar[str] = "CONNECTION_REQUEST_RECEIVED"
    kept: ClassVar[Kept] = "while_pending"
    has_variants: ClassVar[bool] = True
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "from": ANN, "expiresAt": TIMESTAMP}
    request_id: str
    sender: PeerCard = field(name="from")
    session_id: str | None = None
    role: Role | None = None
    expires_at: Timestamp | None = None

    @property
    def about_request(self) -> str:
        """See `ServerEvent`."""
        return self.request_id

    def variant(self, spoken: Spoken) -> "ConnectionRequestReceived":
        """Leave out what a socket without `sessions` does not know, and the metadata for a socket of version 1."""
        shown = replace(self, sender=self.sender.shown_to(spoken))
        return shown if "sessions" in spoken else replace(shown, session_id=None, role=None, expires_at=None)


class ConnectionCancel(ClientEvent, frozen=True):
    """Withdraws a request that the sender made. It must not have been answered yet."""

    example: ClassVar[Example] = {"requestId": REQUEST_ID}
    request_id: Id


class ConnectionCancelled(ServerEvent, frozen=True):
    """Tells the target that a request ended before it answered.

    `expired`: the time was up. `offline`: the requester is gone. `cancelled`: the requester withdrew it, or the
    invitation is void.
    """

    event: ClassVar[str] = "CONNECTION_CANCELLED"
    kept: ClassVar[Kept] = "if_told"
    has_variants: ClassVar[bool] = True
    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "reason": "expired"}
    request_id: str
    reason: CancelReason

    @property
    def about_request(self) -> str:
        """See `ServerEvent`."""
        return self.request_id

    def variant(self, spoken: Spoken) -> "ConnectionCancelled | None":
        """Spare a socket that does not know of this event."""
        return self if "sessions" in spoken else None


class ConnectionResponse(ClientEvent, frozen=True):
    """Accepts or refuses a request. If there are several answers to one request, the first counts."""

    example: ClassVar[Example] = {"requestId": REQUEST_ID, "accepted": True}
    request_id: Id
    accepted: bool


class ConnectionAccepted(ServerEvent, frozen=True):
    """Tells the requester that the target accepted, and which session came of it. `peer` is the target."""

    event: ClassVar[str] = "CONNECTION_ACCEPTED"
    has_variants: ClassVar[bool] = True
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "sessionId": SESSION_ID, "peer": BOB}
    request_id: str
    session_id: str
    peer: PeerCard

    def variant(self, spoken: Spoken) -> "ConnectionAccepted":
        """Leave out the metadata for a socket of version 1."""
        return replace(self, peer=self.peer.shown_to(spoken))


class ConnectionRejected(ServerEvent, frozen=True):
    """Tells the requester that no session comes of its request. Without a `reason` the target said no."""

    event: ClassVar[str] = "CONNECTION_REJECTED"
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "targetId": "bob", "reason": "expired"}
    request_id: str
    target_id: str
    reason: RejectReason | None = None
