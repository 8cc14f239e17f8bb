"""What a peer in a terminal reads: a line for every frame. No input or output here."""

import json
import unicodedata
from functools import singledispatchmethod
from itertools import count
from typing import NamedTuple

import msgspec

from schemas.auth import AuthFailed, AuthSuccess, Pong
from schemas.connections import ConnectionAccepted, ConnectionRejected, ConnectionRequestReceived
from schemas.errors import Error, ErrorCode
from schemas.events import Envelope, ServerEvent
from schemas.messages import MessageReceived
from schemas.peers import PeerEntry, PeerRegistered, PeersList, PeerStatusUpdate, Profile
from schemas.sessions import SessionCreated, SessionEnded

_ZERO_WIDTH_JOINER = "\u200d"  # it makes one emoji of several
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KINDS: dict[str, type[ServerEvent]] = {
    kind.event: kind
    for kind in (
        *(AuthSuccess, AuthFailed, Pong, PeerRegistered, PeersList, PeerStatusUpdate, MessageReceived, Error),
        *(ConnectionRequestReceived, ConnectionAccepted, ConnectionRejected, SessionCreated, SessionEnded),
    )
}


class Session(NamedTuple):
    """A session with a peer; `number` is what a person calls it by."""

    number: int
    id: str
    peer: str


class Conversation:
    """What one peer knows: who is there, who asks to connect, its sessions."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.is_connected = False
        self.peers: dict[str, Profile] = {}
        self.requests: dict[str, str] = {}
        self.sessions: dict[str, Session] = {}
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
        """Return the line that tells of an event, and remember what it says."""
        raise NotImplementedError(event.event)

    @tell.register
    def _(self, event: AuthSuccess) -> str:
        return f"signed in as {event.user_id}"

    @tell.register
    def _(self, event: AuthFailed) -> str:
        return f"error {event.code}: {event.message}"

    @tell.register
    def _(self, event: Error) -> str:
        over = ""
        if event.code in {ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT} and self.last_sent_to:
            over = f" (the session with {self.last_sent_to.peer} is over)"
            self._forget(self.last_sent_to.id)
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
        return f"{event.sender.id} asks to connect: /accept or /refuse"

    @tell.register
    def _(self, event: ConnectionRejected) -> str:
        if event.reason is None:
            return f"{event.target_id} refuses to connect"
        return f"no connection with {event.target_id}: {event.reason}"

    @tell.register
    def _(self, event: ConnectionAccepted | SessionCreated) -> str:
        self.current = session = self._session(event.session_id, event.peer.id)
        return f"connected with {session.peer}" + (f" (session {session.number})" if session.number > 1 else "")

    @tell.register
    def _(self, event: SessionEnded) -> str:
        session = self._forget(event.session_id)
        return f"the session with {session.peer if session else event.session_id} is over: {event.reason}"

    @tell.register
    def _(self, event: MessageReceived) -> str:
        session = self._session(event.session_id, event.sender)
        where = "" if session == self.current else f" (session {session.number})"
        kind = "" if event.type in {None, "chat"} else f" [{event.type}]"
        return f"{event.sender}{where}{kind}: {content_text(bytes(event.content).decode())}"

    def _session(self, session_id: str, peer: str) -> Session:
        """Return a session; one that this process did not see begin goes on from an earlier one."""
        session = self.sessions.get(session_id) or Session(next(self._numbers), session_id, peer)
        self.sessions[session_id] = session
        self.current = self.current or session
        return session

    def _forget(self, session_id: str) -> Session | None:
        session = self.sessions.pop(session_id, None)
        if self.current == session:
            self.current = next(reversed(self.sessions.values()), None)
        return session


def read_event(frame: str) -> ServerEvent | None:
    """Return the event of a frame, or None for one that is unknown or not as the protocol has it."""
    try:
        try:
            return _decode(frame.encode())
        except msgspec.DecodeError:
            # An escaped half of a surrogate pair, which JavaScript sends, is JSON, but not to msgspec.
            return _decode(json.dumps(json.loads(frame), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def content_text(content: str) -> str:
    """Return a message's content for people: a string as it is, other JSON compactly, its numbers as they were sent.

    Raises `ValueError` or `RecursionError` for what is not JSON.
    """
    if content.lstrip().startswith('"'):
        return str(json.loads(content))
    try:
        return msgspec.json.format(content, indent=-1)
    except msgspec.DecodeError:
        return json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":"))


def printable(text: str) -> str:
    r"""Return text that does nothing to a terminal: control and formatting characters become escapes such as `\n`."""
    return "".join(char.encode("unicode_escape").decode() if _is_unprintable(char) else char for char in text)


def _decode(frame: bytes) -> ServerEvent | None:
    envelope = msgspec.json.decode(frame, type=Envelope)
    kind = _KINDS.get(envelope.event)
    return None if kind is None else msgspec.json.decode(envelope.data, type=kind)


def _is_unprintable(char: str) -> bool:
    return unicodedata.category(char) in _UNPRINTABLE and char != _ZERO_WIDTH_JOINER


def _described(user: str, profile: Profile, *more: str) -> str:
    name = [] if profile.display_name == user else [profile.display_name]
    return f"{user} ({', '.join([*name, profile.ide, *more])})"


def _listed(peer: PeerEntry) -> str:
    role = [] if peer.profile.role == "guest" else [peer.profile.role]
    status = [] if peer.status == "online" else [peer.status]
    return _described(peer.id, peer.profile, *role, *status)
