"""Asking another peer for a session, and its answer."""

from typing import Annotated, ClassVar

from msgspec import field

from schemas.capabilities import Capability
from schemas.events import ClientEvent, Kept, ServerEvent
from schemas.examples import ANN, BOB, REQUEST_ID, SESSION_ID, TIMESTAMP, Example
from schemas.fields import CancelReason, Id, RejectReason, Role, Timestamp
from schemas.peers import PeerCard
from schemas.variants import Needs


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
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "from": ANN, "expiresAt": TIMESTAMP}
    request_id: str
    sender: PeerCard = field(name="from")
    session_id: Annotated[str | None, Needs("sessions")] = None
    role: Annotated[Role | None, Needs("sessions")] = None
    expires_at: Annotated[Timestamp | None, Needs("sessions")] = None

    @property
    def about_request(self) -> str:
        """See `ServerEvent`."""
        return self.request_id


class ConnectionCancel(ClientEvent, frozen=True):
    """Withdraws a request that the sender made. It must not have been answered yet."""

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"requestId": REQUEST_ID}
    request_id: Id


class ConnectionCancelled(ServerEvent, frozen=True):
    """Tells the target that a request ended before it answered.

    `expired`: the time was up. `offline`: the requester is gone. `cancelled`: the requester withdrew it, or the
    invitation is void.
    """

    event: ClassVar[str] = "CONNECTION_CANCELLED"
    kept: ClassVar[Kept] = "if_told"
    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "reason": "expired"}
    request_id: str
    reason: CancelReason

    @property
    def about_request(self) -> str:
        """See `ServerEvent`."""
        return self.request_id


class ConnectionResponse(ClientEvent, frozen=True):
    """Accepts or refuses a request. If there are several answers to one request, the first counts."""

    example: ClassVar[Example] = {"requestId": REQUEST_ID, "accepted": True}
    request_id: Id
    accepted: bool


class ConnectionAccepted(ServerEvent, frozen=True):
    """Tells the requester that the target accepted, and which session came of it. `peer` is the target."""

    event: ClassVar[str] = "CONNECTION_ACCEPTED"
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "sessionId": SESSION_ID, "peer": BOB}
    request_id: str
    session_id: str
    peer: PeerCard


class ConnectionRejected(ServerEvent, frozen=True):
    """Tells the requester that no session comes of its request. Without a `reason` the target said no."""

    event: ClassVar[str] = "CONNECTION_REJECTED"
    example: ClassVar[Example] = {"requestId": REQUEST_ID, "targetId": "bob", "reason": "expired"}
    request_id: str
    target_id: str
    reason: RejectReason | None = None
