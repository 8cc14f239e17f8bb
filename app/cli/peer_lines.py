"""What a peer in a terminal reads: a line for every frame. No input or output here."""

import json
import unicodedata
from collections.abc import Callable
from functools import singledispatchmethod
from itertools import count
from typing import NamedTuple
from uuid import uuid4

import msgspec

from app.cli.peer_content import CHAT, Said, read
from schemas.auth import AuthFailed, AuthSuccess, Pong
from schemas.connections import (
    ConnectionAccepted,
    ConnectionCancelled,
    ConnectionPending,
    ConnectionRejected,
    ConnectionRequestReceived,
)
from schemas.errors import Error, ErrorCode
from schemas.events import Envelope, Ok, ServerEvent
from schemas.messages import AddressedMessage, MessageAck
from schemas.notices import ServerNotice
from schemas.peers import PeerEntry, PeerRegistered, PeersList, PeerStatusUpdate, Profile
from schemas.sessions import Participant, SessionCreated, SessionEnded, Sessions, SessionUpdated

_ZERO_WIDTH_JOINER = "\u200d"
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_BLANKS = set("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")  # letters without a glyph
_JOINED = {"So", "Sk", "Mn"}  # emoji, skin tones, variation selectors
_KINDS: dict[str, type[ServerEvent]] = {
    kind.event: kind
    for kind in (
        *(AuthSuccess, AuthFailed, Pong, PeerRegistered, PeersList, PeerStatusUpdate, AddressedMessage, Error),
        *(ConnectionRequestReceived, ConnectionAccepted, ConnectionRejected, SessionCreated, SessionEnded),
        *(ConnectionPending, ConnectionCancelled, MessageAck, Ok, ServerNotice, SessionUpdated, Sessions),
    )
}
_CHANGES = {
    "joined": "joined",
    "left": "left",
    "kicked": "was sent away",
    "role": "has a new role",
    "host": "is the host now",
    "dropped": "lost the connection, and may come back",
    "returned": "is back",
}


class Session(msgspec.Struct):
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
    def tell(self, event: ServerEvent) -> str:
        """Return the line that tells of an event, empty if none is needed, and remember what it says."""
        raise NotImplementedError(event.event)

    @tell.register
    def _(self, event: AuthSuccess) -> str:
        self.capabilities = frozenset(event.capabilities or ())
        if event.recovered:
            self._was_lost = False
        return f"signed in as {event.user_id}"

    @tell.register
    def _(self, event: AuthFailed) -> str:
        return f"error {event.code}: {event.message}"

    @tell.register
    def _(self, event: Error) -> str:
        over = ""
        if event.code in {ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT} and self.last_sent_to:
            over = f" (the session with {self.last_sent_to.peer} is over)"
            self.forget(self.last_sent_to.id)
        if event.code is ErrorCode.LOG_FULL:
            return f"not kept: {event.message}"
        later = f" (again in {event.details.retry_after_ms} ms)" if event.details else ""
        return f"error {event.code}: {event.message}{over}{later}"

    @tell.register
    def _(self, event: Pong) -> str:
        return f"pong, server time {event.timestamp}"

    @tell.register
    def _(self, event: PeerRegistered) -> str:
        back = " again" if self._was_lost else ""
        going_on = "; kept sessions go on" if self._was_lost and self.sessions else ""
        self._was_lost = False
        return f"you are online{back} as {_described(event.id, event.profile)}{going_on}"

    @tell.register
    def _(self, event: PeersList) -> str:
        self.peers = {peer.id: peer.profile for peer in event.peers}
        return "online: " + (", ".join(map(_listed, event.peers)) or "nobody else")

    @tell.register
    def _(self, event: PeerStatusUpdate) -> str:
        self.peers[event.id] = event.profile
        return f"{_described(event.id, event.profile)} is {event.status}"

    @tell.register
    def _(self, event: ConnectionRequestReceived) -> str:
        self.requests[event.request_id] = event.sender.id
        if event.session_id is not None:
            self.invitations.add(event.request_id)
        what = "asks to connect" if event.session_id is None else f"invites you to a session as {event.role}"
        return f"{event.sender.id} {what}: /accept or /refuse"

    @tell.register
    def _(self, event: ConnectionPending) -> str:
        self.asked[event.request_id] = event.target_id
        return ""

    @tell.register
    def _(self, event: ConnectionCancelled) -> str:
        self.invitations.discard(event.request_id)
        who = self.requests.pop(event.request_id, "somebody")
        if event.reason == "expired":
            return f"the request of {who} has expired"
        return f"{who} is gone, and so is the request" if event.reason == "offline" else f"{who} takes the request back"

    @tell.register
    def _(self, event: ConnectionRejected) -> str:
        self.asked.pop(event.request_id, None)
        if event.reason is None:
            return f"{event.target_id} refuses to connect"
        return f"no connection with {event.target_id}: {event.reason}"

    @tell.register
    def _(self, event: ConnectionAccepted | SessionCreated) -> str:
        if isinstance(event, ConnectionAccepted):
            self.asked.pop(event.request_id, None)
        else:
            self._forget_requests(event.peer.id)
        self.current = session = self._session(event.session_id, (event.peer.id,))
        return f"connected with {session.peer}" + (f" (session {session.number})" if session.number > 1 else "")

    @tell.register
    def _(self, event: SessionEnded) -> str:
        session = self.forget(event.session_id)
        return f"the session with {session.peer if session else event.session_id} is over: {event.reason}"

    @tell.register
    def _(self, event: SessionUpdated) -> str:
        session = self._session(event.session_id, self._others(event.participants))
        session.others = self._others(event.participants) or session.others
        if event.change.kind == "joined" and len(event.participants) == 2:  # noqa: PLR2004 - "connected with" said so
            return ""
        if event.change.id == self.user and event.change.kind in {"dropped", "returned"}:
            return ""
        here = ", ".join(_described_in(participant) for participant in event.participants)
        return f"{event.change.id} {_CHANGES[event.change.kind]} (session {session.number}: {here})"

    @tell.register
    def _(self, event: Sessions) -> str:
        kept = {listed.session_id for listed in event.sessions}
        over = [self.forget(session_id) for session_id in list(self.sessions) if session_id not in kept]
        for listed in event.sessions:
            self._session(listed.session_id, self._others(listed.participants))
        gone = [f"the session with {session.peer} is over" for session in over if session]
        going = [f"the session with {session.peer} goes on" for session in self.sessions.values()]
        return "; ".join([*going, *gone])

    @tell.register
    def _(self, event: MessageAck) -> str:
        delivered = [f"delivered to {', '.join(event.delivered)}"] if event.delivered else []
        queued = [f"kept for {', '.join(event.queued)}"] if event.queued else []
        full = [f"not kept for {each}, who is away and has no room for more" for each in event.full or ()]
        return "; ".join([*delivered, *queued, *full]) or "nobody got that"

    @tell.register
    def _(self, _event: Ok) -> str:
        return ""

    @tell.register
    def _(self, event: ServerNotice) -> str:
        if event.kind == "draining":
            return f"the server restarts: it closes this connection within {event.closes_in_seconds:g} s"
        if event.kind == "slow":
            return "the server says that we read too slowly"
        return f"the token expires at {event.expires_at}; presenting a new one"

    @tell.register
    def _(self, event: AddressedMessage) -> str:
        session = self._session(event.session_id, (event.sender,))
        said = read_message(event)
        (self.enveloping.add if said.has_envelope else self.enveloping.discard)(event.sender)
        if self.has_agent and said.is_request:
            correlation_id = event.correlation_id or said.message_id
            self.jobs.append(Job(event.session_id, event.sender, correlation_id, said.text, said.has_envelope))
        where = "" if session == self.current else f" (session {session.number})"
        kind = "" if said.kind in {None, CHAT} else f" [{said.kind}]"
        kind += "" if event.to is None else f" (to {', '.join(event.to)})"
        return f"{event.sender}{where}{kind}: {said.text}"

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
        return tuple(participant.id for participant in participants if participant.id != self.user)

    def forget(self, session_id: str) -> Session | None:
        """Take a session for over, and talk in the one before it; returns it if it was known."""
        session = self.sessions.pop(session_id, None)
        if self.current == session:
            self.current = next(reversed(self.sessions.values()), None)
        return session


