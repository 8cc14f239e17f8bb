"""Stopping: sockets are told, served and closed little by little, over a real process (docs/protocol.md section 8)."""

import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.client import PATIENCE, Client, client
from tests.support.server import Server, serving
from tests.support.tokens import Keys

NEWS = {"SESSION_CREATED", "PEER_STATUS_UPDATE"}
SLOWLY = """
from app.gateway import drain
from handlers.table import HandlerTable

drain.SECONDS_EACH = {seconds}
table = HandlerTable()
"""


def slowly(folder: Path, seconds: float) -> str:
    """Make a plugin that gives each socket so many seconds of a drain, so that a few are as good as many."""
    (folder / "slowly.py").write_text(SLOWLY.format(seconds=seconds))
    return "slowly"


async def enter(ann: Client, user: str, *capabilities: str) -> None:
    """Authenticate with capabilities, and register."""
    await ann.send("AUTH", token=ann.server.keys.token(user), capabilities=capabilities)
    await ann.until("AUTH_SUCCESS")
    await ann.send("PEER_REGISTER")
    await ann.until("PEER_REGISTERED")


async def connect_as_pair(ann: Client, bob: Client) -> str:
    """Make a session of two who are registered; return its id."""
    await ann.send("CONNECTION_REQUEST", targetId="bob")
    request = await bob.until("CONNECTION_REQUEST_RECEIVED")
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    session_id: str = (await ann.until("CONNECTION_ACCEPTED"))["sessionId"]
    return session_id


async def names(ann: Client, until: str) -> set[str]:
    """Return the names of the events that come before this one."""
    seen = set()
    while (event := json.loads(await ann.receive())["event"]) != until:
        seen.add(event)
    return seen


async def exit_code(server: Server) -> int:
    """Wait for the process to end by itself."""
    return await anyio.to_thread.run_sync(server.process.wait, 2 * PATIENCE)


async def test_drain(keys: Keys, tmp_path: Path, implementation: str) -> None:
    """Who asked is told; sockets are closed with 1012 one after the other, and served until then; none comes in."""
    plugin = slowly(tmp_path, 0.5)
    with serving(keys, tmp_path, plugins=plugin, ws_implementation=implementation) as server:
        async with AsyncExitStack() as stack:
            crowd = [await stack.enter_async_context(client(server)) for _ in range(4)]
            ann, bob = [await stack.enter_async_context(client(server)) for _ in range(2)]
            await enter(ann, "ann", "notices")
            await enter(bob, "bob")
            session_id = await connect_as_pair(ann, bob)
            server.process.send_signal(signal.SIGTERM)
            notice = await ann.until("SERVER_NOTICE")
            assert notice == {"kind": "draining", "closesInSeconds": 3.0}
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(client(server))
            assert refused.value.response.status_code == 503
            ready = server.get("/health/ready")
            assert (ready.status_code, ready.json()["reasons"]) == (503, ["draining"])
            assert server.is_alive()
            await crowd[0].expect_close(1012)
            await ann.send("SEND_MESSAGE", sessionId=session_id, content="still there?")
            assert await names(bob, until="MESSAGE_RECEIVED") <= NEWS
            for socket in (*crowd[1:], ann, bob):
                await socket.expect_close_after_news(1012)
            assert await exit_code(server) == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal(keys: Keys, tmp_path: Path, first: signal.Signals, implementation: str) -> None:
    """A second signal closes all that are left, with 1012 too, and the process ends without a complaint."""
    settings = {"plugins": slowly(tmp_path, 600), "drain_seconds": 600, "ws_implementation": implementation}
    with serving(keys, tmp_path, **settings) as server:
        async with client(server) as ann, client(server) as bob:
            await enter(ann, "ann", "notices")
            await enter(bob, "bob")
            server.process.send_signal(first)
            await ann.until("SERVER_NOTICE")
            assert await ann.is_heard()
            server.process.send_signal(signal.SIGTERM)
            await ann.expect_close_after_news(1012)
            await bob.expect_close_after_news(1012)
        assert await exit_code(server) == 0
        assert server.log.read_text() == ""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_few_sockets(keys: Keys, tmp_path: Path, sign: signal.Signals) -> None:
    """Few sockets do not wait for DRAIN_SECONDS; who did not ask is not told."""
    with serving(keys, tmp_path, drain_seconds=600) as server:
        async with client(server) as ann, client(server) as bob:
            await enter(ann, "ann", "resume")
            server.process.send_signal(sign)
            await ann.expect_close(1012)
            await bob.expect_close(1012)
        assert await exit_code(server) == 0
        assert server.log.read_text() == ""
