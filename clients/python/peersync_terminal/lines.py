"""What a peer in a terminal reads: a line for every frame. No input or output here."""

import json
import unicodedata
from collections.abc import Callable
from functools import singledispatchmethod
from itertools import count
from typing import NamedTuple, get_type_hints
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from peersync import Event
from peersync.events import (
    KINDS,
    AuthFailed,
    AuthSuccess,
    ConnectionAccepted,
    ConnectionCancelled,
    ConnectionPending,
    ConnectionRejected,
    ConnectionRequestReceived,
    Error,
    MessageAck,
    MessageReceived,
    Ok,
    Participant,
    PeerEntry,
    PeerRegistered,
    PeersList,
    PeerStatusUpdate,
    Pong,
    Profile,
    ServerNotice,
    SessionCreated,
    SessionEnded,
    Sessions,
    SessionUpdated,
)
from peersync_terminal.content import CHAT, Said, read

_ZERO_WIDTH_JOINER = "\u200d"
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_BLANKS = set("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")  # letters without a glyph
_JOINED = {"So", "Sk", "Mn"}  # emoji, skin tones, variation selectors
_DATA = {kind: get_type_hints(kind)["data"] for kind in KINDS.values()}
_SESSION_IS_GONE = {"ERR_3001", "ERR_3008"}
_LOG_FULL = "ERR_4004"
_CHANGES = {
    "joined": "joined",
    "left": "left",
    "kicked": "was removed",
    "role": "has a new role",
    "host": "is the host now",
    "dropped": "lost the connection, but can still come back",
    "returned": "is back",
}


class _MessageData(Struct):
    content: Raw


class _MessageFrame(Struct):
    data: _MessageData


_frame = msgspec.json.Decoder(_MessageFrame).decode


class Session(Struct):
    """A session; `number` is what a person calls it by, `others` are the ids of its other participants."""

    number: int
    id: str
    others: tuple[str, ...]

    @property
    def peer(self) -> str:
        """The others, for people."""
        return ", ".join(self.others)


class Job(NamedTuple):
    """A request to this peer's agent: `content` is a text as it was sent, or other JSON.

    `has_envelope` says in which shape it came (see `peer_content`); the answer has the same shape.
    """

    session_id: str
    sender: str
    correlation_id: str | None
    content: str
    has_envelope: bool = False


