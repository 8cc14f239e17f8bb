"""Ten thousand sockets on one process: what each costs, and how all of them go."""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from time import perf_counter

import anyio
import anyio.to_thread
import pytest

from tests.hardening.crowd import KIB_A_MIB, Peer, all_of, loopback, metric, percentile, resident_mib
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 10_000
AT_ONCE = 100
DRAIN_SECONDS = 20
RESTART = 1012
FILES_BESIDE = 200
KIB_EACH = 64


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory, scale: Callable[[int], int]) -> Iterator[Server]:
    """Run a server."""
    with serving(
        keys, tmp_path_factory.mktemp("many"), log_level="error", drain_seconds=scale(DRAIN_SECONDS)
    ) as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_many(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """Each costs some KiB; SIGTERM closes all with 1012, spread over the time given, and the process ends in time."""
    count, drain = scale(FULL), scale(DRAIN_SECONDS)
    _need_files(count + FILES_BESIDE)
    tokens = [server.keys.token(f"user-{number}") for number in range(count)]
    peers = [Peer() for _ in range(count)]
    await _register(server, peers[:50], tokens)
    before = resident_mib(server)
    await _register(server, peers, tokens, 50)
    each = (resident_mib(server) - before) * KIB_A_MIB / (count - 50)
    assert metric(server, 'peersync_sockets{state="registered"}') == count
    began = perf_counter()
    gone: list[float] = []

    async def note(number: int) -> None:
        await peers[number].is_gone.wait()
        gone.append(perf_counter() - began)

    server.process.send_signal(signal.SIGTERM)
    with anyio.fail_after(drain + 60):
        await all_of(note, count, count)
        exit_code = await anyio.to_thread.run_sync(server.process.wait, drain + 60)
    ended = perf_counter() - began
    codes = Counter(peer.code for peer in peers)
    report(
        "authenticated, registered sockets on one process",
        count,
        f"{each:.1f} KiB each; after SIGTERM {codes[RESTART]:,} closed with 1012, a tenth after"
        f" {percentile(gone, 0.1):.1f} s, half after {percentile(gone, 0.5):.1f} s, all after {max(gone):.1f} s of"
        f" DRAIN_SECONDS={drain}; exit code {exit_code} after {ended:.1f} s",
    )
    assert (exit_code, codes) == (0, {RESTART: count})
    assert each < KIB_EACH
    assert percentile(gone, 0.9) - percentile(gone, 0.1) > drain / 4


async def _register(server: Server, peers: list[Peer], tokens: list[str], start: int = 0) -> None:
    async def come(number: int) -> None:
        await (await peers[start + number].connect(server.url, loopback(start + number))).join(tokens[start + number])

    await all_of(come, len(peers) - start, AT_ONCE)


def _need_files(count: int) -> None:
    """Skip where fewer files may be open, and say what to do."""
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"{count} open files are needed, {hard} are allowed: ulimit -n {count}")
    if soft != resource.RLIM_INFINITY and soft < count:
        pytest.skip(f"{count} open files are needed: ulimit -n {count}")
