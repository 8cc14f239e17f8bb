"""Several nodes on one Redis, broken again and again under load.

Nothing acknowledged is lost, nothing comes twice or out of order, and in the end everything is acknowledged.
`phantoms` are messages that came again right after the socket had ended over which they came first.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hardening.cluster import Cluster, Crowd, some, talking
from tests.hardening.conftest import Report, Scale
from tests.hardening.crowd import Peer, percentile
from tests.hardening.faults import Faults, breakable
from tests.support.redis import ALL_KEPT, REDIS_SERVER, RedisServer, redis_server
from tests.support.server import free_port
from tests.support.tokens import Keys

PAIRS = 40
FEWEST = 8
RATE, HIGH_RATE = 4.0, 12.0
BACK_SECONDS = 5.0
NEAR_SECONDS = 1.0
LEASE = 3.0
BRIEF_LEASE = 1.0
DEFAULT_LEASE = 9.0
LONG = 10.0
HOPS = 3

Fault = Callable[[], Awaitable[None]]

pytestmark = pytest.mark.skipif(REDIS_SERVER is None and "CI" not in os.environ, reason="redis-server was not found")


class Trial:
    """Nodes, and pairs of users who talk over them while something is broken again and again."""

    def __init__(self, keys: Keys, store: RedisServer, folder: Path, scale: Scale, report: Report) -> None:
        self.scale = scale
        self.is_full = scale(10) == 10
        self.lease = LEASE if self.is_full else BRIEF_LEASE
        self._keys = keys
        self._store = store
        self._folder = folder
        self._report = report
        self.cluster: Cluster
        self.faults: Faults
        self.crowd: Crowd

    @asynccontextmanager
    async def running(
        self, what: str, count: int, longest: float | None = None, rate: float = RATE
    ) -> AsyncIterator[None]:
        """Have them talk; in the end tell what came of it, and see that nothing is lost."""
        pairs = max(FEWEST, self.scale(PAIRS))
        bounds = {"lease": self.lease, "longest": longest or self.lease}
        async with (
            breakable(self._keys, self._folder, self._store, **bounds) as (self.cluster, self.faults),
            talking(self.cluster, pairs, rate) as self.crowd,
        ):
            yield
            await self.cluster.ready()
            await self.crowd.settle()
            self._report(what, count, outcome(self.crowd))
            check(self.crowd)

    async def repeat(self, faults: list[Fault], count: int, longest_pause: float) -> None:
        """Break one thing after the other; each time all nodes have to be ready again by themselves."""
        for number in range(count):
            await faults[number % len(faults)]()
            await self.cluster.ready()
            await anyio.sleep(random.uniform(0.2, longest_pause))


@pytest.fixture
def trial(keys: Keys, tmp_path: Path, scale: Scale, report: Report) -> Iterator[Trial]:
    """A trial with a Redis of its own."""
    with redis_server(free_port(), tmp_path, ALL_KEPT) as store:
        yield Trial(keys, store, tmp_path, scale, report)


@pytest.mark.long
async def test_kills(trial: Trial) -> None:
    """Who was on a node that is killed is back at once, with all that was kept, whoever it talked to."""
    count = trial.scale(30)
    async with trial.running("`kill -9` of a node", count):
        await trial.repeat([trial.faults.kill], count, 3)
    assert max(trial.crowd.tally.returns) < BACK_SECONDS


@pytest.mark.long
async def test_rolling_restarts(trial: Trial) -> None:
    """Nodes that are told to stop give up what they have: nothing is lost, no session ends, nobody starts over."""
    count = trial.scale(30)
    async with trial.running("a node drained and replaced", count):
        await trial.repeat([trial.faults.restart], count, 1)
    assert max(trial.crowd.tally.returns) < BACK_SECONDS


@pytest.mark.long
async def test_store(trial: Trial) -> None:
    """Redis stands still or is away, and comes back with its data: the sockets stay, and all heals by itself."""
    count = max(2, trial.scale(20))
    longest = LONG if trial.is_full else None
    async with (
        trial.running("Redis frozen or away", count, longest),
        neighbours(trial) as talk,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(talk)
        await trial.repeat(trial.faults.of_store, count, 4)
        tasks.cancel_scope.cancel()
    assert not trial.crowd.tally.closes


@pytest.mark.long
async def test_cut_off(trial: Trial) -> None:
    """A node that loses Redis, but not its clients, is taken for gone, and has them back when it can."""
    count = trial.scale(20)
    async with trial.running("a node cut off from Redis, longer than its lease", count):
        await trial.repeat([trial.faults.cut_off], count, 4)


@pytest.mark.long
async def test_frozen(trial: Trial) -> None:
    """A node that stands still loses its users to the others, and has nothing more to say about them."""
    count = trial.scale(20)
    async with trial.running("a node frozen, longer than its lease", count):
        await trial.repeat([trial.faults.freeze], count, 4)
    assert max(trial.crowd.tally.returns) < BACK_SECONDS


@pytest.mark.long
async def test_at_a_lease_as_by_default(trial: Trial) -> None:
    """Nodes that stand still for less than that, and a Redis that does for ten seconds, miss much, and lose nothing."""
    count, trial.lease = max(2, trial.scale(20)), DEFAULT_LEASE
    what = f"a node or Redis frozen, at a lease of {DEFAULT_LEASE:.0f} s and thrice the load"
    async with trial.running(what, count, LONG, HIGH_RATE):
        await trial.repeat([trial.faults.stall, trial.faults.freeze_store], count, 4)


async def test_chaos(trial: Trial) -> None:
    """All of that, in any order, also while the last one is not quite mended, and clients that hop between nodes."""
    seed = random.randrange(1_000_000)
    dice, count = random.Random(seed), trial.scale(50)
    async with trial.running(f"any of these and hopping clients, chosen by seed {seed}", count):
        for _ in range(count):
            await dice.choice([*trial.faults.of_nodes, *trial.faults.of_store, *[trial.crowd.hop] * HOPS])()
            await anyio.sleep(dice.uniform(0, trial.lease))


@pytest.mark.long
async def test_hopping(trial: Trial) -> None:
    """Nothing is broken, but clients hop between nodes while they talk."""
    count = trial.scale(50)
    async with trial.running("clients hop between nodes", count):
        await trial.repeat([trial.crowd.hop], count, 1)


@asynccontextmanager
async def neighbours(trial: Trial) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Have two users of version 1 in a session on one node; what is returned has them talk, each time without delay."""
    ann, bob = Peer(), Peer()
    for peer, name in ((ann, "next-door-ann"), (bob, "next-door-bob")):
        await peer.connect(trial.cluster.urls[0])
        await peer.join(trial.cluster.keys.token(name, "next door"))
    accepted = ann.expect("CONNECTION_ACCEPTED")
    request = await bob.received(_requested(ann, bob))
    bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    session = (await ann.received(accepted))["sessionId"]

    async def talk() -> None:
        while True:
            coming = bob.expect("MESSAGE_RECEIVED")
            ann.send("SEND_MESSAGE", sessionId=session, content="still there?")
            with anyio.fail_after(NEAR_SECONDS):
                await coming
            await anyio.sleep(NEAR_SECONDS / 4)

    yield talk
    await ann.leave()
    await bob.leave()


