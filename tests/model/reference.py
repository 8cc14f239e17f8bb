"""The reference: what docs/protocol.md says of users, requests, sessions and what is kept for whom, as plain as can be.

It is told of each frame as it arrives at the server, of each socket lost, and of each tick, and says what is to happen.
It knows one happening at a time, no sockets' bytes, no presence windows, no stores.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from stores.model import User
from tests.model.plugin import Happening

SESSION_GRACE, RESUME_GRACE, REQUEST_LIFE, REPLAY_EVENTS, LEEWAY = 30.0, 120.0, 30.0, 8, 5.0


@dataclass
class Kept:
    """What is kept for a user: of one who resumes, all that has happened in this epoch, `first` being the oldest kept.

    `epoch` and `first` count from 1; `sent` is what the last socket was handed before it was lost.
    """

    is_numbered: bool
    epoch: list[Happening] = field(default_factory=list)
    first: int = 1
    sent: int = 0
    tokens: list[str] = field(default_factory=list)
    is_live: bool = False
    is_broken: bool = False
    socket: int = 0
    told: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.epoch) - self.first + 1


@dataclass
class Socket:
    """A connection: how far it has come (1 authenticated, 2 registered), and when its token runs out."""

    user: User
    state: int = 1
    expires_at: float = 0.0
    was_heard: bool = False


@dataclass
class Person:
    """A registered user; `lapses_at` is when it is given up, `away_as` the how manieth to go it was."""

    status: str = "online"
    is_hidden: bool = False
    lapses_at: float | None = None
    is_resumable: bool = False
    away_as: int = 0

    @property
    def is_present(self) -> bool:
        return self.lapses_at is None or self.is_resumable


@dataclass
class Request:
    """A connection request, or an invitation."""

    requester: User
    target: User
    expires_at: float
    session_id: str | None = None
    role: str | None = None


@dataclass
class Session:
    """A session; participants in the order of joining, and for each the how manieth joining of all it was."""

    host: User
    roles: dict[User, str]
    joined: dict[User, int]


class Refusal(Exception):  # noqa: N818 - it is an answer
    """The code of an error."""


class Reference:
    """See the module.

    `log` has what is to be seen by each user, by epoch: the first token to resume with, or nothing for who cannot.
    """

    def __init__(self, now: Callable[[], float], capabilities: dict[User, list[str] | None]) -> None:
        self._now = now
        self._capabilities = capabilities
        self._ids = {"req_": 0, "ses_": 0, "res_": 0}
        self._order = count(1)
        self.log: dict[User, dict[str, list[Happening]]] = {user: {"": []} for user in capabilities}
        self.sockets: dict[int, Socket] = {}
        self.holders: dict[User, int] = {}
        self.people: dict[User, Person] = {}
        self.links: dict[User, int] = {}
        self.kept: dict[User, Kept] = {}
        self.requests: dict[str, Request] = {}
        self.sessions: dict[str, Session] = {}
        self.sent: dict[tuple[str, User, str], tuple[float, frozenset[User]]] = {}
        self.answers: dict[tuple[int, int], Happening] = {}
        self._overflowing: list[User] = []
        self._refused = False

    def arrived(self, number: int, frame: dict[str, Any]) -> None:
        """Handle a client's event."""
        socket = self.sockets.get(number)
        if socket is not None and not socket.was_heard:
            socket.was_heard = True
            if socket.user in self.kept:
                del self.kept[socket.user].tokens[:-1]
        event, data = frame["event"], frame["data"]
        try:
            answer = self._auth(number, data) if event == "AUTH" else self._handle(event, number, data)
        except Refusal as refusal:
            answer = "ERROR", *refusal.args
        self.answers[number, frame["ref"]] = answer
        self._settle_overflow()

    def lost(self, number: int) -> None:
        """Take note that the server lost, or closed, a socket."""
        socket = self.sockets.get(number)
        if socket is not None and self.links.get(socket.user) == number:
            self._detach(socket.user)

    def ended(self, number: int, *, is_leaving: bool) -> None:
        """Do what follows."""
        socket = self.sockets.pop(number, None)
        if socket is None or self.holders.get(socket.user) != number:
            return
        user = socket.user
        del self.holders[user]
        person = self.people.get(user)
        if person is None:
            self._forget(user)
        elif is_leaving:
            self._give_up(user, "left")
        elif person.lapses_at is None:
            self._drop(user, person)
        elif person.status != "offline":
            person.status, person.away_as = "offline", next(self._order)
        self._settle_overflow()

    def tick(self) -> None:
        """Do what has become due."""
        now = self._now()
        for request_id, request in list(self.requests.items()):
            if request.expires_at <= now:
                self._reject(request_id, "expired")
                self._tell_cancelled(request_id, request.target, "expired")
        lapsed = [user for user, each in self.people.items() if each.lapses_at is not None and each.lapses_at <= now]
        lapsed.sort(key=lambda user: self.people[user].away_as)
        for user in lapsed:
            del self.people[user]
        for user in lapsed:
            self._give_up(user, "timeout")
        self._settle_overflow()

    def visible_to(self, user: User) -> dict[str, tuple[str, str]]:
        """Return whom a user can see, with status and name."""
        return {
            other.id: (person.status, f"{other.id} {other.org}")
            for other, person in self.people.items()
            if other.org == user.org and other != user and person.is_present and not person.is_hidden
        }

    def sessions_of(self, user: User) -> dict[str, Session]:
        """Return the sessions a user is in, in the order of joining."""
        mine = [(key, session) for key, session in self.sessions.items() if user in session.roles]
        return dict(sorted(mine, key=lambda entry: entry[1].joined[user]))

    def _handle(self, event: str, number: int, data: dict[str, Any]) -> Happening:
        socket = self.sockets[number]
        if socket.state == 1 and event not in {"PING", "PEER_REGISTER"}:
            raise Refusal("ERR_2006")
        spoken = self._capabilities[socket.user] or ()
        if (event.startswith("SESSION_") or event == "CONNECTION_CANCEL") and "sessions" not in spoken:
            raise Refusal("ERR_1004")
        handle: Callable[..., Happening | None] = getattr(self, f"_on_{event.lower()}")
        return handle(socket.user, data, number) or ("OK",)

    def _auth(self, number: int, data: dict[str, Any]) -> Happening:
        user, expires_at = data["token"]
        if number in self.sockets:
            self.sockets[number].expires_at = expires_at
            return "AUTH_SUCCESS", None
        self._supersede(user)
        self.holders[user], self.sockets[number] = number, Socket(user, expires_at=expires_at)
        person, kept = self.people.get(user), self.kept.get(user)
        was_present = person is not None and person.is_present
        if was_present and kept is not None and self._can_resume(kept, data.get("resume")):
            self._recover(user, number, data["resume"])
            return "AUTH_SUCCESS", True
        self._admit(user, number)
        if person is not None and was_present:
            was_live = person.lapses_at is None
            person.lapses_at, person.is_resumable = self._now() + SESSION_GRACE, False
            person.away_as = next(self._order)
            if was_live:
                self._tell_all(user, "dropped")
        return "AUTH_SUCCESS", False if self._can(user, "resume") else None

    def _supersede(self, user: User) -> None:
        old = self.holders.get(user)
        if old is not None:
            del self.sockets[old]
            if self.links.get(user) == old:
                self._detach(user)

    def _can_resume(self, kept: Kept, resume: dict[str, Any] | None) -> bool:
        return (
            resume is not None
            and resume["token"] in kept.tokens
            and not kept.is_broken
            and kept.first - 1 <= resume["offset"] <= kept.sent
        )

    def _recover(self, user: User, number: int, resume: dict[str, Any]) -> None:
        kept, person = self.kept[user], self.people[user]
        kept.sent, kept.first, kept.socket = resume["offset"], resume["offset"] + 1, number
        others = [each for each in kept.tokens if each != resume["token"]]
        kept.tokens = [*others[-2:], resume["token"], self._id("res_")]
        was_away = person.lapses_at is not None
        person.lapses_at, person.is_resumable = None, False
        self._attach(user, number)
        if was_away:
            self._tell_all(user, "returned")

    def _admit(self, user: User, number: int) -> None:
        if self._can(user, "resume"):
            token = self._id("res_")
            self.log[user][token] = []
            self.kept[user] = Kept(True, self.log[user][token], tokens=[token], socket=number)
        elif user in self.people:
            self.kept.setdefault(user, Kept(False))

    def _on_peer_register(self, user: User, data: dict[str, Any], number: int) -> Happening:
        before = self.people.get(user)
        person = self.people.setdefault(user, Person())
        if person.status == "offline":
            person.status = "online"
        was_away = before is not None and before.lapses_at is not None
        person.lapses_at, person.is_resumable = None, False
        person.is_hidden = data.get("visibility") == "hidden"
        self._attach(user, number)
        if was_away:
            self._tell_all(user, "returned")
        return ("PEER_REGISTERED",)

    def _on_ping(self, user: User, data: dict[str, Any], number: int) -> Happening:
        kept = self.kept.get(user)
        if data.get("offset") and kept is not None and self.links.get(user) == number:
            kept.first = max(kept.first, min(data["offset"], len(kept.epoch)) + 1)
        return ("PONG",)

    def _on_peer_status(self, user: User, data: dict[str, Any], _number: int) -> None:
        self.people[user].status = data["status"]

    def _on_discover_peers(self, user: User, _data: dict[str, Any], _number: int) -> Happening:
        return "PEERS_LIST", tuple((each,) for each in self.visible_to(user))

    def _on_connection_request(self, user: User, data: dict[str, Any], _number: int) -> Happening:
        target = User(data["targetId"], user.org)
        for request_id, request in self.requests.items():
            is_crossing = (request.requester, request.target, request.session_id) == (target, user, None)
            if is_crossing and self._can(user, "sessions") and self._can(target, "sessions"):
                return self._accept(request_id)
        return self._ask(user, target)

    def _on_connection_response(self, user: User, data: dict[str, Any], _number: int) -> Happening | None:
        request = self.requests.get(data["requestId"])
        if request is None or request.requester.org != user.org:
            raise Refusal("ERR_6001")
        if request.target != user:
            raise Refusal("ERR_6004")
        if not data["accepted"]:
            self._reject(data["requestId"], None)
            return None
        return self._accept(data["requestId"])

    def _accept(self, request_id: str) -> Happening:
        request = self.requests.pop(request_id)
        user = request.target
        session_id = self._make(request) if request.session_id is None else self._join(request.session_id, request)
        accepted = "CONNECTION_ACCEPTED", request_id, session_id, user.id
        self._send([request.requester], accepted)
        created = "SESSION_CREATED", session_id, request.requester.id
        self._send([user], created)
        self._tell(session_id, "joined", user)
        return created

    def _on_connection_cancel(self, user: User, data: dict[str, Any], _number: int) -> None:
        request = self.requests.get(data["requestId"])
        if request is None or user not in {request.requester, request.target}:
            raise Refusal("ERR_6001")
        if user == request.target:
            raise Refusal("ERR_1004")
        self._cancel([data["requestId"]])

    def _on_session_invite(self, user: User, data: dict[str, Any], _number: int) -> Happening:
        session, target = self._as_host(user, data), User(data["targetId"], user.org)
        if target in session.roles:
            raise Refusal("ERR_9003")
        return self._ask(user, target, data["sessionId"], data.get("role") or "guest")

    def _on_session_leave(self, user: User, data: dict[str, Any], _number: int) -> None:
        self._participant(user, data)
        self._clean_up(data["sessionId"], user, "left", "left")

    def _on_session_kick(self, user: User, data: dict[str, Any], _number: int) -> None:
        _, target = self._as_host_of(user, data)
        self._clean_up(
            data["sessionId"], target, "kicked", "ended", lambda: self._end(data["sessionId"], [target], "kicked")
        )

    def _on_session_role(self, user: User, data: dict[str, Any], _number: int) -> None:
        session, target = self._as_host_of(user, data)
        session.roles[target] = data["role"]
        self._tell(data["sessionId"], "role", target)

    def _on_session_handover(self, user: User, data: dict[str, Any], _number: int) -> None:
        session, target = self._as_host_of(user, data)
        self._crown(data["sessionId"], session, target)
        self._tell(data["sessionId"], "host", target)

    def _on_session_end(self, user: User, data: dict[str, Any], _number: int) -> None:
        session = self._as_host(user, data)
        self._close(data["sessionId"])
        self._end(data["sessionId"], session.roles, "ended")

    def _on_session_list(self, user: User, _data: dict[str, Any], _number: int) -> Happening:
        return "SESSIONS", tuple((key, session.host.id) for key, session in self.sessions_of(user).items())

    def _on_send_message(self, user: User, data: dict[str, Any], _number: int) -> Happening | None:
        session = self._participant(user, data)
        if session.roles[user] == "observer":
            raise Refusal("ERR_1004")
        receivers = [other for other in session.roles if other != user]
        if data.get("to") is not None:
            receivers = self._chosen(user, data["to"], session)
        message = "MESSAGE_RECEIVED", data["sessionId"], user.id, data["content"]
        if not self._can(user, "acks"):
            self._send(receivers, message)
            if self._refused:
                raise Refusal("ERR_4004")
            return None
        key = data["sessionId"], user, data["messageId"]
        at, having = self.sent.get(key, (self._now(), frozenset()))
        if self._now() - at >= 300:
            at, having = self._now(), frozenset()
        delivered, queued = list[str](), list[str]()
        for receiver in receivers:
            if receiver in having:
                (delivered if receiver in self.links else queued).append(receiver.id)
            else:
                there, kept = self._send([receiver], message)
                delivered += there
                queued += kept
        got = {receiver for receiver in receivers if receiver.id in (*delivered, *queued)}
        self.sent[key] = at, having | got
        is_repeated = bool(having.intersection(receivers)) or None
        return "MESSAGE_ACK", data["messageId"], tuple(delivered), tuple(queued), is_repeated

    def _chosen(self, user: User, ids: list[str], session: Session) -> list[User]:
        users = [User(each, user.org) for each in dict.fromkeys(ids)]
        if not users or user in users:
            raise Refusal("ERR_9003")
        if any(each not in session.roles for each in users):
            raise Refusal("ERR_3008")
        return users

    def _ask(self, user: User, target: User, session_id: str | None = None, role: str | None = None) -> Happening:
        if target == user:
            raise Refusal("ERR_6002")
        if target not in self.people:
            raise Refusal("ERR_2001")
        if not self.people[target].is_present:
            raise Refusal("ERR_4003")
        request_id = self._id("req_")
        self.requests[request_id] = Request(user, target, self._now() + REQUEST_LIFE, session_id, role)
        self._send([target], ("CONNECTION_REQUEST_RECEIVED", request_id, user.id))
        return ("CONNECTION_PENDING",)

    def _make(self, request: Request) -> str:
        session_id = self._id("ses_")
        order = next(self._order)
        roles = {request.requester: "host", request.target: "guest"}
        self.sessions[session_id] = Session(request.requester, roles, dict.fromkeys(roles, order))
        return session_id

    def _join(self, session_id: str, invitation: Request) -> str:
        session, user = self.sessions[session_id], invitation.target
        if user in session.roles:
            raise Refusal("ERR_6001")
        session.roles[user], session.joined[user] = invitation.role or "guest", next(self._order)
        self._cancel([k for k, each in self.requests.items() if each.target == user and each.session_id == session_id])
        return session_id

    def _participant(self, user: User, data: dict[str, Any]) -> Session:
        session = self.sessions.get(data["sessionId"])
        if session is None:
            raise Refusal("ERR_3001")
        if user not in session.roles:
            raise Refusal("ERR_3008")
        return session

    def _as_host(self, user: User, data: dict[str, Any]) -> Session:
        session = self._participant(user, data)
        if session.host != user:
            raise Refusal("ERR_1004")
        return session

    def _as_host_of(self, user: User, data: dict[str, Any]) -> tuple[Session, User]:
        session, target = self._as_host(user, data), User(data["targetId"], user.org)
        if target == user:
            raise Refusal("ERR_9003")
        if target not in session.roles:
            raise Refusal("ERR_3008")
        return session, target

    def _clean_up(
        self, session_id: str, user: User, kind: str, reason: str, first: Callable[[], object] = lambda: None
    ) -> None:
        """Take a user out of a session; where one is left alone, it is over, for this reason."""
        session = self.sessions[session_id]
        del session.roles[user]
        if len(session.roles) == 1:
            self._close(session_id)
            first()
            self._end(session_id, session.roles, reason)
            return
        was_host = session.host == user
        if was_host:
            there = [other for other in session.roles if other in self.people] or list(session.roles)
            self._crown(session_id, session, next((each for each in there if session.roles[each] == "guest"), there[0]))
        first()
        self._tell(session_id, kind, user)
        if was_host:
            self._tell(session_id, "host", session.host)

    def _crown(self, session_id: str, session: Session, host: User) -> None:
        if session.host in session.roles:
            session.roles[session.host] = "guest"
        session.host, session.roles[host] = host, "host"
        self._cancel([key for key, each in self.requests.items() if each.session_id == session_id])

    def _close(self, session_id: str) -> None:
        del self.sessions[session_id]
        for key in [key for key in self.sent if key[0] == session_id]:
            del self.sent[key]
        self._cancel([key for key, each in self.requests.items() if each.session_id == session_id])

    def _end(self, session_id: str, users: Iterable[User], reason: str) -> None:
        self._send(list(users), ("SESSION_ENDED", session_id, reason))

    def _reject(self, request_id: str, reason: str | None) -> None:
        request = self.requests.pop(request_id)
        self._send([request.requester], ("CONNECTION_REJECTED", request_id, request.target.id, reason))

    def _cancel(self, request_ids: Sequence[str], reason: str = "cancelled") -> None:
        for request_id in request_ids:
            self._tell_cancelled(request_id, self.requests.pop(request_id).target, reason)

    def _tell_cancelled(self, request_id: str, target: User, reason: str) -> None:
        if self._can(target, "sessions"):
            self._send([target], ("CONNECTION_CANCELLED", request_id, reason))

    def _tell_all(self, user: User, kind: str) -> None:
        for session_id in self.sessions_of(user):
            self._tell(session_id, kind, user)

    def _tell(self, session_id: str, kind: str, user: User) -> None:
        session = self.sessions[session_id]
        who = tuple(
            (each.id, role, self.people[each].lapses_at is None)
            for each, role in session.roles.items()
            if each in self.people
        )
        receivers = [each for each in session.roles if self._can(each, "sessions")]
        self._send(receivers, ("SESSION_UPDATED", session_id, session.host.id, who, kind, user.id))

    def _drop(self, user: User, person: Person) -> None:
        person.is_resumable = self._can(user, "resume")
        person.lapses_at = self._now() + (RESUME_GRACE if person.is_resumable else SESSION_GRACE)
        person.away_as = next(self._order)
        if not person.is_resumable:
            person.status = "offline"
        self._tell_all(user, "dropped")

    def _give_up(self, user: User, reason: str) -> None:
        self.people.pop(user, None)
        self._forget(user)
        for request_id, request in list(self.requests.items()):
            if request.requester == user:
                self._cancel([request_id], "offline")
            elif request.target == user:
                self._reject(request_id, "offline")
        for session_id in self.sessions_of(user):
            self._clean_up(session_id, user, "left", reason)

    def _settle_overflow(self) -> None:
        while self._overflowing:
            user = self._overflowing.pop(0)
            person = self.people.get(user)
            if person is not None and person.lapses_at is not None and not person.is_resumable:
                self._give_up(user, "overflow")

    def _send(self, users: Sequence[User], event: Happening) -> tuple[list[str], list[str]]:
        """Hand over or keep; return for whom it was which."""
        delivered, queued = [], []
        self._refused = False
        for user in users:
            kept = self.kept.get(user)
            if kept is not None and kept.is_numbered and self._is_left_out(kept, event, is_live=user in self.links):
                continue
            if user in self.links:
                if kept is None:
                    self.log[user][""].append(event)
                else:
                    self._number(kept, event)
                delivered.append(user.id)
            elif kept is not None and not kept.is_broken and self._keep(user, kept, event):
                queued.append(user.id)
        return delivered, queued

    def _is_left_out(self, kept: Kept, event: Happening, *, is_live: bool) -> bool:
        """Whether a request is told of later or not at all, or a message has no room."""
        match event[0]:
            case "CONNECTION_REQUEST_RECEIVED":
                if not is_live or event[1] in kept.told:
                    return True
                kept.told.add(str(event[1]))
            case "CONNECTION_CANCELLED":
                if event[1] not in kept.told:
                    return True
                kept.told.discard(str(event[1]))
            case "MESSAGE_RECEIVED" if not is_live and len(kept) >= REPLAY_EVENTS:
                self._refused = True
                return True
        return False

    def _number(self, kept: Kept, event: Happening) -> None:
        kept.epoch.append(event)
        if len(kept) > REPLAY_EVENTS:
            kept.first += 1

    def _keep(self, user: User, kept: Kept, event: Happening) -> bool:
        kept.epoch.append(event)
        if kept.is_numbered or len(kept) <= REPLAY_EVENTS:
            return True
        self._overflowing.append(user)
        del self.kept[user]
        return False

    def _attach(self, user: User, number: int) -> None:
        self.sockets[number].state = 2
        self.links[user] = number
        kept = self.kept.get(user)
        if kept is not None and kept.is_numbered:
            kept.is_live = True
            for request_id, request in self.requests.items():
                if request.target == user and request.requester in self.people:
                    self._send([user], ("CONNECTION_REQUEST_RECEIVED", request_id, request.requester.id))
        elif kept is not None:
            self.log[user][""].extend(kept.epoch)
            del self.kept[user]

    def _detach(self, user: User) -> None:
        self.links.pop(user, None)
        kept = self.kept.setdefault(user, Kept(False))
        if kept.is_live:
            kept.is_live, kept.sent = False, len(kept.epoch)

    def _forget(self, user: User) -> None:
        self.links.pop(user, None)
        kept = self.kept.get(user)
        if kept is not None and kept.is_numbered and kept.socket in self.sockets:
            kept.epoch.clear()
            kept.first, kept.sent, kept.is_broken = 1, 0, False
        else:
            self.kept.pop(user, None)

    def _can(self, user: User, capability: str) -> bool:
        return capability in (self._capabilities[user] or ())

    def _id(self, prefix: str) -> str:
        self._ids[prefix] += 1
        return f"{prefix}{self._ids[prefix]}"
