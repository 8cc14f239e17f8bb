"""What goes over the wire, as types. Written by `bin/schema` from the server's contract: do not change it here."""
# ruff: noqa: ANN401, D401

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, Unpack, cast

from peersync.frames import Event


class AuthSuccessData(TypedDict):
    """Tells the client that its token is good, and what the claims `sub`, `name` and `email` say.

    Only clients that sent `capabilities` get the other fields.
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
    """Tells the client that its token is refused.

    The server then closes the socket with 4001.
    """

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
    """Answers `PING` with the server's time, in milliseconds since 1970."""

    timestamp: int


class ConnectionPendingData(TypedDict):
    """Answers a request that has a `ref`: the request waits for the target until `expiresAt`."""

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
"""Tells a peer that somebody asks it for a session, or invites it to one.

Answer with `CONNECTION_RESPONSE`.

A receiver with `sessions` also gets `expiresAt`, and of an invitation `sessionId` and `role`.
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
    """Tells the target that a request ended before it answered.

    `expired`: the time was up. `offline`: the requester is gone. `cancelled`: the requester withdrew it, or the
    invitation is void.
    """

    requestId: str
    reason: Literal["cancelled", "expired", "offline"]


class ConnectionAcceptedData(TypedDict):
    """Tells the requester that the target accepted, and which session came of it.

    `peer` is the target.
    """

    requestId: str
    sessionId: str
    peer: PeerCard


class ConnectionRejectedData(TypedDict):
    """Tells the requester that no session comes of its request.

    Without a `reason` the target said no.
    """

    requestId: str
    targetId: str
    reason: NotRequired[Literal["expired", "full", "offline"]]


class ErrorData(TypedDict):
    """Tells the client that the server refused its event.

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
"""Brings a message of another participant.

Only sockets with `acks` get `messageId`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
"""


class MessageAckData(TypedDict):
    """Tells the sender who has its message: `delivered` was handed to a socket, `queued` is kept for a return.

    Those in `full` are away and have no room for more, so the message is not kept for them.
    """

    messageId: str
    sessionId: str
    timestamp: str
    delivered: list[str]
    queued: list[str]
    full: NotRequired[list[str]]
    duplicate: NotRequired[bool]


class ServerNoticeData(TypedDict):
    """Warns a client before something happens.

    - `draining`: this node shuts down and closes the socket with 1012 within `closesInSeconds`; until then all goes on.
    - `token-expiring`: the token expires at `expiresAt`; a new `AUTH` renews it. - `slow`: the client reads too slowly;
    if it does not catch up, the server closes the socket with 4008.
    """

    kind: Literal["draining", "slow", "token-expiring"]
    closesInSeconds: NotRequired[float]
    expiresAt: NotRequired[str]


class PeerRegisteredData(TypedDict):
    """Tells the client that its user is in the directory."""

    id: str
    profile: Profile
    status: Literal["away", "busy", "offline", "online"]


class PeersListData(TypedDict):
    """Lists the peers that are there, in the order of registration, without the asker.

    `nextCursor` asks for the next page.
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
    """Tells of a peer that came, left, or changed its status or profile."""

    id: str
    profile: Profile
    status: Literal["away", "busy", "offline", "online"]
    connectionMode: Literal["LAN", "REMOTE"]


class SessionCreatedData(TypedDict):
    """Tells the responder which session came of the request it accepted.

    `peer` is the requester.
    """

    sessionId: str
    peer: PeerCard


class SessionEndedData(TypedDict):
    """Tells a participant that the session is over for it, and why."""

    sessionId: str
    reason: Literal["ended", "kicked", "left", "overflow", "revoked", "timeout"]


class SessionUpdatedData(TypedDict):
    """Shows the session after each change, with its participants in the order of joining."""

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
    """Lists the sessions that the user is in, in the order of joining."""

    sessions: list[SessionState]


class SessionState(TypedDict):
    """A session as it is listed."""

    sessionId: str
    hostId: str
    participants: list[Participant]


class AuthData(TypedDict):
    """Authenticates the socket with an access token; on an authenticated socket, renews its token.

    The first `AUTH` of a user takes over from the user's other socket, which is closed with 4002. If the token is
    refused, the server answers `AUTH_FAILED` and closes the socket with 4001.
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
    """Asks the server for a sign of life.

    `offset` is the number of the last event that the client has handled. The server lets go of what it keeps up to
    there.
    """

    offset: NotRequired[int | None]


class PeerRegisterData(TypedDict):
    """Puts the user into the directory of peers, or replaces its profile there.

    The server first answers `PEER_REGISTERED`, then sends what it kept for the user. A peer with `visibility` `hidden`
    is on no list; only those who know its id can reach it.
    """

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
    """Tells the others whether the user is there, away or busy.

    It stays so until the user changes it or leaves.
    """

    status: Literal["away", "busy", "online"]


