"""Doubles of what a handler asks of the world outside (`handlers.ports`), and a world made of them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import pytest
from msgspec.structs import replace

from app.wire.kernel import UNKNOWN, Progress
from handlers.context import Context
from handlers.events import auth, connections, peers
from handlers.ports import (
    AuditDetail,
    Audited,
    Delivery,
    Identity,
    Limits,
    Receipt,
    Services,
    Socket,
    State,
)
from schemas.auth import Auth, Resume
from schemas.capabilities import VERSION_1, Spoken
from schemas.connections import ConnectionRequest, ConnectionResponse
from schemas.errors import CloseCode, ErrorCode, EventError, Limit, RetryAfter
from schemas.events import ServerEvent
from schemas.peers import PeerRegister
from stores.log import Appended, MessageKey, Outcome
from stores.memory.stores import MemoryStores
from stores.model import Holder, Peer, Revocation, User
from stores.protocols import StoreUnreachableError

START = 1_700_000_000.0
HERE = b"here"
LIMITS = Limits(
    session_grace=30,
    resume_grace=120,
    request_life=30,
    directory_page=1000,
    sessions_per_user=50,
    session_participants=30,
    requests_per_user=20,
    message_bytes=1_048_576,
    events_per_second=200,
    burst=400,
    heartbeat_seconds=30,
)
ANN, BOB, CAT = User("ann"), User("bob"), User("cat")


def presented(token: object, capabilities: list[str] | None = None, resume: Resume | None = None) -> Auth:
    """Return AUTH with this token, of whatever type."""
    return Auth(token=msgspec.Raw(msgspec.json.encode(token)), capabilities=capabilities, resume=resume)


class ManualClock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        return self.time

    def timestamp(self) -> str:
        return self.timestamp_of(self.time)

    def timestamp_of(self, moment: float) -> str:
        return f"at {int((moment - START) * 1000) / 1000:g}"

    def advance(self, seconds: float) -> None:
        self.time += seconds


class CountingIds:
    """Identifiers that everybody can guess: prefix and a count from 1."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"


class NamingTokens:
    """Tokens that are `user` or `user@org`; `expired` is what it says, and what is no string is no token."""

    async def verify(self, token: object, look: Callable[[], None] = lambda: None) -> Identity:
        if not token:
            raise EventError(ErrorCode.TOKEN_MISSING, "missing")
        look()
        if not isinstance(token, str):
            raise EventError(ErrorCode.TOKEN_INVALID, "invalid")
        if token == "expired":
            raise EventError(ErrorCode.TOKEN_EXPIRED, "expired")
        name, _, org = token.partition("@")
        who, email = User(name, org or None), f"{name}@example.com"
        return Identity(who, f"Name {name}", email, (), START + 3600, token_id=f"token of {name}")


class CountingThrottle:
    """Failures by address; the throttled addresses, and those of them that have had their looks."""

    def __init__(self) -> None:
        self.counts: Counter[bytes] = Counter()
        self.throttled: set[bytes] = set()
        self.blind: set[bytes] = set()
        self.limited = EventError(ErrorCode.RATE_LIMITED, "throttled", RetryAfter(retry_after_ms=1501))

    def look(self, address: bytes) -> None:
        if address in self.blind:
            raise self.limited

    def failed(self, address: bytes, refusal: EventError) -> EventError:
        if refusal.code not in {ErrorCode.TOKEN_MISSING, ErrorCode.RATE_LIMITED}:
            self.counts[address] += 1
        return self.limited if address in self.throttled else refusal


class CountingLogins:
    """Logins by user; those of the users who are `refused` raise."""

    def __init__(self) -> None:
        self.counts: Counter[User] = Counter()
        self.refused: set[User] = set()

    def admit(self, user: User, address: bytes) -> None:
        if user in self.refused:
            raise EventError(ErrorCode.RATE_LIMITED, "too often", RetryAfter(retry_after_ms=201))
        self.counts[user] += 1


