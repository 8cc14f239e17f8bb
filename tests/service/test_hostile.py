"""Hostile input: any bytes in any state give a reply or a documented close, and harm nobody else."""

import json
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.support.client import PATIENCE, Client, client, pair
from tests.support.server import Server

DOCUMENTED_CLOSES = {1002, 1007, 1009, 4001}
EVENTS = [
    "AUTH",
    "PING",
    "PEER_REGISTER",
    "DISCOVER_PEERS",
    "CONNECTION_REQUEST",
    "CONNECTION_RESPONSE",
    "SEND_MESSAGE",
]
FIELDS = ["token", "displayName", "ide", "role", "lanOnly", "targetId", "requestId", "accepted", "sessionId", "content"]
PROPERTY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
events = st.builds(
    lambda event, data: json.dumps({"event": event, "data": data}),
    st.sampled_from(EVENTS) | st.text(),
    st.dictionaries(st.sampled_from(FIELDS), values) | values,
)
frames = st.binary(max_size=200) | st.text(max_size=200) | values.map(json.dumps) | events


@pytest.mark.parametrize("state", ["connected", "authenticated", "registered"])
@PROPERTY
@given(frame=frames)
def test_any_frame(state: str, frame: str | bytes, servers: dict[str, Server]) -> None:
    """Any frame is answered, or closed as documented, and a neighbour does not notice."""
    anyio.run(_send_anything, state, frame, servers["peersync"])


async def _send_anything(state: str, frame: str | bytes, server: Server) -> None:
    async with client(server) as stranger:
        if state != "connected":
            await stranger.authenticate("stranger")
        if state == "registered":
            await stranger.send("PEER_REGISTER")
            await stranger.until("PEER_REGISTERED")
        await stranger.raw(frame)
        await stranger.raw('{"event":"NOBODY_KNOWS_THIS"}')
        with anyio.fail_after(PATIENCE):
            close = await _until_answered(stranger)
        assert close is None or close.code in DOCUMENTED_CLOSES


async def _until_answered(stranger: Client) -> Close | None:
    """Wait for the answer to the marker; None if it came, else the close frame."""
    try:
        while (await stranger.until("ERROR"))["code"] not in {"ERR_5003", "ERR_5005"}:
            pass
    except ConnectionClosed as closed:
        return closed.rcvd or Close(1006, "cut")
    return None


@PROPERTY
@given(content=values, spaces=st.text(" \t\n\r", max_size=3), is_ascii=st.booleans())
def test_any_content(content: Any, spaces: str, is_ascii: bool, servers: dict[str, Server]) -> None:
    """Any JSON value arrives byte for byte."""
    text = spaces.join(["", json.dumps(content, ensure_ascii=is_ascii, indent=1), ""])
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(content)
    anyio.run(_send_content, text, servers["peersync"])


@pytest.mark.parametrize(
    "content",
    [
        "12345678901234567890123456789012345678901234567890",
        "1e400",
        "-0",
        "1.10",
        '"\\ud83d"',
        '"\\ude00\\ud83d"',
        '"\\uD83D\\uDE00 \\u00e9 é"',
        '{"b":1,"a":2,"b":3}',
        '{"a" :\t1 , "\\ud83d":["\\ud83d\\\\ud83d"]}',
        "[" * 200 + "]" * 200,
        '"' + "é" * 40_000 + '"',
        '"' + "x" * 1_000_000 + '"',
    ],
)
async def test_content(content: str, server: Server) -> None:
    """Big numbers, half surrogate pairs, duplicate keys, spaces, depth and length arrive byte for byte."""
    await _send_content(content, server)


async def _send_content(content: str, server: Server) -> None:
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        await ann.raw(
            f'{{"event":"SEND_MESSAGE","data":{{"sessionId":"{session_id}","content":{content},"type":"t"}}}}'
        )
        while '"MESSAGE_RECEIVED"' not in (frame := await bob.receive()):
            pass
        start = f'{{"event":"MESSAGE_RECEIVED","data":{{"sessionId":"{session_id}","from":"ann","content":'
        assert frame.startswith(start + content.strip(" \t\n\r") + ',"type":"t","timestamp":"')


async def test_bad_utf8_closes_its_own_sender(server: Server) -> None:
    """A frame that is not UTF-8 closes its sender with 1007, binary or text, and is not forwarded."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        frame = f'{{"event":"SEND_MESSAGE","data":{{"sessionId":"{session_id}","content":"'.encode() + b'\xff"}}'
        await ann.raw(frame)
        await ann.expect_close_after_news(1007)
        await bob.until("PEER_STATUS_UPDATE")
        assert await bob.is_heard()


async def test_a_death_is_nobody_elses(servers: dict[str, Server]) -> None:
    """After all that was thrown at it the process lives and has logged no traceback."""
    for server in servers.values():
        assert server.is_alive()
        assert "Traceback" not in server.log.read_text(), server.log.read_text()[:3000]
