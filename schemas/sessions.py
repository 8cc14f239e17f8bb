"""The life of a session."""

from typing import ClassVar

from schemas.events import ServerEvent
from schemas.fields import EndReason
from schemas.peers import PeerCard


class SessionCreated(ServerEvent, frozen=True):
    """Tells the responder of its session; `peer` is the requester."""

    event: ClassVar[str] = "SESSION_CREATED"
    session_id: str
    peer: PeerCard


class SessionEnded(ServerEvent, frozen=True):
    """The session is over for the one who gets this."""

    event: ClassVar[str] = "SESSION_ENDED"
    session_id: str
    reason: EndReason