class RecordingAudit:
    """Keeps what is noted: event, user, and the details that are known."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, User, dict[str, AuditDetail]]] = []

    def note(self, event: Audited, user: User, **details: AuditDetail) -> None:
        known: dict[str, AuditDetail] = {name: value for name, value in details.items() if value is not None}
        self.noted.append((event, user, known))


class RecordingDelivery:
    """Writes down what it is asked to do: `calls` has it all in order, `to` what was sent to one user.

    Each user is sent the variant of an event that its last socket speaks, and a message of one key once. Nothing is
    kept for those who are `full`.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.recoverable: set[str] = set()
        self.away: set[User] = set()
        self.full: set[User] = set()
        self.keys: dict[tuple[User, bytes], int] = {}
        self.here: list[User] = []
        self.spoken: dict[User, Spoken] = {}

    def send(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None = None,
        *,
        names: Collection[User] = (),
        ref: msgspec.Raw | None = None,
        receipt: Receipt | None = None,
        key: MessageKey | None = None,
        refused: Callable[[User], None] | None = None,
    ) -> None:
        for user in users:
            if user == about:
                continue
            first = 0 if key is None else self.keys.get((user, key.digest), 0)
            outcome = Outcome.FULL if user in self.full else Outcome.QUEUED if user in self.away else Outcome.DELIVERED
            if receipt is not None:
                receipt.note(user.id, Appended(outcome, first))
            elif outcome is Outcome.FULL and refused is not None:
                refused(user)
            variant = event.variant(self.spoken.get(user, VERSION_1))
            if variant and not first and outcome is not Outcome.FULL:
                self.calls.append(("send", user, variant, about, *([ref] if ref else [])))
            if key is not None and outcome is not Outcome.FULL:
                self.keys.setdefault((user, key.digest), key.sent_at)

    async def admit(self, user: User, socket: Socket) -> str | None:
        self.calls.append(("admit", user, socket.holder))
        self.spoken[user] = socket.spoken
        return f"resume {user.id}" if "resume" in socket.spoken else None

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        self.calls.append(("recover", user, resume.offset, socket.holder))
        return f"{resume.token} again" if resume.token in self.recoverable else None

    def handled(self, user: User, offset: int) -> None:
        self.calls.append(("handled", user, offset))

    async def attach(self, user: User, socket: Socket) -> None:
        self.calls.append(("attach", user, socket.holder))

    def detach(self, user: User) -> None:
        self.calls.append(("detach", user))

    def forget(self, user: User) -> None:
        self.calls.append(("forget", user))

    def supersede(self, holder: Holder) -> None:
        self.calls.append(("supersede", holder))

    def revoke(self, revocation: Revocation) -> list[User]:
        self.calls.append(("revoke", revocation))
        return [user for user in self.here if revocation.covers(user, f"token of {user.id}", START)]

    def announce(self, peer: Peer) -> None:
        self.calls.append(("announce", peer))

    def listed(self, user: User, peers: Sequence[User]) -> None:
        self.calls.append(("listed", user, list(peers)))

    def to(self, user: User) -> list[object]:
        """Return the events sent to a user."""
        return [call[2] for call in self.calls if call[:2] == ("send", user)]

    def named(self, *names: str) -> list[tuple[object, ...]]:
        """Return the calls of these methods."""
        return [call for call in self.calls if call[0] in names]


class RecordingSocket:
    """A socket that keeps what is sent; what it sends shows among the calls of a delivery too."""

    def __init__(self, number: int, address: bytes, calls: list[tuple[object, ...]]) -> None:
        self.holder = Holder("node", number)
        self.address = address
        self.state = State.CONNECTED
        self.spoken = VERSION_1
        self.sent: list[ServerEvent] = []
        self.closed: CloseCode | None = None
        self.is_lost = False
        self.charged = 0.0
        self.context: Context | None = None
        self._calls = calls
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        assert self._identity is not None
        return self._identity

    def authenticated(self, identity: Identity, spoken: Spoken) -> None:
        self.renewed(identity)
        self.spoken = spoken
        self.state = State.AUTHENTICATED
        if self.context is not None:
            self.context.user = identity.user

    def renewed(self, identity: Identity) -> None:
        self._identity = identity

    def registered(self) -> None:
        self.state = State.REGISTERED

    def send(self, event: ServerEvent, ref: msgspec.Raw | None = None) -> None:
        self.sent.append(event)
        self._calls.append(("answer", event))

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed = code

    def charge(self, events: float) -> None:
        self.charged += events

    def clear(self) -> None:
        """Forget what was sent."""
        self.sent.clear()


class Seat(Context):
    """A context whose socket can be looked at."""

    socket: RecordingSocket