def read_frame(frame: str) -> ServerEvent | None:
    """Return what a frame of the server says; None for one that is unknown or not as the protocol has it."""
    try:
        try:
            return _decode(frame.encode())
        except msgspec.DecodeError:
            # An escaped half of a surrogate pair, which JavaScript sends, is JSON, but not to msgspec.
            return _decode(json.dumps(json.loads(frame), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def read_message(event: AddressedMessage) -> Said:
    """Return what a message says."""
    return read(bytes(event.content).decode(errors="replace"), event.type)


def printable(text: str) -> str:
    r"""Return text that cannot control a terminal, and hides nothing from a reader.

    Control and formatting characters become escapes such as `\n`; a joiner between two emoji is kept.
    """
    return "".join(_escaped(char) if _is_unprintable(text, at) else char for at, char in enumerate(text))


def _decode(text: bytes) -> ServerEvent | None:
    frame = msgspec.json.decode(text, type=Envelope)
    kind = _KINDS.get(frame.event)
    return None if kind is None else msgspec.json.decode(frame.data, type=kind)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _is_unprintable(text: str, at: int) -> bool:
    char = text[at]
    if char == _ZERO_WIDTH_JOINER:
        around = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
        return len(around) < 2 or any(unicodedata.category(each) not in _JOINED for each in around)  # noqa: PLR2004
    return unicodedata.category(char) in _UNPRINTABLE or char in _BLANKS


def _described(user: str, profile: Profile, *more: str) -> str:
    name = [] if profile.display_name == user else [profile.display_name]
    return f"{user} ({', '.join([*name, profile.ide, *more])})"


def _listed(peer: PeerEntry) -> str:
    role = [] if peer.profile.role == "guest" else [peer.profile.role]
    status = [] if peer.status == "online" else [peer.status]
    return _described(peer.id, peer.profile, *role, *status)


def _described_in(participant: Participant) -> str:
    away = "" if participant.connected else ", away"
    return f"{participant.id} ({participant.role}{away})"