class DiscoverPeersData(TypedDict):
    """Asks which peers are there.

    Each filter that is given must match; `query` matches any part of the display name.

    `limit` and `cursor` ask for one page at a time. A page has at most `DIRECTORY_PAGE` peers, and fewer if their
    metadata would exceed the size of a message.
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

    The request waits 30 seconds for its answer.

    If the peer has asked the sender already, and both have `sessions`, this accepts that request: the answer is
    `SESSION_CREATED`. Otherwise the answer to a frame with `ref` is `CONNECTION_PENDING`.
    """

    targetId: str


class ConnectionResponseData(TypedDict):
    """Accepts or refuses a request.

    If there are several answers to one request, the first counts.
    """

    requestId: str
    accepted: bool


class ConnectionCancelData(TypedDict):
    """Withdraws a request that the sender made.

    It must not have been answered yet.
    """

    requestId: str


class SessionInviteData(TypedDict):
    """Invites a peer to a session, as a guest if no role is given.

    Only the host may.

    The peer gets `CONNECTION_REQUEST_RECEIVED` with the session's id, and answers with `CONNECTION_RESPONSE`.
    """

    sessionId: str
    targetId: str
    role: NotRequired[Literal["guest", "observer"] | None]


class SessionLeaveData(TypedDict):
    """Leaves a session.

    When the host leaves, the guest who has been there longest becomes host.
    """

    sessionId: str


class SessionKickData(TypedDict):
    """Removes a participant from a session.

    Only the host may.

    A host that this leaves alone gets `SESSION_ENDED` with reason `ended`.
    """

    sessionId: str
    targetId: str


class SessionRoleData(TypedDict):
    """Makes another participant a guest or an observer.

    Only the host may; `SESSION_HANDOVER` changes the host.
    """

    sessionId: str
    targetId: str
    role: Literal["guest", "observer"]


class SessionHandoverData(TypedDict):
    """Makes another participant the host, and the sender a guest.

    Only the host may.
    """

    sessionId: str
    targetId: str


class SessionEndData(TypedDict):
    """Ends a session for everybody in it.

    Only the host may.
    """

    sessionId: str


class SessionListData(TypedDict):
    """Asks which sessions the user is in, for instance after the editor was restarted."""


class SendMessageData(TypedDict):
    """Sends `content`, any JSON value, to the other participants of a session.

    The server passes it on byte for byte.

    `to` names the participants who get it; without it all others do. With the capability `acks` a `messageId` asks for
    `MESSAGE_ACK`, and makes it safe to send the message again.
    """

    sessionId: str
    content: Any
    type: NotRequired[str | None]
    correlationId: NotRequired[str | None]
    messageId: NotRequired[str | None]
    to: NotRequired[list[str] | None]


class AuthSuccess(Event):
    """Tells the client that its token is good, and what the claims `sub`, `name` and `email` say.

    Only clients that sent `capabilities` get the other fields.
    """

    data: AuthSuccessData


class AuthFailed(Event):
    """Tells the client that its token is refused.

    The server then closes the socket with 4001.
    """

    data: AuthFailedData


class Pong(Event):
    """Answers `PING` with the server's time, in milliseconds since 1970."""

    data: PongData


class ConnectionPending(Event):
    """Answers a request that has a `ref`: the request waits for the target until `expiresAt`."""

    data: ConnectionPendingData


class ConnectionRequestReceived(Event):
    """Tells a peer that somebody asks it for a session, or invites it to one.

    Answer with `CONNECTION_RESPONSE`.

    A receiver with `sessions` also gets `expiresAt`, and of an invitation `sessionId` and `role`.
    """

    data: ConnectionRequestReceivedData


class ConnectionCancelled(Event):
    """Tells the target that a request ended before it answered.

    `expired`: the time was up. `offline`: the requester is gone. `cancelled`: the requester withdrew it, or the
    invitation is void.
    """

    data: ConnectionCancelledData


class ConnectionAccepted(Event):
    """Tells the requester that the target accepted, and which session came of it.

    `peer` is the target.
    """

    data: ConnectionAcceptedData


class ConnectionRejected(Event):
    """Tells the requester that no session comes of its request.

    Without a `reason` the target said no.
    """

    data: ConnectionRejectedData


class Error(Event):
    """Tells the client that the server refused its event.

    The socket stays open, unless a close frame follows.
    """

    data: ErrorData


class Ok(Event):
    """Sent when a frame had a `ref` and needs no other reply."""

    data: OkData


class MessageReceived(Event):
    """Brings a message of another participant.

    Only sockets with `acks` get `messageId`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
    """

    data: MessageReceivedData


class MessageAck(Event):
    """Tells the sender who has its message: `delivered` was handed to a socket, `queued` is kept for a return.

    Those in `full` are away and have no room for more, so the message is not kept for them.
    """

    data: MessageAckData


class ServerNotice(Event):
    """Warns a client before something happens.

    - `draining`: this node shuts down and closes the socket with 1012 within `closesInSeconds`; until then all goes on.
    - `token-expiring`: the token expires at `expiresAt`; a new `AUTH` renews it. - `slow`: the client reads too slowly;
    if it does not catch up, the server closes the socket with 4008.
    """

    data: ServerNoticeData