class Conversation:
    """What one peer knows: who is there, who asks to connect, its sessions."""

    def __init__(self, user: str, new_id: Callable[[], str] = lambda: uuid4().hex, *, has_agent: bool = False) -> None:
        self.user = user
        self.new_id = new_id
        self.has_agent = has_agent
        self.jobs: list[Job] = []
        self.is_connected = False
        self.capabilities: frozenset[str] = frozenset()
        self.asked: dict[str, str] = {}
        self.peers: dict[str, Profile] = {}
        self.requests: dict[str, str] = {}
        self.invitations: set[str] = set()
        self.sessions: dict[str, Session] = {}
        self.enveloping: set[str] = set()
        """The ids of peers whose last message had an envelope."""
        self.current: Session | None = None
        self.last_sent_to: Session | None = None
        self._numbers = count(1)
        self._was_lost = False

    @property
    def prompt(self) -> str:
        """Whom a plain line goes to."""
        return printable(f"to {self.current.peer}> " if self.current else "> ")

    def lost(self) -> None:
        """Take note that the connection was lost."""
        self.is_connected = False
        self._was_lost = True

    @singledispatchmethod
    def tell(self, event: Event) -> str:
        """Return the line that tells of an event, empty if none is needed, and remember what it says."""
        return event.text

    @tell.register
    def _(self, event: AuthSuccess) -> str:
        self.capabilities = frozenset(event.data.get("capabilities", ()))
        if event.data.get("recovered"):
            self._was_lost = False
        return f"signed in as {event.data['userId']}"

    @tell.register
    def _(self, event: AuthFailed) -> str:
        return f"error {event.data['code']}: {event.data['message']}"

    @tell.register
    def _(self, event: Error) -> str:
        code, message, over = event.data["code"], event.data["message"], ""
        if code in _SESSION_IS_GONE and self.last_sent_to:
            over = f" (the session with {self.last_sent_to.peer} is over)"
            self.forget(self.last_sent_to.id)
        if code == _LOG_FULL:
            return f"not kept: {message}"
        later = f" (again in {event.data['details']['retryAfterMs']} ms)" if "details" in event.data else ""
        return f"error {code}: {message}{over}{later}"

    @tell.register
    def _(self, event: Pong) -> str:
        return f"pong, server time {event.data['timestamp']}"

    @tell.register
    def _(self, event: PeerRegistered) -> str:
        back = " again" if self._was_lost else ""
        going_on = "; your sessions continue" if self._was_lost and self.sessions else ""
        self._was_lost = False
        return f"you are online{back} as {_described(event.data['id'], event.data['profile'])}{going_on}"

    @tell.register
    def _(self, event: PeersList) -> str:
        self.peers = {peer["id"]: peer["profile"] for peer in event.data["peers"]}
        return "online: " + (", ".join(map(_listed, event.data["peers"])) or "nobody else")

    @tell.register
    def _(self, event: PeerStatusUpdate) -> str:
        peer = event.data
        self.peers[peer["id"]] = peer["profile"]
        return f"{_described(peer['id'], peer['profile'])} is {peer['status']}"

    @tell.register
    def _(self, event: ConnectionRequestReceived) -> str:
        request, asker = event.data, event.data["from"]["id"]
        self.requests[request["requestId"]] = asker
        if "sessionId" not in request:
            return f"{asker} asks to connect: /accept or /refuse"
        self.invitations.add(request["requestId"])
        return f"{asker} invites you to a session as {request.get('role', 'guest')}: /accept or /refuse"

    @tell.register
    def _(self, event: ConnectionPending) -> str:
        self.asked[event.data["requestId"]] = event.data["targetId"]
        return ""

    @tell.register
    def _(self, event: ConnectionCancelled) -> str:
        request, reason = event.data["requestId"], event.data["reason"]
        self.invitations.discard(request)
        who = self.requests.pop(request, "somebody")
        if reason == "expired":
            return f"the request from {who} has expired"
        return f"{who} went offline; the request is cancelled" if reason == "offline" else f"{who} withdrew the request"

    @tell.register
    def _(self, event: ConnectionRejected) -> str:
        self.asked.pop(event.data["requestId"], None)
        target = event.data["targetId"]
        if "reason" not in event.data:
            return f"{target} refuses to connect"
        return f"no session with {target}: {event.data['reason']}"

    @tell.register
    def _(self, event: ConnectionAccepted) -> str:
        self.asked.pop(event.data["requestId"], None)
        return self._connected(event.data["sessionId"], event.data["peer"]["id"])

    @tell.register
    def _(self, event: SessionCreated) -> str:
        self._forget_requests(event.data["peer"]["id"])
        return self._connected(event.data["sessionId"], event.data["peer"]["id"])

    @tell.register
    def _(self, event: SessionEnded) -> str:
        session = self.forget(event.data["sessionId"])
        return (
            f"the session with {session.peer if session else event.data['sessionId']} is over: {event.data['reason']}"
        )

    @tell.register
    def _(self, event: SessionUpdated) -> str:
        participants, change = event.data["participants"], event.data["change"]
        session = self._session(event.data["sessionId"], self._others(participants))
        session.others = self._others(participants) or session.others
        if change["kind"] == "joined" and len(participants) == 2:  # noqa: PLR2004 - "connected with" said so
            return ""
        if change["id"] == self.user and change["kind"] in {"dropped", "returned"}:
            return ""
        here = ", ".join(map(_described_in, participants))
        return f"{change['id']} {_CHANGES[change['kind']]} (session {session.number}: {here})"

    @tell.register
    def _(self, event: Sessions) -> str:
        listed = event.data["sessions"]
        kept = {each["sessionId"] for each in listed}
        over = [self.forget(session_id) for session_id in list(self.sessions) if session_id not in kept]
        for each in listed:
            self._session(each["sessionId"], self._others(each["participants"]))
        gone = [f"the session with {session.peer} is over" for session in over if session]
        going = [f"the session with {session.peer} continues" for session in self.sessions.values()]
        return "; ".join([*going, *gone])

    @tell.register
    def _(self, event: MessageAck) -> str:
        ack = event.data
        delivered = [f"delivered to {', '.join(ack['delivered'])}"] if ack["delivered"] else []
        queued = [f"kept for {', '.join(ack['queued'])}"] if ack["queued"] else []
        full = [f"not kept for {each}, who is away and has no room for more" for each in ack.get("full", ())]
        return "; ".join([*delivered, *queued, *full]) or "nobody received it"

    @tell.register
    def _(self, _event: Ok) -> str:
        return ""

    @tell.register
    def _(self, event: ServerNotice) -> str:
        notice = event.data
        if notice["kind"] == "draining":
            return "the server is restarting; this client will reconnect"
        if notice["kind"] == "slow":
            return "the server says that this client reads too slowly"
        return f"the token expires at {notice.get('expiresAt')}; sending a new one"

    @tell.register
    def _(self, event: MessageReceived) -> str:
        message, sender = event.data, event.data["from"]
        session = self._session(message["sessionId"], (sender,))
        said = read_message(event)
        (self.enveloping.add if said.has_envelope else self.enveloping.discard)(sender)
        if self.has_agent and said.is_request:
            correlation_id = message.get("correlationId") or said.message_id
            self.jobs.append(Job(message["sessionId"], sender, correlation_id, said.text, said.has_envelope))
        where = "" if session == self.current else f" (session {session.number})"
        kind = "" if said.kind in {None, CHAT} else f" [{said.kind}]"
        kind += f" (to {', '.join(message['to'])})" if "to" in message else ""
        return f"{sender}{where}{kind}: {said.text}"

    def _connected(self, session_id: str, peer: str) -> str:
        self.current = session = self._session(session_id, (peer,))
        return f"connected with {session.peer}" + (f" (session {session.number})" if session.number > 1 else "")

    def _forget_requests(self, peer: str) -> None:
        """Drop a peer's requests, but not its invitations: asking a peer that has asked accepts its request."""
        for request_id in [each for each, asker in self.requests.items() if asker == peer]:
            if request_id not in self.invitations:
                del self.requests[request_id]

    def _session(self, session_id: str, others: tuple[str, ...]) -> Session:
        """Return a session; one that this process did not see begin goes on from an earlier one."""
        session = self.sessions.get(session_id) or Session(next(self._numbers), session_id, others)
        self.sessions[session_id] = session
        self.current = self.current or session
        return session

    def _others(self, participants: list[Participant]) -> tuple[str, ...]:
        return tuple(each["id"] for each in participants if each["id"] != self.user)

    def forget(self, session_id: str) -> Session | None:
        """Take a session for over, and talk in the one before it; returns it if it was known."""
        session = self.sessions.pop(session_id, None)
        if self.current == session:
            self.current = next(reversed(self.sessions.values()), None)
        return session


