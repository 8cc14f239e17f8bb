"""A whole server in this process, without a kernel between: what an input costs is measured to the microsecond.

Time is skipped instead of waited for, so that what is put off (presence, say) counts with the input that causes it.
"""

import asyncio
import re
import selectors
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from msgspec import Struct
from uvicorn.server import ServerState

from app.main import create_app
from app.settings import Settings
from app.wire.protocol import WebSocketProtocol
from schemas.fields import Role
from stores.memory.stores import MemoryStores
from stores.model import Request, Session, User
from tests.hardening.hostile import FIN, TEXT, frame
from tests.support.tokens import Keys

ADDRESS = b"here"
ATTACKER = "attacker"
ALL = '"capabilities":["resume","acks","sessions","notices"]'
ATTACKER_SPEAKS = '"capabilities":["acks","sessions","notices"]'
SETTLE_SECONDS = 0.3
NO_LIMIT = 1_000_000_000
BIG_SESSIONS, BIG, PAIRS, REQUESTS = 3, 30, 47, 20
FAR = 4_000_000_000.0
HEADS = re.compile(rb'\{"event":"(\w+)"(?:,"data":\{"code":"(\w+)")?')


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer when there is nothing to do."""

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        return time.monotonic() + self._ahead

    def skip(self, seconds: float) -> None:
        """Go ahead in time."""
        self._ahead += seconds


class _Impatient(selectors.DefaultSelector):
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self._loop.skip(timeout)
            timeout = 0
        return super().select(timeout)


class Wire(asyncio.Transport):
    """Takes what the server writes to one client: counts it, and keeps the beginning if it is asked to."""

    def __init__(self, kept: int = 0) -> None:
        super().__init__()
        self._kept = kept
        self._closing = False
        self.beginning = b""
        self.taken = 0

    def write(self, data: Any) -> None:
        self.taken += len(data)
        if len(self.beginning) < self._kept:
            self.beginning += bytes(data[: self._kept])

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: whatever is written is taken at once."""

    def pause_reading(self) -> None:
        """Do nothing: what is fed is fed."""

    def resume_reading(self) -> None:
        """Do nothing."""


class Client(Struct, eq=False):
    """One socket: the server's protocol, and the wire to it."""

    protocol: WebSocketProtocol
    wire: Wire

    def feed(self, wire: bytes) -> None:
        """Have the server take these bytes, as they would come from the kernel."""
        for start in range(0, len(wire), 262_144):
            self.protocol.data_received(wire[start : start + 262_144])

    def say(self, text: str) -> None:
        """Have the server take this text."""
        self.feed(frame(FIN | TEXT, text.encode()))


class Cost(Struct, frozen=True):
    """CPU seconds of the server, bytes that it sent to anybody, and what it answered."""

    seconds: float
    sent: int
    answers: tuple[str, ...]
    is_closed: bool


