"""A receiver that never reads, however much is sent to it: it costs a bounded sum, and others are served."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import anyio
import pytest

from tests.hardening.crowd import Peer, metric, pair, percentile, registries, resident_mib, until
from tests.hardening.flood import BODY, RECEIVER
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

FULL = 2**30
MOST_MIB = 20
CALM_SECONDS = 10
BETWEEN_SECONDS = 0.01


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that takes events and bytes as fast as they come."""
    rates = {"rate_limit_events_per_second": 2**30, "rate_limit_burst": 2**30, "rate_limit_bytes_per_second": 2**30}
    with serving(keys, tmp_path_factory.mktemp("flood"), log_level="error", **rates) as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_flood(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """It is closed with 4008 each time it comes; memory grows by 20 MiB at most; two others talk all the while."""
    total = scale(FULL)
    ann, bob = await Peer().connect(server.url), await Peer().connect(server.url)
    await ann.join(server.keys.token("ann"))
    await bob.join(server.keys.token("bob"))
    session_id = await pair(ann, bob, "bob")
    before: list[float] = []
    during: list[float] = []
    with anyio.move_on_after(scale(CALM_SECONDS)):
        while True:
            before.append(await _say(session_id, ann, bob))
    resident = resident_mib(server)
    with _flood(server, total) as flood:
        while flood.poll() is None:
            during.append(await _say(session_id, ann, bob))
        times = int(flood.communicate()[0])
    grown = resident_mib(server, peak=True) - resident
    closed = metric(server, 'peersync_sockets_closed_total{code="4008"}')
    report(
        f"bytes sent to a receiver that never reads, and comes again each time it is closed ({times} times)",
        total,
        f"{closed:.0f} times closed with 4008; memory +{grown:.1f} MiB at most; p99 of a third's messages"
        f" {percentile(before, 0.99) * 1000:.1f} ms before, {percentile(during, 0.99) * 1000:.1f} ms meanwhile",
    )
    assert closed == times >= total / (50 * len(BODY)) > 1
    assert grown < MOST_MIB
    for peer in (ann, bob):
        await peer.leave()
    await until(lambda: not registries(server), 40)


@contextmanager
def _flood(server: Server, total: int) -> Iterator["subprocess.Popen[str]"]:
    tokens = [server.keys.token("floods"), server.keys.token(RECEIVER)]
    command = [sys.executable, "-m", "tests.hardening.flood", server.url, str(total), *tokens]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def _say(session_id: str, ann: Peer, bob: Peer) -> float:
    """Return how long a message takes, in seconds."""
    received = bob.expect("MESSAGE_RECEIVED")
    began = perf_counter()
    ann.send("SEND_MESSAGE", sessionId=session_id, content="hello")
    await bob.received(received)
    took = perf_counter() - began
    await anyio.sleep(BETWEEN_SECONDS)
    return took