def is_known(event: Event) -> bool:
    """Whether an event is one of the protocol, and its data is as the protocol has it."""
    try:
        msgspec.convert(event.data, _DATA[type(event)])
    except (KeyError, msgspec.ValidationError):
        return False
    return True


def read_message(event: MessageReceived) -> Said:
    """Return what a message says."""
    return read(_content(event), event.data.get("type"))


def _content(event: MessageReceived) -> str:
    """Return the content of a message as it was sent, with all its digits."""
    try:
        return bytes(_frame(event.text.encode()).data.content).decode()
    except (ValueError, RecursionError):
        # An escaped half of a surrogate pair, which JavaScript sends, is JSON, but not to msgspec.
        return json.dumps(event.data["content"], ensure_ascii=False).encode(errors="replace").decode()


def printable(text: str) -> str:
    r"""Return text that cannot control a terminal, and hides nothing from a reader.

    Control and formatting characters become escapes such as `\n`; a joiner between two emoji is kept.
    """
    return "".join(_escaped(char) if _is_unprintable(text, at) else char for at, char in enumerate(text))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _is_unprintable(text: str, at: int) -> bool:
    char = text[at]
    if char == _ZERO_WIDTH_JOINER:
        around = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
        return len(around) < 2 or any(unicodedata.category(each) not in _JOINED for each in around)  # noqa: PLR2004
    return unicodedata.category(char) in _UNPRINTABLE or char in _BLANKS


def _described(user: str, profile: Profile, *more: str) -> str:
    name = [] if profile["displayName"] == user else [profile["displayName"]]
    return f"{user} ({', '.join([*name, profile['ide'], *more])})"


def _listed(peer: PeerEntry) -> str:
    role = [] if peer["profile"]["role"] == "guest" else [peer["profile"]["role"]]
    status = [] if peer["status"] == "online" else [peer["status"]]
    return _described(peer["id"], peer["profile"], *role, *status)


def _described_in(participant: Participant) -> str:
    away = "" if participant["connected"] else ", away"
    return f"{participant['id']} ({participant['role']}{away})"
