"""What goes over the wire, as types. Written by `bin/schema` from the server's contract: do not change it here."""
# ruff: noqa: ANN401, D401

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, Unpack, cast

from peersync.frames import Event


class AuthSuccessData(TypedDict):
    """The token is good; from its claims `sub`, `name` and `email`.

    The rest is told to clients of version 1.1.
    """

    userId: str
    displayName: str
    email: NotRequired[str]
    capabilities: NotRequired[list[str]]
    server: NotRequired[Server]
    limits: NotRequired[SocketLimits]
    resume: NotRequired[Resumption]
    recovered: NotRequired[bool]


class Server(TypedDict):
    """The server's program, and the newest protocol that it speaks."""

    version: str
    protocol: NotRequired[Literal["1.1"]]


class SocketLimits(TypedDict):
    """What a client may send: bytes a message, events a second in the long run, events at once.

    The server pings every `heartbeatSeconds`: a connection on which nothing came for twice as long is dead.
    """

    maxMessageBytes: int
    eventsPerSecond: int
    burst: int
    heartbeatSeconds: float


class Resumption(TypedDict):
    """What the client resumes with, if it is back within `graceSeconds` of a drop."""

    token: str
    graceSeconds: float


class AuthFailedData(TypedDict):
    """The token is not good; the socket closes with 4001."""

    code: ErrorCode
    message: str


ErrorCode = Literal[
    "ERR_1001",
    "ERR_1002",
    "ERR_1003",
    "ERR_1004",
    "ERR_2001",
    "ERR_2005",
    "ERR_2006",
    "ERR_3001",
    "ERR_3005",
    "ERR_3008",
    "ERR_4003",
    "ERR_4004",
    "ERR_5003",
    "ERR_5004",
    "ERR_5005",
    "ERR_6001",
    "ERR_6002",
    "ERR_6004",
    "ERR_9001",
    "ERR_9002",
    "ERR_9003",
]


class PongData(TypedDict):
    """Answers `PING` with the server's time, milliseconds since 1970."""

    timestamp: int


class ConnectionPendingData(TypedDict):
    """Answers a request with `ref`: it waits for the target's answer until `expiresAt`."""

    requestId: str
    targetId: str
    expiresAt: str


ConnectionRequestReceivedData = TypedDict(
    "ConnectionRequestReceivedData",
    {
        "requestId": "str",
        "from": "PeerCard",
        "sessionId": "NotRequired[str]",
        "role": 'NotRequired[Literal["guest", "host", "observer"]]',
        "expiresAt": "NotRequired[str]",
    },
)
"""Somebody asks for a session, or invites to one.

For a receiver with `sessions` it also says until when an answer counts, and of an invitation the session and the role.
"""


class PeerCard(TypedDict):
    """A peer as events about it name it."""

    id: str
    profile: Profile


class Profile(TypedDict):
    """What a peer shows of itself; its metadata only to sockets of version 1.1, and only if it gave some."""

    displayName: str
    role: str
    ide: str
    metadata: NotRequired[Metadata]


class Metadata(TypedDict):
    """What a peer tells of its editor and itself, for other clients; the server makes no use of it.

    As encoded, `publicKey` must be at most 4 KiB, and all the rest together 2 KiB. Control characters are refused.
    """

    ideVersion: NotRequired[str]
    extensionVersion: NotRequired[str]
    os: NotRequired[str]
    timezone: NotRequired[str]
    publicKey: NotRequired[str]
    capabilities: NotRequired[list[str]]


class ConnectionCancelledData(TypedDict):
    """Tells the target that a request ended without its answer; for those who speak `sessions`.

    `expired`: its time was up. `offline`: its requester is gone. `cancelled`: it was withdrawn, or the invitation is
    void.
    """

    requestId: str
    reason: Literal["cancelled", "expired", "offline"]


class ConnectionAcceptedData(TypedDict):
    """Tells the requester of its session; `peer` is the other one."""

    requestId: str
    sessionId: str
    peer: PeerCard


class ConnectionRejectedData(TypedDict):
    """Tells the requester that nothing comes of it; without a reason, the target said no."""

    requestId: str
    targetId: str
    reason: NotRequired[Literal["expired", "full", "offline"]]


