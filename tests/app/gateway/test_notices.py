"""What a connection tells its client ahead of time, over a whole application without a network."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.auth.keys import public_keys
from app.clock import iso
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.gateway.connection import Connection
from app.ops.logs import make_logger
from app.settings import MEMORY, Settings
from app.tables import load_routes
from handlers.ports import Identity, State
from schemas.capabilities import spoken
from schemas.errors import CloseCode, ErrorCode, Limit
from stores.memory.stores import MemoryStores
from stores.model import User
from tests.support.doubles import RecordingTransport
from tests.support.tokens import Keys


class Transport(RecordingTransport):
    """A transport that notes the close code."""

    code: int | None = None

    def close(self, code: int, reason: str) -> None:
        self.code = code

    def read(self) -> list[Any]:
        """Return the events written since the last look."""
        frames = [json.loads(payload) for batch in self.writes for payload in batch]
        self.writes.clear()
        return [(frame["event"], frame["data"]) for frame in frames]


@pytest.fixture
async def runtime(keys: Keys) -> AsyncIterator[Runtime]:
    """Run an application whose sockets all are closed when their tokens run out."""
    settings = Settings(
        store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="warning", token_expiry="close"
    )
    plan = Plan(settings, public_keys(settings), load_routes(()), make_logger(settings))
    async with running(plan, MemoryStores()) as runtime:
        yield runtime


def enter(runtime: Runtime, expires_at: float, *capabilities: str) -> tuple[Connection, Transport]:
    """Authenticate a connection with a token that runs out then."""
    transport = Transport()
    connection = runtime.gateway.open(transport, b"here")
    identity = Identity(User("ann"), "Ann", None, (), expires_at)
    connection.authenticated(identity, spoken(capabilities))
    connection.renewed(identity)
    runtime.delivery.write_scheduler.flush()
    return connection, transport


async def test_once_a_token(runtime: Runtime) -> None:
    """A client is told of an expiry once, though it sends the same token again; and of that of the next token."""
    soon = time.time() + 30
    connection, transport = enter(runtime, soon, "notices")
    notice = ("SERVER_NOTICE", {"kind": "token-expiring", "expiresAt": iso(soon)})
    assert transport.read() == [notice]
    connection.renewed(connection.identity)
    runtime.delivery.write_scheduler.flush()
    assert transport.read() == []
    connection.renewed(Identity(User("ann"), "Ann", None, (), soon + 1))
    runtime.delivery.write_scheduler.flush()
    assert transport.read() == [("SERVER_NOTICE", {"kind": "token-expiring", "expiresAt": iso(soon + 1)})]


@pytest.mark.parametrize("capabilities", [(), ("resume",)])
async def test_who_did_not_ask(runtime: Runtime, capabilities: tuple[str, ...]) -> None:
    """A client without `notices` is told nothing, whatever happens."""
    connection, transport = enter(runtime, time.time() + 30, *capabilities)
    connection._slow()
    runtime.drain("SIGTERM")
    runtime.delivery.write_scheduler.flush()
    assert transport.read() == []


async def test_late(runtime: Runtime) -> None:
    """Who authenticates while the node stops is told as well, and is closed with the others."""
    enter(runtime, time.time() + 3600)
    drain = runtime.drain("SIGTERM")
    _, transport = enter(runtime, time.time() + 3600, "notices")
    ((event, notice),) = transport.read()
    assert (event, notice["kind"]) == ("SERVER_NOTICE", "draining")
    while not drain.step():
        pass
    assert transport.code == 1012


async def test_a_broken_heart(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """If asking one connection for a sign of life fails, the others are asked all the same."""
    asked: list[Transport] = []

    def fail(transport: Transport) -> bool:
        asked.append(transport)
        raise RuntimeError("broken")

    monkeypatch.setattr(Transport, "ping", fail)
    transports = [enter(runtime, time.time() + 3600)[1] for _ in range(20)]
    for _ in range(10):
        runtime.gateway._beat()
    assert set(asked) == set(transports)


async def test_refusals_for_the_rate_are_counted(runtime: Runtime) -> None:
    """Events beyond the rate count as refused, also those that are not answered."""
    connection, _ = enter(runtime, time.time() + 3600)
    for _ in range(1000):
        connection.receive(b'{"event":"PING"}')
    refused = runtime.dispatcher.refused[ErrorCode.RATE_LIMITED]
    assert refused > 5
    assert runtime.admission.rejections.counts[Limit.EVENTS] == refused


async def test_slow(runtime: Runtime) -> None:
    """A slow client is told so."""
    connection, transport = enter(runtime, time.time() + 3600, "notices")
    connection._slow()
    runtime.delivery.write_scheduler.flush()
    assert transport.read() == [("SERVER_NOTICE", {"kind": "slow"})]


async def test_expired(runtime: Runtime) -> None:
    """A token past its end and the leeway is ERR_1003 and 4003 at the next sweep, and the connection is forgotten."""
    transport = Transport()
    connection = runtime.gateway.open(transport, b"here")
    connection.authenticated(Identity(User("ann"), "Ann", None, (), time.time() - 5), spoken(()))
    runtime.gateway.sweep()
    ((event, error),) = transport.read()
    assert (event, error["code"], transport.code) == ("ERROR", "ERR_1003", 4003)
    assert (connection.is_open, len(runtime.gateway.connections)) == (False, 0)
    assert connection.state is State.AUTHENTICATED


async def test_gone_before(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of a connection that is gone is nobody's when its end comes."""
    connection, transport = enter(runtime, time.time() + 3600, "notices")
    connection.closed(CloseCode.ABNORMAL)
    monkeypatch.setattr(runtime.services.clock, "now", lambda: time.time() + 3600)
    runtime.gateway.sweep()
    runtime.delivery.write_scheduler.flush()
    assert transport.read() == []
