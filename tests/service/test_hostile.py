"""Any content arrives byte for byte, and what is no text closes its sender alone; more in tests/hardening."""

import json
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.client import client, pair
from tests.support.server import Server

PROPERTY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


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
