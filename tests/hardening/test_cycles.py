"""Coming and going, again and again: nothing is left of those who were there."""

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.hardening.crowd import Peer, all_of, loopback, metric, registries, resident_mib, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 100_000
AT_ONCE = 50
LEVEL_MIB = 5


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that soon gives up who was cut off."""
    folder = tmp_path_factory.mktemp("cycles")
    with serving(keys, folder, session_grace_seconds=0.2, resume_grace_seconds=0.2) as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_cycles(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """Connect, authenticate, register, and leave or be cut: in the end every table is empty, and memory level."""
    cycles = scale(FULL)
    tokens = [server.keys.token(f"user-{number}") for number in range(AT_ONCE)]
    capabilities = [None, ["resume", "notices"], ["sessions"]]

    async def cycle(number: int) -> None:
        peer = await Peer().connect(server.url, loopback(number))
        await peer.ask("AUTH_SUCCESS", "AUTH", token=tokens[number % AT_ONCE], capabilities=capabilities[number % 3])
        await peer.ask("PEER_REGISTERED", "PEER_REGISTER")
        if number % 4:
            await peer.leave()
        else:
            peer.cut()

    await all_of(cycle, cycles // 5, AT_ONCE)
    await until(lambda: not registries(server))
    before = resident_mib(server)
    await all_of(cycle, cycles - cycles // 5, AT_ONCE)
    await until(lambda: not registries(server))
    grown = resident_mib(server) - before
    handled = metric(server, 'peersync_events_total{event="PEER_REGISTER",outcome="handled"}')
    report("connect, register, close or be cut", cycles, f"every table back to 0; memory {grown:+.1f} MiB")
    assert handled == cycles
    assert grown < LEVEL_MIB
