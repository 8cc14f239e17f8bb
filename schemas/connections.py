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
    """Asks a peer for a session.

    If that peer's own request to the sender waits, and both have `sessions`, this accepts it: the answer is
    `SESSION_CREATED`.
    """

    example: ClassVar[Example] = {"targetId": "bob"}
    target_id: Id


class ConnectionPending(ServerEvent, frozen=True):
    """Answers a request with `ref`: it waits for the target's answer until `expires_at`."""

    event: ClassVar[str] = "CONNECTION_PENDING"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "targetId": "bob", "expiresAt": TIMESTAMP}
    request_id: str
    target_id: str
    expires_at: Timestamp


class ConnectionRequestReceived(ServerEvent, frozen=True):
    """Somebody asks for a session, or invites to one.

    For a receiver with `sessions` it also says until when an answer counts, and of an invitation the session and the
    role.
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
    """Withdraws a request of one's own."""

    example: ClassVar[Example] = {"requestId": REQUEST_ID}
    request_id: Id


class ConnectionCancelled(ServerEvent, frozen=True):
    """Tells the target that a request ended without its answer; for those who speak `sessions`.

    `expired`: its time was up. `offline`: its requester is gone. `cancelled`: it was withdrawn, or the invitation is
    void.
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
    """Accepts or refuses."""

    example: ClassVar[Example] = {"requestId": REQUEST_ID, "accepted": True}
    request_id: Id
    accepted: bool


class ConnectionAccepted(ServerEvent, frozen=True):
    """Tells the requester of its session; `peer` is the other one."""

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
    """Tells the requester that nothing comes of it; without a reason, the target said no."""

    event: ClassVar[str] = "CONNECTION_REJECTED"
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "targetId": "bob", "reason": "expired"}
    request_id: str
    target_id: str
    reason: RejectReason | None = None
