"""Receivers that never read, under a flood: they are closed, cost little, and nobody else waits."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import anyio
import anyio.to_thread
import pytest

from tests.hardening.crowd import Peer, metric, percentile, resident_mib, until
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

FULL = 2**30
BYTES_PER_SECOND = 8_388_608
RECEIVERS = 100
MEMORY_MIB = 20
CUT = 'peersync_sockets_closed_total{code="4008"}'


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory, scale: Callable[[int], int]) -> Iterator[Server]:
    """Run a server whose bounds are those of every day; a tenth of the flood may come ten times as fast."""
    with serving(
        keys,
        tmp_path_factory.mktemp("never-reading"),
        log_level="error",
        rate_limit_events_per_second=100_000,
        rate_limit_burst=100_000,
        rate_limit_bytes_per_second=BYTES_PER_SECOND * FULL // scale(FULL),
    ) as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_never_reading(
    server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """Each is closed with 4008; memory grows by 20 MiB at most; a third peer is served meanwhile."""
    count = scale(FULL)
    cid = await Peer().connect(server.url)
    await cid.join(server.keys.token("cid"))
    quiet: list[float] = []
    with anyio.move_on_after(2):
        await _measure(cid, quiet)
    before = resident_mib(server)
    busy: list[float] = []
    with _flood(server, count) as flood:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_measure, cid, busy)
            assert flood.stdout is not None
            receivers = int(await anyio.to_thread.run_sync(flood.stdout.readline))
            tasks.cancel_scope.cancel()
        await until(lambda: metric(server, CUT) >= receivers - 1)  # the last may have got too little
        closed = metric(server, CUT)
    grown = resident_mib(server, peak=True) - before
    report(
        "bytes for receivers that never read",
        count,
        f"{receivers} of them in turn, {closed:.0f} closed with 4008; memory +{grown:.1f} MiB at most; a third peer's"
        f" PING took {_told(busy)}, before that {_told(quiet)}",
    )
    assert grown < MEMORY_MIB
    assert len(busy) > 10
    assert percentile(busy, 0.99) < 1
    await cid.leave()


@contextmanager
def _flood(server: Server, total: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.hardening.flood", str(server.port), str(total)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        bobs = " ".join(server.keys.token(f"bob-{number}") for number in range(RECEIVERS))
        process.stdin.write(f"{server.keys.token('ann')}\n{bobs}\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def _told(seconds: list[float]) -> str:
    return f"{percentile(seconds, 0.5) * 1000:.1f} ms (median), {percentile(seconds, 0.99) * 1000:.1f} ms (p99)"


async def _measure(peer: Peer, seconds: list[float]) -> None:
    while True:
        seconds.append(await _round_trip(peer))
        await anyio.sleep(0.005)


async def _round_trip(peer: Peer) -> float:
    """Return how long a PING takes, in seconds."""
    began = perf_counter()
    await peer.ask("PONG", "PING")
    return perf_counter() - began
