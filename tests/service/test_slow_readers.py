"""Receivers that do not read: they cost a bounded sum and are closed, and nobody waits for them."""

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx2
import pytest

from tests.support.client import Client, client, pair
from tests.support.server import Server, serving
from tests.support.tokens import Keys

OUTBOX_BYTES = 262_144
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


async def test_closed_when_too_slow(narrow: Server) -> None:
    """A receiver that does not read is dropped past its bound; its sender never waits, and a third one is served."""
    async with client(narrow) as ann, client(narrow) as bob, client(narrow) as cid:
        session_id = await pair(ann, bob)
        await cid.join("cid")
        bob.websocket.transport.pause_reading()
        await _send_until_dropped(ann, session_id, "bob")
        assert await cid.is_heard()
        bob.cut()


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
    assert any(_metric(narrow, "peersync_outbox_bytes") == 0 for _ in range(1000))


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
    match = re.search(rf"^{name} (\S+)$", httpx2.get(f"{server.http}/metrics").text, re.MULTILINE)
    assert match
    return float(match[1])