class PeerRegistered(Event):
    """Tells the client that its user is in the directory."""

    data: PeerRegisteredData


class PeersList(Event):
    """Lists the peers that are there, in the order of registration, without the asker.

    `nextCursor` asks for the next page.
    """

    data: PeersListData


class PeerStatusUpdate(Event):
    """Tells of a peer that came, left, or changed its status or profile."""

    data: PeerStatusUpdateData


class SessionCreated(Event):
    """Tells the responder which session came of the request it accepted.

    `peer` is the requester.
    """

    data: SessionCreatedData


class SessionEnded(Event):
    """Tells a participant that the session is over for it, and why."""

    data: SessionEndedData


class SessionUpdated(Event):
    """Shows the session after each change, with its participants in the order of joining."""

    data: SessionUpdatedData


class Sessions(Event):
    """Lists the sessions that the user is in, in the order of joining."""

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
        """Asks the server for a sign of life.

        `offset` is the number of the last event that the client has handled. The server lets go of what it keeps up to
        there.
        """
        return cast(PongData, await self.request("PING", data))

    async def peer_register(self, **data: Unpack[PeerRegisterData]) -> PeerRegisteredData:
        """Puts the user into the directory of peers, or replaces its profile there.

        The server first answers `PEER_REGISTERED`, then sends what it kept for the user. A peer with `visibility`
        `hidden` is on no list; only those who know its id can reach it.
        """
        return cast(PeerRegisteredData, await self.request("PEER_REGISTER", data))

    async def peer_status(self, **data: Unpack[PeerStatusData]) -> OkData:
        """Tells the others whether the user is there, away or busy.

        It stays so until the user changes it or leaves.
        """
        return cast(OkData, await self.request("PEER_STATUS", data))

    async def discover_peers(self, **data: Unpack[DiscoverPeersData]) -> PeersListData:
        """Asks which peers are there.

        Each filter that is given must match; `query` matches any part of the display name.

        `limit` and `cursor` ask for one page at a time. A page has at most `DIRECTORY_PAGE` peers, and fewer if their
        metadata would exceed the size of a message.
        """
        return cast(PeersListData, await self.request("DISCOVER_PEERS", data))

    async def connection_request(
        self, **data: Unpack[ConnectionRequestData]
    ) -> SessionCreatedData | ConnectionPendingData:
        """Asks a peer for a session.

        The request waits 30 seconds for its answer.

        If the peer has asked the sender already, and both have `sessions`, this accepts that request: the answer is
        `SESSION_CREATED`. Otherwise the answer to a frame with `ref` is `CONNECTION_PENDING`.
        """
        return cast(SessionCreatedData | ConnectionPendingData, await self.request("CONNECTION_REQUEST", data))

    async def connection_cancel(self, **data: Unpack[ConnectionCancelData]) -> OkData:
        """Withdraws a request that the sender made.

        It must not have been answered yet.
        """
        return cast(OkData, await self.request("CONNECTION_CANCEL", data))

    async def session_invite(self, **data: Unpack[SessionInviteData]) -> ConnectionPendingData:
        """Invites a peer to a session, as a guest if no role is given.

        Only the host may.

        The peer gets `CONNECTION_REQUEST_RECEIVED` with the session's id, and answers with `CONNECTION_RESPONSE`.
        """
        return cast(ConnectionPendingData, await self.request("SESSION_INVITE", data))

    async def session_leave(self, **data: Unpack[SessionLeaveData]) -> OkData:
        """Leaves a session.

        When the host leaves, the guest who has been there longest becomes host.
        """
        return cast(OkData, await self.request("SESSION_LEAVE", data))

    async def session_kick(self, **data: Unpack[SessionKickData]) -> OkData:
        """Removes a participant from a session.

        Only the host may.

        A host that this leaves alone gets `SESSION_ENDED` with reason `ended`.
        """
        return cast(OkData, await self.request("SESSION_KICK", data))

    async def session_role(self, **data: Unpack[SessionRoleData]) -> OkData:
        """Makes another participant a guest or an observer.

        Only the host may; `SESSION_HANDOVER` changes the host.
        """
        return cast(OkData, await self.request("SESSION_ROLE", data))

    async def session_handover(self, **data: Unpack[SessionHandoverData]) -> OkData:
        """Makes another participant the host, and the sender a guest.

        Only the host may.
        """
        return cast(OkData, await self.request("SESSION_HANDOVER", data))

    async def session_end(self, **data: Unpack[SessionEndData]) -> OkData:
        """Ends a session for everybody in it.

        Only the host may.
        """
        return cast(OkData, await self.request("SESSION_END", data))

    async def session_list(self, **data: Unpack[SessionListData]) -> SessionsData:
        """Asks which sessions the user is in, for instance after the editor was restarted."""
        return cast(SessionsData, await self.request("SESSION_LIST", data))
