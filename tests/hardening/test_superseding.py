"""A user's new socket takes the old one's place, however and whenever the old one goes."""

from collections.abc import Callable, Iterator

import pytest

from tests.hardening.crowd import Peer, all_of, loopback, metric, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

AT_ONCE = 100
FULL = 1000


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server."""
    with serving(keys, tmp_path_factory.mktemp("superseding")) as server:
        yield server


@pytest.mark.parametrize("gap", [0, 0.05, 0.5, None], ids=["0 ms", "50 ms", "500 ms", "hung"])
async def test_superseding(
    gap: float | None, server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """The new socket comes while the old one registers, which closes after the gap or hangs: none is lost."""
    count = scale(FULL)
    files = metric(server, "process_open_fds")
    old = [Peer(linger=gap) for _ in range(count)]
    new = [Peer() for _ in range(count)]

    async def supersede(number: int) -> None:
        token = server.keys.token(f"user-{number}")
        first = await old[number].connect(server.url, loopback(number))
        await first.ask("AUTH_SUCCESS", "AUTH", token=token)
        first.send("PEER_REGISTER")
        if gap is None:
            first.stop_reading()
        second = await new[number].connect(server.url, loopback(number))
        await second.join(token)

    await all_of(supersede, count, AT_ONCE)
    await until(lambda: metric(server, "process_open_fds") <= files + count)
    for peer in old:
        peer.read_on()
        await peer.is_gone.wait()
    kept = 0
    for peer in new:
        kept += "peers" in await peer.ask("PEERS_LIST", "DISCOVER_PEERS", limit=1)
    found = {
        metric(server, f'peersync_{name}"}}')
        for name in ('sockets{state="registered', 'registry_entries{registry="peers')
    }
    report(
        f"superseding, the old client {'hung' if gap is None else f'closing after {gap * 1000:g} ms'}",
        count,
        f"{count - kept} lost registrations",
    )
    assert (kept, found) == (count, {count})
    for peer in new:
        await peer.leave()
