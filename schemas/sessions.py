"""The life of a session."""

from typing import ClassVar

from msgspec import Struct

from schemas.capabilities import Capability
from schemas.events import ClientEvent, ServerEvent
from schemas.examples import ANN, PARTICIPANTS, SESSION_ID, Example
from schemas.fields import ChangeKind, EndReason, Id, InvitedRole, Role
from schemas.peers import PeerCard, Profile


class Participant(Struct, frozen=True):
    """A participant of a session; its profile has no metadata. `connected` is false after a drop."""

    id: str
    role: Role
    profile: Profile
    connected: bool


class Change(Struct, frozen=True):
    """What happened, and to whom."""

    kind: ChangeKind
    id: str


class SessionCreated(ServerEvent, frozen=True):
    """Tells the responder which session came of the request it accepted. `peer` is the requester."""

    event: ClassVar[str] = "SESSION_CREATED"
    example: ClassVar[Example] = {"sessionId": SESSION_ID, "peer": ANN}
    session_id: str
    peer: PeerCard


class SessionEnded(ServerEvent, frozen=True):
    """Tells a participant that the session is over for it, and why."""

    event: ClassVar[str] = "SESSION_ENDED"
    example: ClassVar[Example] = {"sessionId": SESSION_ID, "reason": "left"}
    session_id: str
    reason: EndReason


class SessionUpdated(ServerEvent, frozen=True):
    """Shows the session after each change, with its participants in the order of joining."""

    event: ClassVar[str] = "SESSION_UPDATED"
    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {
        "sessionId": SESSION_ID,
        "hostId": "ann",
        "participants": PARTICIPANTS,
        "change": {"kind": "joined", "id": "bob"},
    }
    session_id: str
    host_id: str
    participants: list[Participant]
    change: Change


class SessionInvite(ClientEvent, frozen=True):
    """Invites a peer to a session, as a guest if no role is given. Only the host may.

    The peer gets `CONNECTION_REQUEST_RECEIVED` with the session's id, and answers with `CONNECTION_RESPONSE`.
    """

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"sessionId": SESSION_ID, "targetId": "bob", "role": "observer"}
    session_id: Id
    target_id: Id
    role: InvitedRole | None = None


class SessionLeave(ClientEvent, frozen=True):
    """Leaves a session. When the host leaves, the guest who has been there longest becomes host."""

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"sessionId": SESSION_ID}
    session_id: Id


class SessionKick(ClientEvent, frozen=True):
    """Removes a participant from a session. Only the host may.

    A host that this leaves alone gets `SESSION_ENDED` with reason `ended`.
    """

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"sessionId": SESSION_ID, "targetId": "bob"}
    session_id: Id
    target_id: Id


class SessionRole(ClientEvent, frozen=True):
    """Makes another participant a guest or an observer. Only the host may; `SESSION_HANDOVER` changes the host."""

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"sessionId": SESSION_ID, "targetId": "bob", "role": "observer"}
    session_id: Id
    target_id: Id
    role: InvitedRole


class SessionHandover(ClientEvent, frozen=True):
    """Makes another participant the host, and the sender a guest. Only the host may."""

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"sessionId": SESSION_ID, "targetId": "bob"}
    session_id: Id
    target_id: Id


class SessionEnd(ClientEvent, frozen=True):
    """Ends a session for everybody in it. Only the host may."""

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {"sessionId": SESSION_ID}
    session_id: Id


class SessionList(ClientEvent, frozen=True):
    """Asks which sessions the user is in, for instance after the editor was restarted."""

    capability: ClassVar[Capability] = "sessions"
    example: ClassVar[Example] = {}


class SessionState(Struct, frozen=True, rename="camel"):
    """A session as it is listed."""

    session_id: str
    host_id: str
    participants: list[Participant]


class Sessions(ServerEvent, frozen=True):
    """Lists the sessions that the user is in, in the order of joining."""

    event: ClassVar[str] = "SESSIONS"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {
        "sessions": [{"sessionId": SESSION_ID, "hostId": "ann", "participants": PARTICIPANTS}]
    }
    sessions: list[SessionState]