class ErrorData(TypedDict):
    """Something was refused.

    The socket stays open, unless a close frame follows.
    """

    code: ErrorCode
    message: str
    details: NotRequired[RetryAfter]


class RetryAfter(TypedDict):
    """When a refused client may send again, in milliseconds."""

    retryAfterMs: int


class OkData(TypedDict):
    """Sent when a frame had a `ref` and needs no other reply."""


MessageReceivedData = TypedDict(
    "MessageReceivedData",
    {
        "sessionId": "str",
        "from": "str",
        "content": "Any",
        "type": "NotRequired[str]",
        "correlationId": "NotRequired[str]",
        "timestamp": "str",
        "messageId": "NotRequired[str]",
        "to": "NotRequired[list[str]]",
        "traceparent": "NotRequired[str]",
    },
)
"""A message of another participant.

Only sockets with `acks` get `messageId`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
"""


class MessageAckData(TypedDict):
    """Tells the sender who has its message: handed to their sockets, or kept for their return.

    It is neither handed nor kept for those in `full`, who are away and have no room for more.
    """

    messageId: str
    sessionId: str
    timestamp: str
    delivered: list[str]
    queued: list[str]
    full: NotRequired[list[str]]
    duplicate: NotRequired[bool]


class ServerNoticeData(TypedDict):
    """Tells a socket with the capability `notices` what is about to happen, so that it can act before.

    `draining`: this node stops, and closes the socket with 1012 within `closesInSeconds`; until then all goes on.
    `token-expiring`: the token expires at `expiresAt`; a new AUTH renews it. `slow`: half of what may wait for the
    socket waits; if the client does not read faster, it is closed with 4008.
    """

    kind: Literal["draining", "slow", "token-expiring"]
    closesInSeconds: NotRequired[float]
    expiresAt: NotRequired[str]


class PeerRegisteredData(TypedDict):
    """The peer is in the directory."""

    id: str
    profile: Profile
    status: Literal["away", "busy", "offline", "online"]


class PeersListData(TypedDict):
    """Who is there, in the order of registration; never the asker.

    `nextCursor` asks for the page after this one.
    """

    peers: list[PeerEntry]
    nextCursor: NotRequired[str]


class PeerEntry(TypedDict):
    """A peer as the directory lists it; `connectionMode` is the asker's relation to it."""

    id: str
    profile: Profile
    status: Literal["away", "busy", "offline", "online"]
    connectionMode: Literal["LAN", "REMOTE"]


class PeerStatusUpdateData(TypedDict):
    """A peer came, went or changed."""

    id: str
    profile: Profile
    status: Literal["away", "busy", "offline", "online"]
    connectionMode: Literal["LAN", "REMOTE"]


class SessionCreatedData(TypedDict):
    """Tells the responder of its session; `peer` is the requester."""

    sessionId: str
    peer: PeerCard


class SessionEndedData(TypedDict):
    """The session is over for the one who gets this."""

    sessionId: str
    reason: Literal["ended", "kicked", "left", "overflow", "revoked", "timeout"]


class SessionUpdatedData(TypedDict):
    """The session as it is after a change, participants in the order of joining; for those who speak `sessions`."""

    sessionId: str
    hostId: str
    participants: list[Participant]
    change: Change


class Participant(TypedDict):
    """A participant of a session; its profile has no metadata.

    `connected` is false after a drop.
    """

    id: str
    role: Literal["guest", "host", "observer"]
    profile: Profile
    connected: bool


class Change(TypedDict):
    """What happened, and to whom."""

    kind: Literal["dropped", "host", "joined", "kicked", "left", "returned", "role"]
    id: str


class SessionsData(TypedDict):
    """The sessions that one is in, in the order of joining them."""

    sessions: list[SessionState]


class SessionState(TypedDict):
    """A session as it is listed."""

    sessionId: str
    hostId: str
    participants: list[Participant]


class AuthData(TypedDict):
    """Presents an access token.

    What is wrong with it is answered `AUTH_FAILED`, and the socket closes with 4001.

    A token of any other type than string is an invalid token, so it is looked at later.
    """

    token: str
    capabilities: NotRequired[list[str] | None]
    client: NotRequired[Client | None]
    resume: NotRequired[Resume | None]


