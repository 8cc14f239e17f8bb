"""One client in a soak: what it knows, and what it makes of each event that comes."""

from collections.abc import Callable
from itertools import count

import anyio
import msgspec
from msgspec import Struct

from peersync.frames import encode
from schemas.capabilities import CAPABILITIES
from schemas.errors import ErrorCode
from tests.load.soak.checks import Letter
from tests.load.soak.events import KEPT, Data, Event, Named, decode
from tests.load.soak.world import EXPECTED, PATIENCE, World, org_of

SPOKEN: tuple[tuple[str, ...] | None, ...] = (
    CAPABILITIES,
    CAPABILITIES,
    ("resume", "acks"),
    ("acks", "sessions"),
    None,
)
"""What a client asks for, drawn whenever it starts over; None is a client of version 1."""
HIDDEN_SHARE, METADATA_SHARE = 0.1, 0.3
_ALL_EXPECTED = set().union(*EXPECTED.values())


class Room(Struct):
    """A session as a peer knows it; a client of version 1 is told of one other participant only."""

    host: str
    others: set[str]


class Unanswered(Struct):
    """A message that waits for its acknowledgement, and when it was first sent."""

    session: str
    frame: bytes
    sent_at: int
    is_repeated: bool = False


class Peer:
    """A user's client over all its connections. `send` puts a frame on the present one."""

    def __init__(self, user: str, token: str, world: World, send: Callable[[bytes], None]) -> None:
        self.user = user
        self.token = token
        self.world = world
        self.inbox = world.add(user)
        self.capabilities: tuple[str, ...] | None = None
        self.rooms: dict[str, Room] = {}
        self.requests: list[str] = []
        self.asked: list[str] = []
        self.known: list[str] = []
        self.unanswered: dict[int, Unanswered] = {}
        self.resume_token: str | None = None
        self.is_registered = False
        self.may_expect_recovery = False
        self.entered = anyio.Event()
        self.ponged = anyio.Event()
        self._put = send
        self._numbers = count(1)
        self._is_informed = False
        self._pinged_at: int | None = None
        self._pinged_when = 0.0
        self._takers: dict[str, Callable[[Event], None]] = {
            "AUTH_SUCCESS": self._authenticated,
            "PEER_REGISTERED": self._registered,
            "PEERS_LIST": self._listed,
            "PEER_STATUS_UPDATE": self._updated,
            "CONNECTION_REQUEST_RECEIVED": self._requested,
            "CONNECTION_PENDING": self._pending,
            "CONNECTION_ACCEPTED": self._joined,
            "SESSION_CREATED": self._joined,
            "SESSION_UPDATED": self._changed,
            "SESSION_ENDED": self._left,
            "SESSIONS": self._told_sessions,
            "MESSAGE_RECEIVED": self._received,
            "MESSAGE_ACK": self._acknowledged,
            "PONG": self._ponged,
            "OK": self._done,
            "ERROR": self._refused,
        }

    def speaks(self, capability: str) -> bool:
        """Whether the client asked for a capability."""
        return self.capabilities is not None and capability in self.capabilities

    def send(self, event: str, about: str = "", **data: object) -> None:
        """Send an event; a client of version 1.1 gives it a `ref` by which its answer is known."""
        ref = None if self.capabilities is None else f"{event}|{about}"
        self._put(_frame(event, ref=ref, **data).encode())

    def introduce(self) -> None:
        """Begin a connection: resume if there is a token, else start over, as what is drawn now."""
        resume = None
        if self.resume_token is None:
            self.capabilities = self.world.random.choice(SPOKEN)
            self.inbox.start_over(is_resumable=False)
        else:
            resume = {"token": self.resume_token, "offset": self.inbox.offset}
        self.entered, self._pinged_at = anyio.Event(), None
        self.send("AUTH", token=self.token, capabilities=self.capabilities, resume=resume)

    def register(self) -> None:
        """Register, now and then hidden."""
        dice = self.world.random
        name = f"{self.user} {dice.choice(('Ann', 'Bob', 'Cat'))}"
        visibility = "hidden" if dice.random() < HIDDEN_SHARE else None
        metadata = {"os": "x" * dice.randrange(100)} if dice.random() < METADATA_SHARE else None
        self.send("PEER_REGISTER", displayName=name, ide="vim", metadata=metadata, visibility=visibility)

    def say(self, session: str, padding: int, to: list[str] | None) -> None:
        """Send a message, kept until it is acknowledged if the client speaks `acks`."""
        number = next(self._numbers)
        message_id = str(number) if self.speaks("acks") else None
        ref = None if self.capabilities is None else f"SEND_MESSAGE|{session}|{number}"
        content = {"n": number, "pad": "x" * padding}
        data = {"sessionId": session, "content": content, "messageId": message_id, "to": to}
        frame = _frame("SEND_MESSAGE", ref=ref, **data).encode()
        if message_id is not None:
            self.unanswered[number] = Unanswered(session, frame, self.world.tick())
        self.world.tally["messages"] += 1
        self._put(frame)

    def ping(self) -> None:
        """Ask for a sign of life, and let the server let go of what was handled."""
        if self._pinged_at is not None:
            if self.world.monotonic() - self._pinged_when > PATIENCE:
                self._fault("no answer to PING", f"for {PATIENCE:.0f} seconds")
                self._pinged_at = None
            return
        self.ponged = anyio.Event()
        self._pinged_at, self._pinged_when = self.world.tick(), self.world.monotonic()
        self.send("PING", offset=self.inbox.offset if self.inbox.is_resumable else None)

    def forget(self, session: str) -> None:
        """Take note of not being in a session any more."""
        self.rooms.pop(session, None)
        self.inbox.forget(session)

    def take(self, payload: memoryview) -> None:
        """Take a frame of the server."""
        try:
            event = decode(payload)
        except msgspec.MsgspecError as error:
            self._fault("a frame that cannot be read", f"{error}: {bytes(payload[:200])!r}")
            return
        if event.event in KEPT:
            self.inbox.count(event.event, event.offset)
        taker = self._takers.get(event.event)
        if taker is not None:
            taker(event)
        elif event.event == "AUTH_FAILED":
            self._fault("AUTH_FAILED", event.data.message)

    def _authenticated(self, event: Event) -> None:
        if self.entered.is_set():
            return  # a token that was renewed
        data, had_token = event.data, self.resume_token is not None
        self.resume_token = data.resume.token or None
        self._check_recovery(data, had_token=had_token)
        if data.recovered:
            self._resend()
        else:
            self._start_over()
        if self.is_registered:
            self.entered.set()
        else:
            self.register()

    def _check_recovery(self, data: Data, *, had_token: bool) -> None:
        if had_token:
            self.world.tally["recovered" if data.recovered else "refused"] += 1
        if data.recovered and not had_token:
            self._fault("recovered from nothing", "AUTH had no resume token")
        if had_token and self.may_expect_recovery and not data.recovered:
            self._fault("not recovered in time", f"at offset {self.inbox.offset}")

    def _start_over(self) -> None:
        self.inbox.start_over(is_resumable=self.speaks("resume"))
        self.unanswered.clear()
        self.requests.clear()
        self.asked.clear()
        self.is_registered = self._is_informed = False

    def _resend(self) -> None:
        for waiting in self.unanswered.values():
            waiting.is_repeated = True
            self._put(waiting.frame)

    def _registered(self, event: Event) -> None:
        if event.data.id != self.user:
            self._fault("a registration of somebody else", event.data.id)
        self.is_registered = True
        if not self._is_informed and self.speaks("sessions"):
            self.send("SESSION_LIST")
        self.entered.set()

    def _listed(self, event: Event) -> None:
        self.known = [peer.id for peer in event.data.peers]
        for peer in self.known:
            self._meet(peer)

    def _updated(self, event: Event) -> None:
        self._meet(event.data.id)

    def _meet(self, peer: str) -> None:
        if org_of(peer) != org_of(self.user) or peer == self.user:
            self._fault("a peer that is not for these eyes", peer)

    def _requested(self, event: Event) -> None:
        self._meet(msgspec.json.decode(event.data.sender, type=Named).id)
        self.requests.append(event.data.request_id)

    def _pending(self, event: Event) -> None:
        self.asked.append(event.data.request_id)

    def _joined(self, event: Event) -> None:
        data = event.data
        host = self.user if event.event == "CONNECTION_ACCEPTED" else data.peer.id
        self.rooms.setdefault(data.session_id, Room(host, {data.peer.id}))

    def _changed(self, event: Event) -> None:
        data = event.data
        self.rooms[data.session_id] = self._room(data.host_id, data.participants)

    def _left(self, event: Event) -> None:
        self.forget(event.data.session_id)

    def _told_sessions(self, event: Event) -> None:
        listed = {state.session_id: self._room(state.host_id, state.participants) for state in event.data.sessions}
        for session in self.rooms.keys() - listed.keys():
            self.forget(session)
        self.rooms = listed
        self._is_informed = True

    def _room(self, host: str, participants: list[Named]) -> Room:
        for participant in participants:
            if participant.id != self.user:
                self._meet(participant.id)
        return Room(host, {participant.id for participant in participants} - {self.user})

    def _received(self, event: Event) -> None:
        data = event.data
        sender = msgspec.json.decode(data.sender, type=str)
        self._meet(sender)
        if data.session_id not in self.rooms:
            if self._is_informed:
                self._fault("a message of a session one is not in", data.session_id)
            self.rooms[data.session_id] = Room(sender, {sender})
        self.inbox.receive(Letter(data.session_id, sender, data.content.n))
        self.world.tally["received"] += 1

    def _acknowledged(self, event: Event) -> None:
        data = event.data
        sent = self.unanswered.pop(int(data.message_id), None)
        if sent is None or (data.duplicate and not sent.is_repeated):
            self._fault("an acknowledgement of nothing sent", data.message_id)
            return
        self.world.tally["acknowledged"] += 1
        self.world.tally["duplicates"] += data.duplicate
        for receiver in (*data.delivered, *data.queued):
            self._meet(receiver)
            self.world.inboxes[receiver].owe(Letter(sent.session, self.user, int(data.message_id)), sent.sent_at)

    def _ponged(self, _event: Event) -> None:
        if self._pinged_at is None:
            return
        asked_at, self._pinged_at = self._pinged_at, None
        self.inbox.settle(asked_at)
        for number in [number for number, waiting in self.unanswered.items() if waiting.sent_at < asked_at]:
            self._fault("a message without an answer", f"{self.unanswered.pop(number).frame[:200]!r}")
        self.ponged.set()

    def _done(self, event: Event) -> None:
        name, _, about = event.ref.partition("|")
        if name == "SESSION_LEAVE":
            self.forget(about)

    def _refused(self, event: Event) -> None:
        name, _, about = event.ref.partition("|")
        session, _, number = about.partition("|")
        data = event.data
        if data.code not in (EXPECTED.get(name, set()) if event.ref else _ALL_EXPECTED):
            self._fault("an unexpected error", f"{data.code} {data.message} ({event.ref or 'no ref'})")
        self.world.tally["refusals"] += 1
        if number:
            self.unanswered.pop(int(number), None)
        if data.code == ErrorCode.NOT_A_PARTICIPANT and self.speaks("sessions"):
            self.send("SESSION_LIST")  # who is out may be another
        elif data.code in {ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT}:
            for gone in [session] if event.ref else list(self.rooms):
                self.forget(gone)

    def _fault(self, kind: str, detail: str) -> None:
        self.world.faults.note(kind, f"{self.user}: {detail}")


def _frame(event: str, *, ref: str | None = None, **data: object) -> str:
    """Return an event as it is sent, without the data that is None."""
    return encode(event, {name: value for name, value in data.items() if value is not None}, ref)
