"""Strangers who offer much and never authenticate, and others who only knock."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import pytest

from tests.hardening.crowd import Peer, metric, registries, resident_mib, until
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

FULL = 1000


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server."""
    with serving(keys, tmp_path_factory.mktemp("knocking"), log_level="error") as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_offers(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """Memory grows by 50 MiB at most, and whoever has a token gets in meanwhile."""
    strangers = scale(FULL)
    await _log_in(server, 0)
    before = resident_mib(server)
    with _strangers(server, strangers):
        await until(lambda: registries(server).get("unauthenticated", 0) >= strangers // 2)
        seconds = [await _log_in(server, number) for number in range(1, 11)]
        await until(lambda: _refusals(server, "message_bytes") >= strangers // 2)
        await until(lambda: _refusals(server, "http_head") >= strangers // 4)
    grown = resident_mib(server, peak=True) - before
    report(
        "sockets before authentication, each offering 40 MiB, and as many half-sent requests",
        strangers,
        f"memory +{grown:.0f} MiB at most; ten real logins meanwhile took {max(seconds):.2f} s at most",
    )
    assert grown < 50


@contextmanager
def _strangers(server: Server, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.hardening.strangers", str(server.port), str(count)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def _refusals(server: Server, limit: str) -> float:
    return metric(server, f'peersync_refusals_total{{limit="{limit}"}}')


async def _log_in(server: Server, number: int) -> float:
    """Return how long it takes to be registered, in seconds."""
    token = server.keys.token(f"user-{number}")
    began = perf_counter()
    peer = await Peer().connect(server.url, f"127.1.0.{number + 1}")
    await peer.join(token)
    took = perf_counter() - began
    await peer.leave()
    return took