class Client(TypedDict):
    """The client's program."""

    name: NotRequired[str | None]
    version: NotRequired[str | None]


class Resume(TypedDict):
    """What a client resumes from: the token it was given last, and the offset of the last event it handled."""

    token: str
    offset: int


class PingData(TypedDict):
    """Asks for a sign of life; `offset` is that of the last event handled, so that the server can let go of those."""

    offset: NotRequired[int | None]


class PeerRegisterData(TypedDict):
    """Joins the directory, or replaces the profile there; who is hidden can be reached by its id only."""

    displayName: NotRequired[str | None]
    ide: NotRequired[Literal["vscode", "cursor", "jetbrains", "vim", "neovim", "emacs", "sublime", "other"] | None]
    role: NotRequired[Literal["host", "guest", "observer"] | None]
    metadata: NotRequired[MetadataInput | None]
    visibility: NotRequired[Literal["everyone", "hidden"] | None]


class MetadataInput(TypedDict):
    """What a peer tells of its editor and itself, for other clients; the server makes no use of it.

    As encoded, `publicKey` must be at most 4 KiB, and all the rest together 2 KiB. Control characters are refused.
    """

    ideVersion: NotRequired[str | None]
    extensionVersion: NotRequired[str | None]
    os: NotRequired[str | None]
    timezone: NotRequired[str | None]
    publicKey: NotRequired[str | None]
    capabilities: NotRequired[list[str] | None]


class PeerStatusData(TypedDict):
    """Says whether one has time."""

    status: Literal["away", "busy", "online"]


class DiscoverPeersData(TypedDict):
    """Asks who is there; each filter given must match, `query` as a part of the display name in any case.

    `limit` and `cursor` ask for a page at a time; a page has `DIRECTORY_PAGE` peers at most.
    """

    role: NotRequired[Literal["host", "guest", "observer"] | None]
    ide: NotRequired[Literal["vscode", "cursor", "jetbrains", "vim", "neovim", "emacs", "sublime", "other"] | None]
    lanOnly: NotRequired[bool | None]
    status: NotRequired[Literal["away", "busy", "online"] | None]
    query: NotRequired[str | None]
    limit: NotRequired[int | None]
    cursor: NotRequired[str | None]


class ConnectionRequestData(TypedDict):
    """Asks a peer for a session.

    If that peer's own request to the sender waits, and both have `sessions`, this accepts it: the answer is
    `SESSION_CREATED`.
    """

    targetId: str


class ConnectionResponseData(TypedDict):
    """Accepts or refuses."""

    requestId: str
    accepted: bool


class ConnectionCancelData(TypedDict):
    """Withdraws a request of one's own."""

    requestId: str


class SessionInviteData(TypedDict):
    """Asks a peer into a session of one's own, as a guest if no role is given."""

    sessionId: str
    targetId: str
    role: NotRequired[Literal["guest", "observer"] | None]


class SessionLeaveData(TypedDict):
    """Goes out of a session."""

    sessionId: str


class SessionKickData(TypedDict):
    """Throws a participant out."""

    sessionId: str
    targetId: str


class SessionRoleData(TypedDict):
    """Gives another participant a role; that of the host is handed over."""

    sessionId: str
    targetId: str
    role: Literal["guest", "observer"]


class SessionHandoverData(TypedDict):
    """Makes another participant the host, and oneself a guest."""

    sessionId: str
    targetId: str


class SessionEndData(TypedDict):
    """Ends a session for all."""

    sessionId: str


class SessionListData(TypedDict):
    """Asks which sessions one is in."""


class SendMessageData(TypedDict):
    """Sends `content`, any JSON value, to the other participants; it is passed on byte for byte, never decoded.

    `to` names those of them who get it. With the capability `acks` a `messageId` asks for `MESSAGE_ACK`.
    """

    sessionId: str
    content: Any
    type: NotRequired[str | None]
    correlationId: NotRequired[str | None]
    messageId: NotRequired[str | None]
    to: NotRequired[list[str] | None]


class AuthSuccess(Event):
    """The token is good; from its claims `sub`, `name` and `email`.

    The rest is told to clients of version 1.1.
    """

    data: AuthSuccessData


class AuthFailed(Event):
    """The token is not good; the socket closes with 4001."""

    data: AuthFailedData


