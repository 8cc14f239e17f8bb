"""Rates, deadlines and heartbeats over the wire; a server of its own, with its times shortened."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.client import PATIENCE, client
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys


@pytest.fixture(scope="module")
def strict(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with tight limits."""
    with serving(
        keys,
        tmp_path_factory.mktemp("strict"),
        ws_heartbeat_interval=300,
        rate_limit_events_per_second=5,
        rate_limit_burst=10,
        max_unauthenticated=5,
    ) as server:
        yield server


async def test_rate_limit(strict: Server) -> None:
    """Past the burst events are refused, which is said once a second, with when to try again."""
    async with client(strict) as ann:
        await ann.authenticate("ann")
        for _ in range(40):
            await ann.send("PING")
        error = await ann.until("ERROR")
        assert error["code"] == "ERR_5004"
        assert 0 < error["details"]["retryAfterMs"] <= 1500
        await anyio.sleep(error["details"]["retryAfterMs"] / 1000)
        await ann.send("PING")
        await ann.expect("PONG")


async def test_a_refusal_carries_the_ref(strict: Server) -> None:
    """Who is told that it sends too much is told which of its events was refused."""
    async with client(strict) as ann:
        await ann.authenticate("ann")
        for number in range(40):
            await ann.raw(json.dumps({"event": "PING", "ref": number}))
        answers = [json.loads(await ann.receive()) for _ in range(9)]
        while answers[-1]["event"] == "PONG":
            answers.append(json.loads(await ann.receive()))
        assert answers[-1]["event"] == "ERROR"
        assert [answer["ref"] for answer in answers] == list(range(len(answers)))


async def test_too_many_at_the_door(strict: Server) -> None:
    """When one socket too many waits for authentication, the oldest is turned away with 4001."""
    async with AsyncExitStack() as stack:
        first, *_ = [await stack.enter_async_context(client(strict)) for _ in range(6)]
        await first.expect_error("ERR_1001")
        await first.expect_close(4001)


async def test_a_dead_socket_is_cut(strict: Server) -> None:
    """A client that does not answer pings is cut; one that does stays."""
    async with client(strict) as ann, client(strict) as bob:
        await ann.join("ann")
        await bob.join("bob")
        await ann.until("PEER_STATUS_UPDATE")
        bob.websocket.transport.pause_reading()
        while (await ann.until("PEER_STATUS_UPDATE"))["status"] != "offline":
            pass
        assert await ann.is_heard()
        bob.cut()


async def test_no_auth_in_time(keys: Keys, tmp_path: Path) -> None:
    """No successful AUTH in time, whatever else is sent, ends in ERR_1001 and 4001."""
    with serving(keys, tmp_path, plugins="tests.support.hasty") as hasty:
        async with connect(hasty.url, proxy=None) as websocket:
            codes: list[str] = []
            with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosed) as closed:
                await _note_errors(websocket, codes)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
        assert set(codes) == {"ERR_5005", "ERR_1001"}


async def _note_errors(websocket: ClientConnection, codes: list[str]) -> None:
    await websocket.send('{"event":"PING"}')
    while True:
        codes.append(json.loads(await websocket.recv())["data"]["code"])


def test_workers_are_refused(keys: Keys, tmp_path: Path) -> None:
    """Several workers  are refused, with the reason in one line."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve", "--workers", "2"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "redis://" in done.stderr
    assert len(done.stderr.splitlines()) == 1
