"""Receivers that do not read: they cost a bounded sum and are closed, and nobody waits for them."""

import re
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack

import anyio
import pytest

from tests.service.test_floods import raw_socket, text
from tests.support.client import PATIENCE, Client, client, pair, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

OUTBOX_BYTES = 262_144
LARGE_OUTBOX_BYTES = 16_777_216
BODY = "x" * 60_000


@pytest.fixture(scope="module")
def narrow(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server whose outboxes are small."""
    with serving(
        keys,
        tmp_path_factory.mktemp("narrow"),
        max_message_bytes=65_536,
        outbox_bytes=OUTBOX_BYTES,
        replay_bytes=262_144,
        session_grace_seconds=60,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def patient(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server whose outboxes are large."""
    with serving(keys, tmp_path_factory.mktemp("patient"), outbox_bytes=LARGE_OUTBOX_BYTES) as server:
        yield server


@pytest.fixture(scope="module")
def watchful(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that looks for dead sockets often, and whose outboxes are large."""
    with serving(
        keys, tmp_path_factory.mktemp("watchful"), ws_heartbeat_interval=700, outbox_bytes=LARGE_OUTBOX_BYTES
    ) as server:
        yield server


async def test_closed_when_too_slow(narrow: Server) -> None:
    """A receiver that does not read is dropped past its bound; its sender never waits, and a third one is served."""
    async with client(narrow) as ann, client(narrow) as bob, client(narrow) as cid:
        session_id = await pair(ann, bob)
        await cid.join("cid")
        bob.websocket.transport.pause_reading()
        await _send_until_dropped(ann, session_id, "bob")
        assert await cid.is_heard()
        bob.cut()


async def test_told_when_slow(patient: Server) -> None:
    """A receiver that speaks `notices` is told that it reads too slowly, ahead of what waits for it.

    It is somebody for whom nothing was kept before, since that much more may wait for its socket.
    """
    async with client(patient) as ann, client(patient) as eve:
        await eve.send("AUTH", token=patient.keys.token("eve"), capabilities=["notices"])
        await eve.expect("AUTH_SUCCESS")
        await eve.send("PEER_REGISTER")
        await eve.expect("PEER_REGISTERED")
        await ann.join("ann")
        await ann.send("CONNECTION_REQUEST", targetId="eve")
        request = await eve.until("CONNECTION_REQUEST_RECEIVED")
        await eve.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
        session_id = (await eve.until("SESSION_CREATED"))["sessionId"]
        await ann.until("CONNECTION_ACCEPTED")
        await until(lambda: _metric(patient, "peersync_outbox_bytes") == 0)  # what others left is given back
        eve.websocket.transport.pause_reading()
        while _metric(patient, "peersync_outbox_bytes") < LARGE_OUTBOX_BYTES / 2:
            for _ in range(3):
                await ann.send("SEND_MESSAGE", sessionId=session_id, content="x" * 1_000_000)
            await ann.send("PING")
            await ann.until("PONG")
        eve.websocket.transport.resume_reading()
        assert await eve.until("SERVER_NOTICE") == {"kind": "slow"}


async def test_all_is_given_back(narrow: Server) -> None:
    """What many slow receivers held is given back once they are gone."""
    async with AsyncExitStack() as stack:
        for _ in range(5):
            ann, bob = [await stack.enter_async_context(client(narrow)) for _ in range(2)]
            session_id = await pair(ann, bob)
            bob.websocket.transport.pause_reading()
            await _send_until_dropped(ann, session_id, "bob")
            bob.cut()
            await ann.websocket.close()
    await until(lambda: _metric(narrow, "peersync_outbox_bytes") == 0)


async def _send_until_dropped(ann: Client, session_id: str, user: str) -> None:
    """Send messages, each followed by a PING that is answered, until the receiver is offline."""
    for _ in range(400):
        await ann.send("SEND_MESSAGE", sessionId=session_id, content=BODY)
        await ann.send("PING")
        while (event := await ann.next_event()) != "PONG":
            if event == f"{user} offline":
                return
    raise AssertionError("the receiver was never dropped")


def _metric(server: Server, name: str) -> float:
    match = re.search(rf"^{name} (\S+)$", server.metrics(), re.MULTILINE)
    assert match
    return float(match[1])


async def test_a_slow_download_is_not_a_dead_line(watchful: Server) -> None:
    """A reader that takes little at a time of what waits for it, and sends nothing, is not cut meanwhile."""
    with raw_socket(watchful, receive_buffer=4096) as bob:
        bob.sendall(text("AUTH", f'{{"token":"{watchful.keys.token("bob")}"}}') + text("PEER_REGISTER"))
        assert _read(bob, b"PEER_REGISTERED")
        async with client(watchful) as ann:
            await ann.join("ann")
            await ann.send("CONNECTION_REQUEST", targetId="bob")
            request = _read(bob, b"CONNECTION_REQUEST_RECEIVED")
            request_id = request.partition(b'"requestId":"')[2].partition(b'"')[0].decode()
            bob.sendall(text("CONNECTION_RESPONSE", f'{{"requestId":"{request_id}","accepted":true}}'))
            session_id = (await ann.until("CONNECTION_ACCEPTED"))["sessionId"]
            for _ in range(6):
                await ann.send("SEND_MESSAGE", sessionId=session_id, content="x" * 1_000_000)
            for _ in range(60):  # four heartbeats
                await anyio.sleep(0.05)
                assert bob.recv(10_000)
            assert await ann.is_heard()
            bob.sendall(text("PING"))
            assert _read(bob, b"PONG")


def _read(sock: socket.socket, until: bytes) -> bytes:
    """Return what comes up to these bytes."""
    received = b""
    while until not in received[-70_000:]:
        chunk = sock.recv(65_536)
        assert chunk, "the server closed"
        received += chunk
    return received


async def test_a_ping_is_answered_once_there_is_room(patient: Server) -> None:
    """The latest ping of a reader that is behind is answered as soon as it has caught up, before what still waits."""
    async with client(patient) as ann, client(patient) as bob:
        session_id = await pair(ann, bob)
        bob.websocket.transport.pause_reading()
        for _ in range(6):
            await ann.send("SEND_MESSAGE", sessionId=session_id, content="x" * 1_000_000)
        assert await ann.is_heard()
        _ = await bob.websocket.ping(b"earlier")
        latest = await bob.websocket.ping(b"latest")
        assert await ann.is_heard()
        bob.websocket.transport.resume_reading()
        with anyio.fail_after(PATIENCE):
            await latest