class Pong(Event):
    """Answers `PING` with the server's time, milliseconds since 1970."""

    data: PongData


class ConnectionPending(Event):
    """Answers a request with `ref`: it waits for the target's answer until `expiresAt`."""

    data: ConnectionPendingData


class ConnectionRequestReceived(Event):
    """Somebody asks for a session, or invites to one.

    For a receiver with `sessions` it also says until when an answer counts, and of an invitation the session and the
    role.
    """

    data: ConnectionRequestReceivedData


class ConnectionCancelled(Event):
    """Tells the target that a request ended without its answer; for those who speak `sessions`.

    `expired`: its time was up. `offline`: its requester is gone. `cancelled`: it was withdrawn, or the invitation is
    void.
    """

    data: ConnectionCancelledData


class ConnectionAccepted(Event):
    """Tells the requester of its session; `peer` is the other one."""

    data: ConnectionAcceptedData


class ConnectionRejected(Event):
    """Tells the requester that nothing comes of it; without a reason, the target said no."""

    data: ConnectionRejectedData


class Error(Event):
    """Something was refused.

    The socket stays open, unless a close frame follows.
    """

    data: ErrorData


class Ok(Event):
    """Sent when a frame had a `ref` and needs no other reply."""

    data: OkData


class MessageReceived(Event):
    """A message of another participant.

    Only sockets with `acks` get `messageId`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
    """

    data: MessageReceivedData


class MessageAck(Event):
    """Tells the sender who has its message: handed to their sockets, or kept for their return.

    It is neither handed nor kept for those in `full`, who are away and have no room for more.
    """

    data: MessageAckData


class ServerNotice(Event):
    """Tells a socket with the capability `notices` what is about to happen, so that it can act before.

    `draining`: this node stops, and closes the socket with 1012 within `closesInSeconds`; until then all goes on.
    `token-expiring`: the token expires at `expiresAt`; a new AUTH renews it. `slow`: half of what may wait for the
    socket waits; if the client does not read faster, it is closed with 4008.
    """

    data: ServerNoticeData


class PeerRegistered(Event):
    """The peer is in the directory."""

    data: PeerRegisteredData


class PeersList(Event):
    """Who is there, in the order of registration; never the asker.

    `nextCursor` asks for the page after this one.
    """

    data: PeersListData


class PeerStatusUpdate(Event):
    """A peer came, went or changed."""

    data: PeerStatusUpdateData


class SessionCreated(Event):
    """Tells the responder of its session; `peer` is the requester."""

    data: SessionCreatedData


class SessionEnded(Event):
    """The session is over for the one who gets this."""

    data: SessionEndedData


class SessionUpdated(Event):
    """The session as it is after a change, participants in the order of joining; for those who speak `sessions`."""

    data: SessionUpdatedData


class Sessions(Event):
    """The sessions that one is in, in the order of joining them."""

    data: SessionsData


KINDS: Mapping[str, type[Event]] = {
    "AUTH_SUCCESS": AuthSuccess,
    "AUTH_FAILED": AuthFailed,
    "PONG": Pong,
    "CONNECTION_PENDING": ConnectionPending,
    "CONNECTION_REQUEST_RECEIVED": ConnectionRequestReceived,
    "CONNECTION_CANCELLED": ConnectionCancelled,
    "CONNECTION_ACCEPTED": ConnectionAccepted,
    "CONNECTION_REJECTED": ConnectionRejected,
    "ERROR": Error,
    "OK": Ok,
    "MESSAGE_RECEIVED": MessageReceived,
    "MESSAGE_ACK": MessageAck,
    "SERVER_NOTICE": ServerNotice,
    "PEER_REGISTERED": PeerRegistered,
    "PEERS_LIST": PeersList,
    "PEER_STATUS_UPDATE": PeerStatusUpdate,
    "SESSION_CREATED": SessionCreated,
    "SESSION_ENDED": SessionEnded,
    "SESSION_UPDATED": SessionUpdated,
    "SESSIONS": Sessions,
}


