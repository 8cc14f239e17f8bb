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
def raw_socket(server: Server) -> Iterator[socket.socket]:
    """Open a WebSocket by hand."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in sock.recv(4096)
        yield sock


@pytest.mark.parametrize(
    "flood", [masked(9, b"") * 50_000, masked(1, b"{", fin=False) + masked(0, b"", fin=False) * 50_000]
)
async def test_crumbs(flood: bytes, servers: dict[str, Server]) -> None:
    """A flood of empty pings or fragments is closed with 4029 at once, and a neighbour is served."""
    server = servers["peersync"]
    async with client(server) as ann:
        await ann.authenticate("ann")
        with raw_socket(server) as stranger:
            try:
                stranger.sendall(flood)
                while (data := stranger.recv(65_536)) and not data.startswith(b"\x88"):
                    pass
                assert data[2:4] == struct.pack("!H", 4029)
            except ConnectionError:
                pass  # the close frame was overtaken by the kernel's reset: closed all the same
        await ann.expect_quiet()


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
