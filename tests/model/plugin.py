"""A simulated editor plugin: it keeps to docs/resume.md, and writes down all that it sees."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

from schemas.errors import CloseCode
from stores.model import User
from tests.model.network import Link

Happening = tuple[object, ...]


TELLS = {
    "MESSAGE_RECEIVED": ("sessionId", "from", "content"),
    "SESSION_UPDATED": ("sessionId", "hostId", "participants", "change.kind", "change.id"),
    "SESSION_ENDED": ("sessionId", "reason"),
    "SESSION_CREATED": ("sessionId", "peer.id"),
    "CONNECTION_REQUEST_RECEIVED": ("requestId", "from.id"),
    "CONNECTION_ACCEPTED": ("requestId", "sessionId", "peer.id"),
    "CONNECTION_REJECTED": ("requestId", "targetId", "reason"),
    "CONNECTION_CANCELLED": ("requestId", "reason"),
    "ERROR": ("code",),
    "AUTH_SUCCESS": ("recovered",),
    "MESSAGE_ACK": ("messageId", "delivered", "queued", "duplicate"),
    "SESSIONS": ("sessions",),
    "PEERS_LIST": ("peers",),
}


def happening(frame: dict[str, Any]) -> Happening:
    """Return an event or an answer as the reference says it."""
    name, data = frame["event"], frame["data"]
    return name, *(_short(_at(data, path.split("."))) for path in TELLS.get(name, ()))


def _at(data: Any, path: list[str]) -> Any:
    return _at(data.get(path[0]), path[1:]) if path else data


def _short(value: Any) -> Any:
    """Return a value with each session, peer or participant in it as that of it which matters here."""
    return tuple(map(_short_entry, value)) if isinstance(value, list) else value


def _short_entry(entry: Any) -> Any:
    if isinstance(entry, str):
        return entry
    kept = [entry[name] for name in ("sessionId", "hostId", "id", "role", "connected") if name in entry]
    return tuple(kept)


class Plugin:
    """One user's editor.

    `epochs` has what it saw, a list for each time that it was not `recovered`, under the token it then got to resume
    with; all under no token if it cannot.
    """

    def __init__(
        self, user: User, capabilities: list[str] | None, token: Callable[[User], str], now: Callable[[], float]
    ) -> None:
        self.user = user
        self.capabilities = capabilities
        self.link: Link | None = None
        self.is_registered = False
        self.resume_token = ""
        self.offset = 0
        self.epochs: dict[str, list[Happening]] = {"": []}
        self.epoch = ""
        self.unacknowledged: dict[str, dict[str, Any]] = {}
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.said_at: dict[str, float] = {}
        self.losses: list[float] = []
        self._has_list = False
        self.view: dict[str, tuple[str, str]] = {}
        self.answers: dict[tuple[int, int], Happening] = {}
        self.close_codes: list[int] = []
        self._token = token
        self._now = now
        self._refs = count(1)
        self._said: dict[int, str] = {}
        self._messages = count(1)
        self._reactions: dict[str, Callable[[dict[str, Any]], object]] = {
            "AUTH_SUCCESS": self._entered,
            "PEER_REGISTERED": self._registered,
            "PEERS_LIST": self._listed,
            "PEER_STATUS_UPDATE": self._saw,
            "MESSAGE_ACK": self._acknowledged,
        }

    @property
    def can_resume(self) -> bool:
        """Whether it asks for `resume`."""
        return "resume" in (self.capabilities or ())

    def open(self, link: Link) -> None:
        """Go on over a new connection; nothing gets through the old one any more, if there is any."""
        if self.link is not None:
            self.link.break_off(is_noticed=False)
        self.link = link
        self.is_registered = False
        resume = {"token": self.resume_token, "offset": self.offset} if self.resume_token else None
        data = {"token": self._token(self.user), "capabilities": self.capabilities, "resume": resume}
        self.send("AUTH", **data)

    def send(self, event: str, **data: object) -> None:
        """Send an event, if there is a connection."""
        if self.link is not None:
            ref = next(self._refs)
            if event == "SEND_MESSAGE":
                self._said[ref] = str(data["messageId"])
            self.link.send(json.dumps({"event": event, "data": data, "ref": ref}).encode())

    def say(self, session_id: str, to: list[str] | None = None, size: int = 0) -> None:
        """Send a message, each with an identifier of its own that is its content, too, filled up to this size."""
        message_id = f"{self.user.org}/{self.user.id}/{next(self._messages)}"
        data = {"sessionId": session_id, "content": message_id.ljust(size), "messageId": message_id, "to": to}
        if "acks" in (self.capabilities or ()):
            self.unacknowledged[message_id] = data
            self.said_at[message_id] = self._now()
        self.send("SEND_MESSAGE", **data)

    def repeat(self) -> None:
        """Send again what is unacknowledged, in order."""
        for data in list(self.unacknowledged.values()):
            self.send("SEND_MESSAGE", **data)

    def lose(self) -> None:
        """Have no connection any more."""
        self.link, self.is_registered = None, False

    def leave(self) -> None:
        """Close the editor: nothing of what came is waited for, nothing of what was sent is sent again."""
        if self.link is not None:
            self.link.say_goodbye()
        self.lose()
        self.resume_token = ""
        self.losses.append(self._now())
        self.unacknowledged.clear()

    def received(self, link: Link, frame: bytes) -> None:
        """See `End`."""
        if link is not self.link:
            return
        members = json.loads(frame)
        offset, ref = members.get("offset"), members.get("ref")
        if ref is not None:
            assert (link.number, ref) not in self.answers, f"{self.user} was answered twice: {members}"
            self.answers[link.number, ref] = happening(members)
        if offset is not None and offset <= self.offset:
            raise AssertionError(f"{self.user} got {offset} after {self.offset}")
        self._handle(members)
        if offset is not None:
            assert offset == self.offset + 1, f"{self.user} missed {self.offset + 1}, and got {offset}"
            self.offset = offset

    def closed(self, link: Link, code: int) -> None:
        """See `End`."""
        self.close_codes.append(code)
        if link is self.link:
            self.lose()
            if code == CloseCode.UNAUTHENTICATED:
                raise AssertionError(f"{self.user} has good tokens only")

    def _handle(self, frame: dict[str, Any]) -> None:
        name, data = frame["event"], frame["data"]
        reaction: Callable[[dict[str, Any]], object] | None = self._reactions.get(name)
        if reaction is not None:
            reaction(data)
        elif name == "ERROR":
            self.unacknowledged.pop(self._said.get(frame.get("ref", 0), ""), None)
        elif name in TELLS and name != "SESSIONS":
            assert ("offset" in frame) == self.can_resume, frame
            self.epochs[self.epoch].append(happening(frame))

    def _entered(self, data: dict[str, Any]) -> None:
        if self.is_registered:
            return  # a token renewed
        if "resume" in data:
            self.resume_token = data["resume"]["token"]
        if data.get("recovered"):
            self.is_registered = True
            self.send("PING", offset=self.offset)
            if not self._has_list:
                self.send("DISCOVER_PEERS")
            self.repeat()
            return
        self._has_list = False
        self.losses.append(self._now())
        if self.can_resume:
            self.offset, self.epoch = 0, self.resume_token
            self.epochs[self.epoch] = []
        self.send("PEER_REGISTER", displayName=f"{self.user.id} {self.user.org}")
        self.send("DISCOVER_PEERS")

    def _registered(self, _data: dict[str, Any]) -> None:
        if not self.is_registered:
            self.is_registered = True
            self.repeat()

    def _acknowledged(self, data: dict[str, Any]) -> None:
        self.unacknowledged.pop(data["messageId"], None)
        self.acknowledged.setdefault(data["messageId"], data)

    def _listed(self, data: dict[str, Any]) -> None:
        self._has_list = True
        self.view = {each["id"]: (each["status"], each["profile"]["displayName"]) for each in data["peers"]}

    def _saw(self, data: dict[str, Any]) -> None:
        if data["status"] == "offline":
            self.view.pop(data["id"], None)
        else:
            self.view[data["id"]] = data["status"], data["profile"]["displayName"]
