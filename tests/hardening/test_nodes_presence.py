"""Several nodes on one Redis: who is there is known on all of them, and who was on a dead one is told to be gone."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import pytest

from tests.hardening.cluster import Cluster, Line
from tests.hardening.conftest import Report, Scale
from tests.hardening.crowd import all_of, loopback, percentile, until
from tests.hardening.faults import NODES, running
from tests.support.redis import REDIS_SERVER, RedisServer, redis_server
from tests.support.server import free_port
from tests.support.tokens import Keys

PEERS = 1500
USERS = 300
AT_ONCE = 50
PAGE = 500
SHOWN = 100
LEASE_SECONDS = 9.0
GRACE_SECONDS = 5.0
BRIEF_LEASE_SECONDS = 1.5
BRIEF_GRACE_SECONDS = 1.0
KNOWN_SECONDS = 10.0
OFFLINE_SECONDS = 15.0

pytestmark = pytest.mark.skipif(REDIS_SERVER is None and "CI" not in os.environ, reason="redis-server was not found")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for the nodes of one test."""
    with redis_server(free_port(), tmp_path) as server:
        yield server


class Onlooker:
    """A user of version 1, who notes what is told of others, and when."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.statuses: dict[str, tuple[str, float]] = {}
        self.listed: list[str] = []
        self.session = ""
        self.ended: tuple[str, float] | None = None
        self.line = Line(self._take)

    async def come(self, cluster: Cluster, number: int) -> None:
        """Register on one of the nodes."""
        await self.line.connect(cluster.urls[number % NODES], loopback(number))
        await self.line.join(cluster.keys.token(self.name))

    async def look(self) -> None:
        """See who is there, as far as it is shown at once."""
        found = await self.line.ask("PEERS_LIST", "DISCOVER_PEERS", limit=SHOWN)
        self.listed = [peer["id"] for peer in found["peers"]]

    async def count(self) -> int:
        """Return how many others are there."""
        count = 0
        cursor: dict[str, object] = {}
        while True:
            found = await self.line.ask("PEERS_LIST", "DISCOVER_PEERS", limit=PAGE, **cursor)
            count += len(found["peers"])
            if "nextCursor" not in found:
                return count
            cursor = {"cursor": found["nextCursor"]}

    def _take(self, line: Line, event: Any) -> None:
        data, now = event["data"], perf_counter()
        match event["event"]:
            case "PEER_STATUS_UPDATE":
                self.statuses[data["id"]] = data["status"], now
            case "CONNECTION_REQUEST_RECEIVED":
                line.send("CONNECTION_RESPONSE", requestId=data["requestId"], accepted=True)
            case "SESSION_CREATED" | "CONNECTION_ACCEPTED":
                self.session = data["sessionId"]
            case "SESSION_ENDED":
                self.ended = data["reason"], now


async def test_all_see_all(keys: Keys, store: RedisServer, tmp_path: Path, scale: Scale, report: Report) -> None:
    """Each node soon lists all who registered on any, and who was shown a peer is told of its new status."""
    peers = [Onlooker(f"user-{number}") for number in range(scale(PEERS))]
    with running(keys, tmp_path, [store.port] * NODES) as cluster:
        await cluster.start(*range(NODES))

        async def come(number: int) -> None:
            await peers[number].come(cluster, number)

        await all_of(come, len(peers), AT_ONCE)
        began = perf_counter()
        with anyio.fail_after(KNOWN_SECONDS):
            for peer in peers[:NODES]:
                while await peer.count() != len(peers) - 1:
                    pass
        listed = perf_counter() - began

        async def look(number: int) -> None:
            await peers[number].look()

        await all_of(look, len(peers), AT_ONCE)
        busy = {name for peer in peers for name in peer.listed}
        began = perf_counter()
        for peer in peers:
            if peer.name in busy:
                peer.line.send("PEER_STATUS", status="busy")
        owed = [(peer, name) for peer in peers for name in peer.listed]
        await until(lambda: all(peer.statuses.get(name, ("",))[0] == "busy" for peer, name in owed), KNOWN_SECONDS)
        told = [peer.statuses[name][1] - began for peer, name in owed]
        report(
            f"peers who register on {NODES} nodes, and see each other",
            len(peers),
            f"all listed by every node {listed:.2f} s after the last had registered; then {len(busy)} changed their"
            f" status, and {len(told):,} updates came to who was shown them: {percentile(told, 0.5):.2f} s (median),"
            f" {percentile(told, 0.99):.2f} s (p99), {max(told):.2f} s (longest)",
        )
        for peer in peers:
            peer.line.cut()
            await peer.line.is_gone.wait()


async def test_sweeping(keys: Keys, store: RedisServer, tmp_path: Path, scale: Scale, report: Report) -> None:
    """Users of version 1 of a node that was killed, who do not come back, are offline soon; then their sessions end."""
    count = scale(USERS)
    is_full = count == USERS
    lease = LEASE_SECONDS if is_full else BRIEF_LEASE_SECONDS
    grace = GRACE_SECONDS if is_full else BRIEF_GRACE_SECONDS
    dead = [Onlooker(f"dead-{number}") for number in range(count)]
    left = [Onlooker(f"left-{number}") for number in range(count)]
    settings = {"node_lease_seconds": lease, "session_grace_seconds": grace}
    with running(keys, tmp_path, [store.port] * NODES, **settings) as cluster:
        await cluster.start(*range(NODES))

        async def come(number: int) -> None:
            await dead[number].come(cluster, 0)
            await left[number].come(cluster, 1 + number % (NODES - 1))
            while not left[number].session:
                left[number].line.send("CONNECTION_REQUEST", targetId=dead[number].name)
                with anyio.move_on_after(1):
                    await until(lambda: bool(left[number].session))

        await all_of(come, count, AT_ONCE)
        await anyio.sleep(random.uniform(0, lease))
        killed = perf_counter()
        await cluster.kill(0)
        await until(lambda: all(each.ended for each in left), OFFLINE_SECONDS + grace + lease)
        for number, each in enumerate(left):
            assert each.statuses[dead[number].name][0] == "offline"
            assert each.ended is not None
            assert each.ended[0] == "timeout"
        offline = [each.statuses[dead[number].name][1] - killed for number, each in enumerate(left)]
        ended = [each.ended[1] - killed for each in left if each.ended is not None]
        report(
            f"users of a killed node who stay away (version 1, lease {lease:.0f} s, grace {grace:.0f} s)",
            count,
            f"`offline` told to others after {min(offline):.1f} to {max(offline):.1f} s,"
            f" sessions ended, `timeout`, after {min(ended):.1f} to {max(ended):.1f} s",
        )
        assert max(offline) < OFFLINE_SECONDS
        for each in left:
            each.line.cut()
            await each.line.is_gone.wait()
