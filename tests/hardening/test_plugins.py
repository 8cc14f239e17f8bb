"""A plugin gone wrong: its handlers raise, hang, exit or flood, and nobody else notices."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from tests.hardening.crowd import Peer, all_of, loopback, metric, until
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

FULL = 1000
WRONG = '''
"""Handlers gone wrong."""

from typing import ClassVar

import anyio

from handlers.context import Context
from handlers.table import HandlerTable
from schemas.events import ClientEvent, ServerEvent

table = HandlerTable()


class Nothing(ClientEvent, frozen=True):
    """Carries nothing."""


class Much(ServerEvent, frozen=True):
    """Carries much."""

    event: ClassVar[str] = "MUCH"
    body: str


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
    for _ in range(500):
        await anyio.sleep(0.01)
        for _ in range(20):
            ctx.socket.send(Much(body="x" * 4000))
'''
CUT = 'peersync_sockets_closed_total{code="4008"}'
KINDS = ("RAISE", "RAISE_LATER", "EXIT", "HANG", "FLOOD")


@pytest.fixture
def server(keys: Keys, tmp_path: Path) -> Iterator[Server]:
    """Run a server with that plugin, and small outboxes."""
    (tmp_path / "wrong.py").write_text(WRONG)
    bounds = {"max_message_bytes": 65_536, "outbox_bytes": 262_144, "replay_bytes": 262_144}
    with serving(
        keys,
        tmp_path,
        plugins="tests.support.hasty,wrong",
        pythonpath=f"{ROOT}:{tmp_path}",
        log_level="critical",
        **bounds,
    ) as server:
        yield server


async def test_plugin_gone_wrong(
    server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """Each socket that it concerns gets ERR_9001 or is cut; two others talk all the while and lose nothing."""
    count = scale(FULL)
    outcomes: Counter[tuple[str, str]] = Counter()
    flooded: list[Peer] = []

    async def suffer(number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        peer = await Peer().connect(server.url, loopback(number))
        await peer.join(server.keys.token(f"user-{number}"))
        if kind == "FLOOD":
            peer.stop_reading()
            peer.send(kind)
            flooded.append(peer)
            return
        error = await peer.ask("ERROR", kind)
        outcomes[kind, error["code"]] += 1
        await peer.leave()

    ann, bob = await Peer().connect(server.url), await Peer().connect(server.url)
    session_id = await _pair(server, ann, bob)
    sent = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, suffer, count, count)
        while sum(outcomes.values()) + len(flooded) < count:
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
    await until(lambda: metric(server, CUT) == len(flooded))
    for peer in flooded:
        peer.cut()
        await peer.is_gone.wait()
    assert outcomes == {(kind, "ERR_9001"): count // len(KINDS) for kind in KINDS[:-1]}
    assert metric(server, 'peersync_sockets{state="registered"}') >= 2
    assert server.is_alive()
    for peer in (ann, bob):
        await peer.leave()


async def _pair(server: Server, ann: Peer, bob: Peer) -> str:
    await ann.join(server.keys.token("ann"))
    await bob.join(server.keys.token("bob"))
    asked, accepted = bob.expect("CONNECTION_REQUEST_RECEIVED"), ann.expect("CONNECTION_ACCEPTED")
    ann.send("CONNECTION_REQUEST", targetId="bob")
    bob.send("CONNECTION_RESPONSE", requestId=(await bob.received(asked))["requestId"], accepted=True)
    session_id: str = (await ann.received(accepted))["sessionId"]
    return session_id
