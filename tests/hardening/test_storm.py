"""All clients lose their connections at once, and are back at once."""

import random
from collections.abc import Callable, Iterator
from time import perf_counter

import anyio
import pytest

from tests.hardening.crowd import REFUSED, Peer, all_of, loopback, metric, percentile, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 5000
AT_ONCE = 100


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server."""
    with serving(keys, tmp_path_factory.mktemp("storm"), log_level="error") as server:
        yield server


async def test_storm(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """All that were cut are registered again; who is refused tries again a little later, with jitter."""
    count = scale(FULL)
    tokens = [server.keys.token(f"user-{number}") for number in range(count)]
    peers = [Peer() for _ in range(count)]

    async def come(number: int) -> None:
        await (await peers[number].connect(server.url, loopback(number))).join(tokens[number])

    await all_of(come, count, AT_ONCE)
    assert metric(server, 'peersync_sockets{state="registered"}') == count
    for peer in peers:
        peer.cut()
    began = perf_counter()
    registered: list[float] = []
    auth: list[float] = []
    refused = 0

    async def come_back(number: int) -> None:
        nonlocal refused
        await anyio.sleep(random.uniform(0, 1))
        while True:
            peer = peers[number] = Peer()
            try:
                await peer.connect(server.url, loopback(number))
                sent = perf_counter()
                await peer.ask("AUTH_SUCCESS", "AUTH", token=tokens[number])
                auth.append(perf_counter() - sent)
                await peer.ask("PEER_REGISTERED", "PEER_REGISTER")
            except REFUSED:
                refused += 1
                await anyio.sleep(random.uniform(0.5, 1.5))
            else:
                registered.append(perf_counter() - began)
                return

    await all_of(come_back, count, at_once=count)
    report(
        "reconnect storm",
        count,
        f"99 % registered after {percentile(registered, 0.99):.1f} s; p99 of AUTH {percentile(auth, 0.99):.2f} s;"
        f" {refused} attempts refused and made again",
    )
    await until(lambda: metric(server, 'peersync_sockets{state="registered"}') == count)
    assert metric(server, 'peersync_registry_entries{registry="peers"}') == count
    for peer in peers:
        peer.cut()
        await peer.is_gone.wait()
