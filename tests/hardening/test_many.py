"""As many as a node takes: what each costs, and how they are sent away when the node stops."""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import anyio.to_thread
import pytest

from tests.hardening.crowd import KIB_A_MIB, Peer, all_of, loopback, metric, resident_mib
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 10_000
AT_ONCE = 100
DRAIN_SECONDS = 20
EXIT_SECONDS = 10
MOST_KIB = 50


class Guest(Peer):
    """A socket that notes when it was closed."""

    closed_at = 0.0

    def on_ws_disconnected(self, transport: Any) -> None:
        """Look at the clock."""
        self.closed_at = perf_counter()
        super().on_ws_disconnected(transport)


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory, scale: Callable[[int], int]) -> Iterator[Server]:
    """Run a server."""
    folder = tmp_path_factory.mktemp("many")
    with serving(keys, folder, log_level="error", drain_seconds=scale(DRAIN_SECONDS)) as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_many(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """SIGTERM closes all that are registered with 1012, a few at a time, and the process exits in time."""
    count, drain_seconds = scale(FULL), scale(DRAIN_SECONDS)
    guests = [Guest() for _ in range(count)]
    tokens = [server.keys.token(f"user-{number}") for number in range(count)]

    async def come(number: int) -> None:
        await (await guests[number].connect(server.url, loopback(number))).join(tokens[number])

    before = resident_mib(server)
    await all_of(come, count, AT_ONCE)
    assert metric(server, 'peersync_sockets{state="registered"}') == count
    each = (resident_mib(server) - before) * KIB_A_MIB / count
    server.process.send_signal(signal.SIGTERM)
    began = perf_counter()
    exit_code = await anyio.to_thread.run_sync(server.process.wait, drain_seconds + EXIT_SECONDS)
    exited = perf_counter() - began
    for guest in guests:
        await guest.is_gone.wait()
    closings = sorted(guest.closed_at - began for guest in guests)
    most = max(Counter(int(10 * at / drain_seconds) for at in closings).values())
    report(
        "authenticated, registered sockets on one process",
        count,
        f"{each:.1f} KiB each; after SIGTERM all closed with 1012, {closings[0]:.1f} to {closings[-1]:.1f} s later, at"
        f" most {most:,} within {drain_seconds / 10:g} s; exit after {exited:.1f} s (DRAIN_SECONDS {drain_seconds})",
    )
    assert {guest.code for guest in guests} == {1012}
    assert exit_code == 0
    assert closings[-1] - closings[0] > drain_seconds / 2
    assert most < count / 2
    assert each < MOST_KIB