class Requests(ABC):
    """What a client may ask of the server: a method for each event, which returns the data of its answer."""

    @abstractmethod
    async def request(self, event: str, data: Mapping[str, object] | None = None) -> Any:
        """Send an event, and return the data of its answer."""

    async def ping(self, **data: Unpack[PingData]) -> PongData:
        """Asks for a sign of life; `offset` is that of the last event handled, so that the server can let go of those.

        What the server does: Answer with the server's time, and let go of what the client has handled.
        """
        return cast(PongData, await self.request("PING", data))

    async def peer_register(self, **data: Unpack[PeerRegisterData]) -> PeerRegisteredData:
        """Joins the directory, or replaces the profile there; who is hidden can be reached by its id only.

        What the server does: Join the directory, or replace the profile there; what was kept for the user follows the
        answer.
        """
        return cast(PeerRegisteredData, await self.request("PEER_REGISTER", data))

    async def peer_status(self, **data: Unpack[PeerStatusData]) -> OkData:
        """Says whether one has time.

        What the server does: Tell the others whether one has time; it stays so through drops that are resumed and
        further registrations.
        """
        return cast(OkData, await self.request("PEER_STATUS", data))

    async def discover_peers(self, **data: Unpack[DiscoverPeersData]) -> PeersListData:
        """Asks who is there; each filter given must match, `query` as a part of the display name in any case.

        `limit` and `cursor` ask for a page at a time; a page has `DIRECTORY_PAGE` peers at most.

        What the server does: List who is there and matches every filter given; with a cursor to go on from if pages are
        asked for.

        If the metadata would exceed the size of a message, the list is cut there and has a cursor, too.
        """
        return cast(PeersListData, await self.request("DISCOVER_PEERS", data))

    async def connection_request(
        self, **data: Unpack[ConnectionRequestData]
    ) -> SessionCreatedData | ConnectionPendingData:
        """Asks a peer for a session.

        If that peer's own request to the sender waits, and both have `sessions`, this accepts it: the answer is
        `SESSION_CREATED`.

        What the server does: Ask a peer for a session; the request waits for its answer for a while.
        """
        return cast(SessionCreatedData | ConnectionPendingData, await self.request("CONNECTION_REQUEST", data))

    async def connection_cancel(self, **data: Unpack[ConnectionCancelData]) -> OkData:
        """Withdraws a request of one's own.

        What the server does: Take a request of one's own back; to all but its two sides there is no such request.
        """
        return cast(OkData, await self.request("CONNECTION_CANCEL", data))

    async def session_invite(self, **data: Unpack[SessionInviteData]) -> ConnectionPendingData:
        """Asks a peer into a session of one's own, as a guest if no role is given.

        What the server does: Ask a peer into the session, by a connection request that names it; only the host may.
        """
        return cast(ConnectionPendingData, await self.request("SESSION_INVITE", data))

    async def session_leave(self, **data: Unpack[SessionLeaveData]) -> OkData:
        """Goes out of a session.

        What the server does: Go out; when the host goes, the guest who is there longest becomes host.
        """
        return cast(OkData, await self.request("SESSION_LEAVE", data))

    async def session_kick(self, **data: Unpack[SessionKickData]) -> OkData:
        """Throws a participant out.

        What the server does: Throw a participant out. To a host that this leaves alone, the session has `ended`: it was
        not kicked itself.
        """
        return cast(OkData, await self.request("SESSION_KICK", data))

    async def session_role(self, **data: Unpack[SessionRoleData]) -> OkData:
        """Gives another participant a role; that of the host is handed over.

        What the server does: Make another participant guest or observer.
        """
        return cast(OkData, await self.request("SESSION_ROLE", data))

    async def session_handover(self, **data: Unpack[SessionHandoverData]) -> OkData:
        """Makes another participant the host, and oneself a guest.

        What the server does: Make another participant the host; the old one is a guest then.
        """
        return cast(OkData, await self.request("SESSION_HANDOVER", data))

    async def session_end(self, **data: Unpack[SessionEndData]) -> OkData:
        """Ends a session for all.

        What the server does: End the session for all, oneself included.
        """
        return cast(OkData, await self.request("SESSION_END", data))

    async def session_list(self, **data: Unpack[SessionListData]) -> SessionsData:
        """Asks which sessions one is in.

        What the server does: List one's own sessions, for an editor that was restarted.
        """
        return cast(SessionsData, await self.request("SESSION_LIST", data))