class World:
    """A server with peers of two orgs, some in sessions with the attacker, who is in one of the `STATES`."""

    def __init__(self, app: Any, stores: MemoryStores, keys: Keys) -> None:
        self._gateway = app.state.runtime.gateway
        config = uvicorn.Config(app)
        config.loaded_app = app
        self._config = config
        self._stores = stores
        self._keys = keys
        self._tokens: dict[str, str] = {}
        self._clients: list[Client] = []
        self._quiet = 0.0

    async def fill(self, org: str, count: int) -> None:
        """Let so many peers register, half of them of version 1."""
        for number in range(count):
            client = self.connect()
            token = self._keys.token(f"s-{number}", org)
            client.say(f'{{"event":"AUTH","data":{{"token":"{token}"{"," + ALL if number % 2 else ""}}}}}')
            client.say(f'{{"event":"PEER_REGISTER","data":{{"displayName":"Peer number {number}","ide":"vim"}}}}')
            self._clients.append(client)
            await asyncio.sleep(0)
        await asyncio.sleep(1)

    def connect(self, kept: int = 0) -> Client:
        """Open a socket."""
        wire = Wire(kept)
        protocol = WebSocketProtocol(self._config, ServerState(), {})
        protocol.connection_made(wire)
        protocol.open(self._gateway, ADDRESS)
        return Client(protocol, wire)

    def token(self, org: str) -> str:
        """Return the attacker's token."""
        if org not in self._tokens:
            self._tokens[org] = self._keys.token(ATTACKER, org, ttl=10**6)
        return self._tokens[org]

    def forged(self, org: str) -> str:
        """Return a token that looks like it, and is not signed."""
        return self.token(org)[:-20] + "A" * 20

    async def attacker(self, state: str, org: str) -> Client:
        """Return a new socket of the attacker in this state; what it had before is as it was at first."""
        client = self.connect(kept=2000)
        if state != "connected":
            client.say(f'{{"event":"AUTH","data":{{"token":"{self.token(org)}",{ATTACKER_SPEAKS}}}}}')
            await asyncio.sleep(0.01)
        if state == "registered":
            client.say('{"event":"PEER_REGISTER","data":{"displayName":"Mallory"}}')
            await asyncio.sleep(0.01)
            await self.restore(org)
        await asyncio.sleep(SETTLE_SECONDS)
        return client

    async def restore(self, org: str) -> None:
        """Put back the sessions and requests that the attacker begins with."""
        attacker, directory = User(ATTACKER, org), self._stores.directory
        wanted = {session.id: session for session in _sessions(org)}
        for session in [each for each in directory.sessions_of(attacker) if each.id not in wanted]:
            await self._stores.sessions.swap(session, None)
        for session in [each for each in wanted.values() if directory.session(each.id) != each]:
            await self._stores.sessions.put(session)
        pending = {request.id: request for request in _requests(org)}
        for request in [each for each in directory.requests_of(attacker) if each.id not in pending]:
            await self._stores.requests.take(request.id)
        for request in [each for each in pending.values() if directory.request(each.id) is None]:
            await self._stores.requests.add(request)

    async def cost(self, client: Client, wires: Sequence[bytes]) -> Cost:
        """Return what it costs the server to take this, and all that follows from it."""
        before = self._sent() + client.wire.taken
        client.wire.beginning = b""
        began = time.thread_time()
        for wire in wires:
            client.feed(wire)
            await asyncio.sleep(0)
        await asyncio.sleep(SETTLE_SECONDS)
        seconds = time.thread_time() - began - self._quiet
        answers = tuple(dict.fromkeys((code or name).decode() for name, code in HEADS.findall(client.wire.beginning)))
        sent = self._sent() + client.wire.taken - before
        return Cost(max(seconds, 1e-6), sent, answers, client.wire.is_closing())

    async def calibrate(self) -> None:
        """Learn what the server does anyway, while nothing comes."""
        client = self.connect()
        self._quiet = 0.0
        costs = [(await self.cost(client, [])).seconds for _ in range(30)]
        client.protocol.connection_lost(None)
        self._quiet = sorted(costs)[len(costs) // 4]

    def _sent(self) -> int:
        return sum(client.wire.taken for client in self._clients)


@asynccontextmanager
async def world(keys: Keys, small: int, large: int) -> AsyncIterator[World]:
    """Run a server with so many peers in the orgs `small` and `large`."""
    settings = Settings(
        log_level="critical",
        jwt_public_key_path=keys.public_path,
        jwt_private_key_path=keys.private_path,
        rate_limit_events_per_second=NO_LIMIT,
        rate_limit_burst=NO_LIMIT,
        rate_limit_bytes_per_second=NO_LIMIT,
        auth_failures_per_minute=0,
        ws_heartbeat_interval=10**9,
        session_grace_seconds=0,
    )
    stores = MemoryStores()
    app = create_app(settings, stores)
    async with app.router.lifespan_context(app):
        made = World(app, stores, keys)
        await made.fill("small", small)
        await made.fill("large", large)
        await made.calibrate()
        yield made


def _sessions(org: str) -> list[Session]:
    attacker = User(ATTACKER, org)
    big = [
        Session(id=f"ses_big{number}", host=attacker, participants=_participants(org, number * BIG, BIG))
        for number in range(BIG_SESSIONS)
    ]
    start = BIG_SESSIONS * BIG
    return big + [
        Session(id=f"ses_pair{number}", host=attacker, participants=_participants(org, start + number, 2))
        for number in range(PAIRS)
    ]


def _participants(org: str, start: int, count: int) -> dict[User, Role]:
    others: dict[User, Role] = {User(f"s-{number}", org): "guest" for number in range(start, start + count - 1)}
    return {User(ATTACKER, org): "host", **others}


def _requests(org: str) -> list[Request]:
    attacker, others = User(ATTACKER, org), [User(f"s-{200 + number}", org) for number in range(2 * REQUESTS)]
    made = [
        Request(id=f"req_out{number}", requester=attacker, target=other, expires_at=FAR)
        for number, other in enumerate(others[: REQUESTS - 2])
    ]
    return made + [
        Request(id=f"req_in{number}", requester=other, target=attacker, expires_at=FAR)
        for number, other in enumerate(others[REQUESTS:])
    ]