def _requested(ann: Peer, bob: Peer) -> "asyncio.Future[Any]":
    coming = bob.expect("CONNECTION_REQUEST_RECEIVED")
    ann.send("CONNECTION_REQUEST", targetId="next-door-bob")
    return coming


def outcome(crowd: Crowd) -> str:
    """Return what came of it, for a row of the table."""
    tally = crowd.tally
    counts = {
        "lost": len(crowd.lost),
        "twice": len(tally.twice),
        "phantoms": len(tally.phantoms),
        "out of order": len(tally.disorder),
        "never acknowledged": crowd.pending,
        "acknowledged for nobody": len(tally.nowhere),
        "started over": tally.starts,
        "sessions ended": tally.over.total(),
    }
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    closes = ", ".join(f"{count:,} closed with {code}" for code, count in sorted(tally.closes.items())) or "none closed"
    text = f"{crowd.said:,} messages of {len(crowd.voices)} users: {told}; sockets: {closes}"
    text += f"; slowest acknowledgement {max(tally.slow):.1f} s"
    if tally.returns:
        median, near, longest = (percentile(tally.returns, share) for share in (0.5, 0.99, 1))
        text += (
            f"; {len(tally.returns):,} returns, {median:.2f} s (median), {near:.2f} s (p99), {longest:.2f} s (longest)"
        )
    return text


def check(crowd: Crowd) -> None:
    """See that nothing that was promised was broken."""
    tally = crowd.tally
    for broken in (crowd.lost, tally.gaps, tally.twice, tally.phantoms, tally.disorder, tally.nowhere):
        assert not broken, some(broken)
    assert (tally.starts, tally.over, crowd.pending) == (0, {}, 0)
