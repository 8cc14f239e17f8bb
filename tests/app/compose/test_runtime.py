"""What an application does by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from app.admission import pending
from app.auth.keys import public_keys
from app.compose import readiness
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.gateway import gateway
from app.gateway.disconnects import PendingDisconnect
from app.ops.logs import make_logger
from app.settings import MEMORY, Settings
from app.tables import load_routes
from handlers.domain import disconnects
from handlers.ports import Identity
from schemas.errors import CloseCode
from schemas.peers import Profile
from stores.memory.stores import MemoryStores
from stores.model import Holder, Peer, Session, User
from stores.protocols import StoreUnreachableError
from tests.support.client import PATIENCE, until
from tests.support.doubles import RecordingTransport, failing
from tests.support.tokens import Keys

ANN, BOB = User("ann"), User("bob")


class Wire(RecordingTransport):
    """A transport that counts pings, and keeps the code it was closed with."""

    def __init__(self) -> None:
        super().__init__()
        self.pings = 0
        self.code: int | None = None

    def ping(self) -> bool:
        self.pings += 1
        return True

    def close(self, code: int, reason: str) -> None:
        self.code = code


class Frozen:
    """Records whose calls never return."""

    def __getattr__(self, _method: str) -> object:
        return self.hang

    async def hang(self, *_: object) -> None:
        await anyio.sleep_forever()


@asynccontextmanager
async def living(keys: Keys, stores: MemoryStores, **settings: int) -> AsyncIterator[Runtime]:
    chosen = Settings(store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="critical", **settings)  # type: ignore[arg-type]
    plan = Plan(chosen, public_keys(chosen), load_routes(()), make_logger(chosen))
    async with running(plan, stores) as runtime:
        yield runtime


def put(stores: MemoryStores, peer: Peer) -> None:
    """Have a peer in the directory."""
    stores.directory.put_peer(peer, stores.directory.next_place(peer.user.org))


async def test_strays(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in a session that it should be out of is taken out of it before long."""
    monkeypatch.setattr(disconnects, "ORPHAN_SECONDS", 0.05)
    stores = MemoryStores()
    async with living(keys, stores):
        await stores.sessions.put(Session("ses_1", ANN, {ANN: "host", BOB: "guest"}))
        assert stores.directory.session("ses_1") is not None
        await until(lambda: stores.directory.session("ses_1") is None)


async def test_heartbeat_seconds(keys: Keys) -> None:
    """Clients are told how often the server pings."""
    async with living(keys, MemoryStores(), ws_heartbeat_interval=1500) as runtime:
        assert runtime.services.limits.heartbeat_seconds == 1.5


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> MemoryStores:
    """Stores that do not answer, not even that they cannot."""
    stores = MemoryStores()
    for name in ("peers", "requests", "sessions", "revocations"):
        monkeypatch.setattr(stores, name, Frozen())
    monkeypatch.setattr(stores, "ping", Frozen().hang)
    return stores


def named(user: User) -> Identity:
    """Return what a good token of a user says."""
    return Identity(user, user.id, None, (), 2e9)


async def test_a_frozen_store(keys: Keys, monkeypatch: pytest.MonkeyPatch, frozen: MemoryStores) -> None:
    """Heartbeats, and the deadline for authentication, do not wait for it."""
    monkeypatch.setattr(gateway, "AUTH_SECONDS", 0.5)
    async with living(keys, frozen, ws_heartbeat_interval=100) as runtime:
        runtime.gateway.disconnects.add(PendingDisconnect(named(ANN), Holder("node", 1), is_leaving=True))
        wire = Wire()
        runtime.gateway.open(wire, b"here").was_heard = True
        await until(lambda: wire.pings > 0)
        stranger = Wire()
        connection = runtime.gateway.open(stranger, b"here")
        with anyio.fail_after(PATIENCE):
            while stranger.code is None:
                connection.was_heard = True  # it answers pings, but never authenticates
                await anyio.sleep(0.01)
        assert stranger.code == CloseCode.UNAUTHENTICATED


async def test_readiness_with_a_frozen_store(keys: Keys, monkeypatch: pytest.MonkeyPatch, frozen: MemoryStores) -> None:
    """Whoever asks is told that it does not answer."""
    monkeypatch.setattr(readiness, "PING_SECONDS", 0.05)
    async with living(keys, frozen) as runtime:
        with anyio.fail_after(PATIENCE):
            reasons = await runtime.readiness.reasons()
        assert reasons == ["store unreachable: no response within 0.05 s"]


async def test_ends_that_were_put_off(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the store fails for is put off again, and the others have their turn."""
    stores = MemoryStores()
    async with living(keys, stores) as runtime:
        for user in (ANN, BOB):
            put(stores, Peer(user, Profile(user.id, "guest", "other"), "online", b"here"))
        with failing(monkeypatch, stores.peers, "release", 1):
            for number, user in enumerate((ANN, BOB)):
                runtime.gateway.disconnects.add(PendingDisconnect(named(user), Holder("node", number), is_leaving=True))
            with pytest.raises(StoreUnreachableError):
                await runtime.gateway.disconnects.retry()
            assert (stores.directory.peer(BOB), len(runtime.gateway.disconnects)) == (None, 1)
        await runtime.gateway.disconnects.retry()
        assert (stores.directory.peer(ANN), len(runtime.gateway.disconnects)) == (None, 0)


async def test_duties_on_their_own(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A duty that fails keeps no other from being done."""
    stores = MemoryStores()
    async with living(keys, stores) as runtime:
        put(stores, Peer(ANN, Profile("ann", "guest", "other"), "offline", b"here", lapses_at=0))
        with failing(monkeypatch, stores.requests, "take_expired"):
            await until(lambda: stores.directory.peer(ANN) is None)

        def fail() -> None:
            raise ZeroDivisionError

        done: list[int] = []
        monkeypatch.setattr(runtime.gateway, "sweep", fail)
        monkeypatch.setattr(runtime.admission.auth_throttle, "evict_expired", lambda: done.append(1))
        runtime.local_timer.tick()
        assert done


async def test_sockets_on_their_own(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong with one socket keeps no other from being looked after."""
    monkeypatch.setattr(pending.PendingConnections, "expired", lambda pending, _: list(pending._pending))
    async with living(keys, MemoryStores()) as runtime:
        wires = [Wire(), Wire()]
        for wire in wires:
            runtime.gateway.open(wire, b"here")

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(wires[0], "close", fail)
        runtime.gateway.sweep()
        assert [wire.code for wire in wires] == [None, CloseCode.UNAUTHENTICATED]