class World:
    """Memory stores and doubles of all else; `socket` makes the sockets of another kind."""

    def __init__(
        self,
        delivery: Delivery | None = None,
        stores: MemoryStores | None = None,
        socket: Callable[[int, bytes, list[tuple[object, ...]]], RecordingSocket] = RecordingSocket,
        **limits: float,
    ) -> None:
        self.stores = stores or MemoryStores()
        self.directory = self.stores.directory
        self.clock = ManualClock()
        self.delivery = RecordingDelivery()
        self.auth_throttle = CountingThrottle()
        self.logins = CountingLogins()
        self.audit = RecordingAudit()
        self.services = Services(
            stores=self.stores,
            delivery=delivery or self.delivery,
            tokens=NamingTokens(),
            auth_throttle=self.auth_throttle,
            logins=self.logins,
            audit=self.audit,
            clock=self.clock,
            ids=CountingIds(),
            limits=replace(LIMITS, **limits),
            version="1.2.3",
        )
        self._socket = socket
        self._sockets = CountingIds()

    def open(self, address: bytes = HERE) -> Seat:
        """Connect."""
        socket = self._socket(int(self._sockets("")), address, self.delivery.calls)
        socket.context = seat = Seat(self.services, socket)
        return seat

    async def enter(self, token: str, address: bytes = HERE, capabilities: list[str] | None = None) -> Seat:
        """Connect and authenticate; the answer does not stay written down."""
        seat = self.open(address)
        await auth.authenticate(presented(token, capabilities), seat)
        assert seat.socket.state is State.AUTHENTICATED
        calls = self.delivery.calls
        calls[:] = [call for call in calls if call[0] not in {"admit", "answer"}]
        seat.socket.clear()
        return seat

    async def join(
        self,
        token: str,
        message: PeerRegister | None = None,
        address: bytes = HERE,
        capabilities: list[str] | None = None,
    ) -> Seat:
        """Connect, authenticate and register; nothing of that stays written down."""
        seat = await self.enter(token, address, capabilities)
        await peers.register(message or PeerRegister(), seat)
        self.delivery.calls.clear()
        seat.socket.sent.clear()
        return seat

    async def ask(self, asker: Seat, asked: Seat) -> str:
        """Make a connection request; return its id. Nothing of that stays written down."""
        await connections.request(ConnectionRequest(target_id=asked.user.id), asker)
        self.delivery.calls.clear()
        return list(self.directory.requests_of(asker.user))[-1].id

    async def answer(self, request_id: str, asked: Seat) -> None:
        """Accept a connection request. Nothing of that stays written down."""
        await connections.respond(ConnectionResponse(request_id=request_id, accepted=True), asked)
        self.delivery.calls.clear()

    async def pair(self, asker: Seat, asked: Seat) -> str:
        """Make a session of two; return its id. Nothing of that stays written down."""
        request_id = await self.ask(asker, asked)
        await self.answer(request_id, asked)
        return list(self.directory.sessions_of(asker.user))[-1].id

    def peer(self, user: User) -> Peer:
        """Return a peer that is there."""
        peer = self.directory.peer(user)
        assert peer is not None
        return peer


class Turns:
    """The turns of an event loop, by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def call_later(self, _seconds: float, callback: Callable[[], None]) -> None:
        self.later.append(callback)

    def pass_time(self) -> None:
        """Run what was to run later, once."""
        later, self.later = self.later, []
        for callback in later:
            callback()

    def end(self) -> None:
        """Run what was to run at the end of the turn."""
        due, self.due = self.due, []
        for callback in due:
            callback()


class RecordingTransport:
    """A transport that keeps each write; `waiting` is its backlog."""

    def __init__(self) -> None:
        self.writes: list[list[bytes]] = []
        self.waiting = 0
        self.is_deaf = False
        self.on_write: Callable[[], object] = lambda: None

    def write(self, payloads: list[bytes]) -> None:
        self.writes.append(payloads)
        self.on_write()

    def backlog(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def slow_down(self, seconds: float) -> None:
        pass

    def stop_reading(self) -> None:
        self.is_deaf = True

    def progress(self) -> Progress:
        return UNKNOWN

    def ping(self) -> bool:
        return True

    def abort(self) -> None:
        pass


@contextmanager
def refused(code: ErrorCode, limit: Limit | None = None) -> "Iterator[pytest.ExceptionInfo[EventError]]":
    """Expect a refusal with this code, by this limit if one is named, and a text for the client's author."""
    with pytest.raises(EventError) as info:
        yield info
    assert info.value.code is code
    assert limit in {None, info.value.limit}
    assert info.value.message


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, records: object, method: str, times: int = 1000) -> Iterator[None]:
    """Have the store go away whenever a method is called, so many times, and come back."""
    left, whole = [None] * times, getattr(records, method)

    async def fail(*args: object) -> object:
        if left:
            left.pop()
            raise StoreUnreachableError("gone")
        return await whole(*args)

    with monkeypatch.context() as patched:
        patched.setattr(records, method, fail)
        yield
