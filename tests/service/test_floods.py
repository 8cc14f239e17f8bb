"""Floods of one socket, and what its neighbour notices; ends that come in one segment with what precedes them."""

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.utils import apply_mask

from tests.support.client import client, pair
from tests.support.server import Server

MASK = b"\x01\x02\x03\x04"


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return a client's frame."""
    first = opcode | (0x80 if fin else 0)
    if len(payload) < 126:
        head = bytes((first, 0x80 | len(payload)))
    else:
        head = bytes((first, 0xFE)) + struct.pack("!H", len(payload))
    return head + MASK + apply_mask(payload, MASK)


def text(event: str, data: str = "{}") -> bytes:
    """Return an event's frame."""
    return masked(1, f'{{"event":"{event}","data":{data}}}'.encode())


@contextmanager
def raw_socket(server: Server, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """Open a WebSocket by hand, with a receive buffer of so many bytes."""
    with socket.socket() as sock:
        sock.settimeout(10)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in sock.recv(4096)
        yield sock


FLOODS = {
    "empty pings": masked(9, b"") * 50_000,
    "pings of 16 bytes": masked(9, b"x" * 16) * 20_000,
    "pings of 125 bytes": masked(9, b"x" * 125) * 10_000,
    "pongs of 16 bytes": masked(10, b"x" * 16) * 20_000,
    "empty fragments": masked(1, b"{", fin=False) + masked(0, b"", fin=False) * 50_000,
    "fragments of 16 bytes": masked(1, b"{", fin=False) + masked(0, b"x" * 16, fin=False) * 20_000,
    "binary messages": masked(2, b"x" * 16) * 20_000,
    "texts": masked(1, b"x" * 16) * 20_000,
    "events that are none": text("NONE") * 10_000,
    "escaped surrogates": masked(1, b'{"x":"' + rb"\ud83d" * 9_000 + b'"}') * 10,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_strangers_flood(flood: bytes, servers: dict[str, Server]) -> None:
    """A stranger has a handful of frames of any kind: a flood is closed with 4029, and a neighbour is served."""
    server = servers["peersync"]
    async with client(server) as ann:
        await ann.authenticate("ann")
        with raw_socket(server) as stranger:
            assert _close_code(stranger, flood) in {4029, None}
        await ann.expect_quiet()


def _close_code(sock: socket.socket, flood: bytes) -> int | None:
    """Send a flood, and return the code it is closed with; None if the kernel's reset overtook the close frame."""
    received = b""
    try:
        sock.sendall(flood)
        while chunk := sock.recv(65_536):
            received += chunk
    except ConnectionError:
        pass
    place = received.find(b"\x88", max(0, len(received) - 100))
    return None if place < 0 else int.from_bytes(received[place + 2 : place + 4], "big")


@pytest.mark.parametrize("frame", [masked(9, b"x" * 16), masked(10, b""), masked(0, b"x", fin=False)])
async def test_frames_without_an_event_are_charged(frame: bytes, servers: dict[str, Server]) -> None:
    """Pings, pongs that nobody asked for, and fragments take from the budget of events, whatever their size."""
    server = servers["peersync"]
    with raw_socket(server) as sock:
        token = server.keys.token("dan")
        begin = masked(1, b"{", fin=False) if frame[0] & 0x0F == 0 else b""
        sock.sendall(text("AUTH", f'{{"token":"{token}"}}') + begin)
        received = b""
        while b"AUTH_SUCCESS" not in received:
            received += sock.recv(65_536)
        sock.sendall(frame * 500)
        while b"ERR_5004" not in received:
            received += sock.recv(65_536)


async def test_every_ping_is_answered(servers: dict[str, Server]) -> None:
    """Pings that come in one segment are answered each, in order."""
    with raw_socket(servers["peersync"]) as sock:
        sock.sendall(b"".join(masked(9, bytes((number,))) for number in range(10)))
        received = b""
        while len(received) < 30:
            received += sock.recv(65_536)
    assert received == b"".join(bytes((0x8A, 1, number)) for number in range(10))


async def test_everything_in_one_segment(servers: dict[str, Server]) -> None:
    """What comes in one segment with a goodbye, and with the end of the connection, is handled in order before it."""
    server = servers["peersync"]
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        await bob.websocket.close(4000)
        with raw_socket(server) as again:
            again.sendall(
                text("AUTH", f'{{"token":"{server.keys.token("bob")}"}}')
                + text("PEER_REGISTER")
                + text("CONNECTION_REQUEST", '{"targetId":"nobody"}')
                + text("PEER_REGISTER")
                + text("SEND_MESSAGE", f'{{"sessionId":"{session_id}","content":"last"}}')
                + masked(8, struct.pack("!H", 1000))
            )
        assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "last"
        assert (await ann.until("SESSION_ENDED"))["reason"] == "left"


async def test_a_violation_right_behind(servers: dict[str, Server]) -> None:
    """What comes before a violation is answered before the close."""
    server = servers["peersync"]
    with raw_socket(server) as sock:
        token = server.keys.token("cid")
        sock.sendall(
            text("AUTH", f'{{"token":"{token}"}}') + text("PEER_REGISTER") + text("PING") + masked(0, b"stray")
        )
        received = b""
        while chunk := sock.recv(65_536):
            received += chunk
            if b"\x88" in received:
                break
    places = [received.find(word) for word in (b"AUTH_SUCCESS", b"PEER_REGISTERED", b"PONG", struct.pack("!H", 1002))]
    assert -1 not in places
    assert places == sorted(places)


async def test_kept_mail_near_its_bound(servers: dict[str, Server]) -> None:
    """Mail as large as may be kept is delivered after PEER_REGISTERED to one who reads."""
    server = servers["peersync"]
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        bob.cut()
        while await ann.next_event() != "bob offline":
            pass
        for _ in range(4):
            await ann.send("SEND_MESSAGE", sessionId=session_id, content="x" * 1_048_200)
        await ann.expect_quiet()
        async with client(server) as again:
            await again.join("bob")
            for _ in range(4):
                assert len((await again.expect("MESSAGE_RECEIVED"))["content"]) == 1_048_200
