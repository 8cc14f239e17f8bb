"""A plugin gone wrong: its handlers raise, hang, exit or flood, and nobody else notices."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from tests.hardening.crowd import ClosedError, Peer, all_of, loopback, metric
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

FULL = 1000
AT_ONCE = 200
WRONG = '''
"""Handlers gone wrong."""

from typing import ClassVar

import anyio

from handlers.table import Context, HandlerTable
from schemas.events import ClientEvent, ServerEvent

table = HandlerTable()


class Nothing(ClientEvent, frozen=True):
    """Carries nothing."""


class Much(ServerEvent, frozen=True):
    """Carries much."""

    event: ClassVar[str] = "MUCH"
    body: str = "x" * 4000


@table.on("RAISE")
def raise_it(message: Nothing, ctx: Context) -> None:
    raise KeyError("oops")


@table.on("RAISE_LATER")
async def raise_later(message: Nothing, ctx: Context) -> None:
    await anyio.sleep(0.01)
    raise KeyError("oops")


@table.on("EXIT")
async def leave(message: Nothing, ctx: Context) -> None:
    raise SystemExit(1)


@table.on("HANG")
async def hang(message: Nothing, ctx: Context) -> None:
    await anyio.sleep_forever()


@table.on("FLOOD")
async def flood(message: Nothing, ctx: Context) -> None:
    for _ in range(400):
        await anyio.sleep(0)
        for _ in range(10):
            ctx.socket.send(Much())
'''
KINDS = ("RAISE", "RAISE_LATER", "EXIT", "HANG", "FLOOD")
EXPECTED = {"RAISE": "ERR_9001", "RAISE_LATER": "ERR_9001", "EXIT": "ERR_9001", "HANG": "ERR_9001", "FLOOD": "cut"}


@pytest.fixture
def server(keys: Keys, tmp_path: Path) -> Iterator[Server]:
    """Run a server with that plugin, and small outboxes."""
    (tmp_path / "wrong.py").write_text(WRONG)
    bounds = {"max_message_bytes": 65_536, "outbox_bytes": 262_144, "replay_bytes": 262_144}
    with serving(
        keys, tmp_path, plugins="wrong", pythonpath=f"{ROOT}:{tmp_path}", log_level="critical", **bounds
    ) as server:
        yield server


async def test_plugin_gone_wrong(
    server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """Each socket that it concerns gets ERR_9001 or is cut; two others talk all the while and lose nothing."""
    count = scale(FULL)
    outcomes: Counter[tuple[str, str]] = Counter()

    async def suffer(number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        peer = await Peer().connect(server.url, loopback(number))
        await peer.join(server.keys.token(f"user-{number}"))
        outcomes[kind, await _provoke(peer, kind)] += 1
        peer.cut()

    ann, bob = await Peer().connect(server.url), await Peer().connect(server.url)
    session_id = await _pair(server, ann, bob)
    sent = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, suffer, count, AT_ONCE)
        while sum(outcomes.values()) < count:
            sent += 1
            received = bob.expect("MESSAGE_RECEIVED")
            ann.send("SEND_MESSAGE", sessionId=session_id, content=sent)
            assert (await bob.received(received))["content"] == sent
            await anyio.sleep(0.02)
    report(
        "handlers that raise, exit, hang or flood",
        count,
        f"each its ERR_9001 or cut; of {sent} messages of a pair beside them 0 were lost",
    )
    assert outcomes == {(kind, EXPECTED[kind]): count // len(KINDS) for kind in KINDS}
    assert metric(server, 'peersync_sockets{state="registered"}') >= 2
    assert server.is_alive()


async def _provoke(peer: Peer, kind: str) -> str:
    """Return what comes of an event of this kind."""
    answered = peer.expect("ERROR")
    if kind == "FLOOD":
        peer.stop_reading()
    peer.send(kind)
    if kind == "FLOOD":
        await anyio.sleep(3)
        peer.read_on()
    try:
        code: str = (await peer.received(answered))["code"]
    except ClosedError:
        return "cut"
    return code


async def _pair(server: Server, ann: Peer, bob: Peer) -> str:
    await ann.join(server.keys.token("ann"))
    await bob.join(server.keys.token("bob"))
    asked, accepted = bob.expect("CONNECTION_REQUEST_RECEIVED"), ann.expect("CONNECTION_ACCEPTED")
    ann.send("CONNECTION_REQUEST", targetId="bob")
    bob.send("CONNECTION_RESPONSE", requestId=(await bob.received(asked))["requestId"], accepted=True)
    session_id: str = (await ann.received(accepted))["sessionId"]
    return session_id
