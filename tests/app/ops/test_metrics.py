"""What is counted, over a whole application without a network."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio.lowlevel import checkpoint

from app.auth.keys import public_keys
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.gateway.connection import Connection
from app.ops.logs import make_logger
from app.settings import MEMORY, Settings
from app.tables import load_routes
from handlers.events.heartbeat import table
from handlers.ports import Identity
from schemas.capabilities import spoken
from schemas.errors import CloseCode
from stores.memory.stores import MemoryStores
from stores.model import User
from stores.protocols import Stores
from stores.redis.stores import RedisStores
from tests.support.doubles import RecordingTransport
from tests.support.tokens import Keys

NOWHERE = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def application(keys: Keys, stores: Stores) -> AsyncIterator[Runtime]:
    """Run an application."""
    settings = Settings(store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="critical")
    plan = Plan(settings, public_keys(settings), load_routes(()), make_logger(settings))
    async with running(plan, stores) as runtime:
        yield runtime


@pytest.fixture
async def runtime(keys: Keys) -> AsyncIterator[Runtime]:
    """Run one that is alone."""
    async with application(keys, MemoryStores()) as runtime:
        yield runtime


def enter(runtime: Runtime) -> Connection:
    """Authenticate a connection."""
    connection = runtime.gateway.open(RecordingTransport(), b"here")
    connection.authenticated(Identity(User("ann"), "Ann", None, (), time.time() + 60), spoken(()))
    return connection


def samples(runtime: Runtime, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a metric that are not 0, by the values of their labels."""
    found = [sample for metric in runtime.collector.collect() for sample in metric.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found if sample.value}


async def test_events_by_outcome(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are counted by name and by whether they were handled, refused or failed."""
    connection = enter(runtime)
    for frame in (b'{"event":"PING"}', b'{"event":"PING","data":[]}', b'{"event":"SEND_MESSAGE"}', b"{"):
        connection.receive(frame)
    (ping,) = [row for row in runtime.dispatcher.rows if row.event == table.routes()[0].event]
    monkeypatch.setattr(ping, "call", lambda *_: 1 / 0)
    connection.receive(b'{"event":"PING"}')
    assert samples(runtime, "peersync_events_total") == {
        ("PING", "handled"): 1,
        ("PING", "refused"): 1,
        ("PING", "failed"): 1,
        ("SEND_MESSAGE", "refused"): 1,
    }
    errors = {("ERR_2006",): 1, ("ERR_5003",): 1, ("ERR_9001",): 1, ("ERR_9003",): 1}
    assert samples(runtime, "peersync_errors_total") == errors


async def test_one_event_in_64_is_timed(runtime: Runtime) -> None:
    """Of 130 events three are timed."""
    connection = enter(runtime)
    for _ in range(130):
        connection.receive(b'{"event":"PING"}')
    assert samples(runtime, "peersync_handler_seconds_count") == {("PING",): 3}


async def test_closes_by_code(runtime: Runtime) -> None:
    """Closed sockets are counted by code; what is no code of ours or RFC 6455's is one kind."""
    for code in (CloseCode.NORMAL, 3333, 4444):
        enter(runtime).closed(code)
    assert samples(runtime, "peersync_registry_entries") == {}
    for _ in range(3):
        await checkpoint()
    assert samples(runtime, "peersync_sockets_closed_total") == {("1000",): 1, ("other",): 2}


def names(runtime: Runtime) -> set[str]:
    """Return the names of all metrics."""
    return {metric.name for metric in runtime.collector.collect()}


async def test_nothing_of_other_nodes(runtime: Runtime) -> None:
    """A node that is alone has no metrics of others."""
    assert "peersync_nodes" not in names(runtime)


async def test_how_a_node_stands_with_others(keys: Keys) -> None:
    """What the store says has a metric each; without a store no other node is known, and the lease is not held."""
    stores = RedisStores(NOWHERE, "node", patience=0.1)
    async with application(keys, stores) as runtime:
        for name in ("nodes", "directory_current", "appends_waiting"):
            assert f"peersync_{name}" in names(runtime)
            assert samples(runtime, f"peersync_{name}") == {}
        stores.lease.ahead = time.time() - time.monotonic() - 1.5
        assert samples(runtime, "peersync_clock_ahead_seconds")[()] == pytest.approx(-1.5, abs=0.1)
