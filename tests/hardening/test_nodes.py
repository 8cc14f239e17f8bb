"""Several nodes on one Redis, broken again and again under load: nothing acknowledged is lost, nothing comes twice."""

import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from tests.hardening.cluster import Crowd, some, talking
from tests.hardening.crowd import percentile
from tests.hardening.faults import breakable
from tests.support.redis import REDIS_SERVER, RedisServer, redis_server
from tests.support.server import free_port
from tests.support.tokens import Keys

PAIRS = 40
RATE = 4.0
BACK_SECONDS = 5.0
LONG = 10.0
SHORT = 3.0

Scale = Callable[[int], int]
Report = Callable[[str, int, str], None]
Fault = Callable[[], Awaitable[None]]

pytestmark = pytest.mark.skipif(REDIS_SERVER is None, reason="redis-server was not found")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis to be broken."""
    with redis_server(free_port(), tmp_path) as server:
        yield server


@pytest.fixture
def pairs(scale: Scale) -> int:
    """How many pairs talk."""
    return max(8, scale(PAIRS))


async def test_kills(keys: Keys, store: RedisServer, tmp_path: Path, pairs: int, scale: Scale, report: Report) -> None:
    """Who was on a node that is killed is back at once, with all that was kept, whoever it talked to."""
    count = scale(30)
    async with breakable(keys, tmp_path, store) as (cluster, faults), talking(cluster, pairs, RATE) as crowd:
        for _ in range(count):
            await faults.kill()
            await anyio.sleep(random.uniform(0.2, 3))
        await crowd.settle()
        report("`kill -9` of a node", count, outcome(crowd))
        check(crowd)
        assert max(crowd.tally.returns) < BACK_SECONDS


async def test_rolling_restarts(
    keys: Keys, store: RedisServer, tmp_path: Path, pairs: int, scale: Scale, report: Report
) -> None:
    """Nodes that are told to stop give up what they have: nothing is lost, no session ends, nobody starts over."""
    count = scale(30)
    async with breakable(keys, tmp_path, store) as (cluster, faults), talking(cluster, pairs, RATE) as crowd:
        for _ in range(count):
            await faults.restart()
        await crowd.settle()
        report("a node drained and replaced", count, outcome(crowd))
        check(crowd)
        assert not crowd.tally.phantoms, some(crowd.tally.phantoms)
        assert not crowd.pending


async def test_store(keys: Keys, store: RedisServer, tmp_path: Path, pairs: int, scale: Scale, report: Report) -> None:
    """Redis comes back empty, stands still or is away: the sockets stay, and all heals by itself."""
    count = max(3, scale(30))
    longest = LONG if scale(10) == 10 else SHORT
    async with (
        breakable(keys, tmp_path, store, longest=longest) as (cluster, faults),
        talking(cluster, pairs, RATE) as crowd,
    ):
        for number in range(count):
            await faults.of_store[number % 3]()
            await cluster.ready()
            await anyio.sleep(random.uniform(0.2, 4))
        await crowd.settle()
        report("Redis restarted empty, frozen, or away", count, outcome(crowd))
        check(crowd)
        assert not crowd.tally.closes
        assert not crowd.tally.phantoms, some(crowd.tally.phantoms)
        assert not crowd.pending


async def test_cut_off(
    keys: Keys, store: RedisServer, tmp_path: Path, pairs: int, scale: Scale, report: Report
) -> None:
    """A node that loses Redis, but not its clients, is taken for gone, and has them back when it can."""
    count = scale(20)
    async with breakable(keys, tmp_path, store) as (cluster, faults), talking(cluster, pairs, RATE) as crowd:
        for _ in range(count):
            await faults.cut_off()
            await cluster.ready()
            await anyio.sleep(random.uniform(0.2, 4))
        await crowd.settle()
        report("a node cut off from Redis, longer than its lease", count, outcome(crowd))
        check(crowd)


async def test_frozen(keys: Keys, store: RedisServer, tmp_path: Path, pairs: int, scale: Scale, report: Report) -> None:
    """A node that stands still loses its users to the others, and has nothing more to say about them."""
    count = scale(20)
    async with breakable(keys, tmp_path, store) as (cluster, faults), talking(cluster, pairs, RATE) as crowd:
        for _ in range(count):
            await faults.freeze()
            await cluster.ready()
            await anyio.sleep(random.uniform(0.2, 4))
        await crowd.settle()
        report("a node frozen, longer than its lease", count, outcome(crowd))
        check(crowd)


async def test_chaos(keys: Keys, store: RedisServer, tmp_path: Path, pairs: int, scale: Scale, report: Report) -> None:
    """All of that, in any order, also while the last one is not quite mended."""
    seed = random.randrange(1_000_000)
    dice = random.Random(seed)
    count = scale(50)
    names: list[str] = []
    async with breakable(keys, tmp_path, store) as (cluster, faults), talking(cluster, pairs, RATE) as crowd:
        for _ in range(count):
            fault = dice.choice([*faults.of_nodes, *faults.of_store])
            names.append(getattr(fault, "__name__", ""))
            await fault()
            await anyio.sleep(dice.uniform(0, 3))
        await cluster.ready()
        await crowd.settle()
        report(f"any of these, seed {seed}", count, outcome(crowd) + str(names))
        check(crowd)


def outcome(crowd: Crowd) -> str:
    """Return what came of it, for a row of the table."""
    tally = crowd.tally
    text = f"{crowd.said:,} messages of {len(crowd.voices)} users, {len(crowd.lost)} lost, {len(tally.twice)} twice"
    text += f", {len(tally.disorder)} out of order, {tally.starts} started over, {tally.over.total()} sessions ended"
    text += f", {len(tally.phantoms)} phantoms, {crowd.pending} never acknowledged"
    if tally.returns:
        returns = [percentile(tally.returns, share) for share in (0.5, 0.99, 1)]
        text += "; {:,} returns, {:.2f} s (median), {:.2f} s (p99), {:.2f} s (longest)".format(
            len(tally.returns), *returns
        )
    return f"{text}; slowest ack {max(tally.slow):.1f} s {dict(tally.closes)} {dict(tally.errors)} deaf {tally.deaf} {tally.refused=} {tally.duplicates=} gaps {len(tally.gaps)} nowhere {len(tally.nowhere)} over {tally.over}"


def check(crowd: Crowd) -> None:
    """See that nothing that was promised was broken."""
    tally = crowd.tally
    assert not crowd.lost, some(crowd.lost)
    assert not tally.twice, some(tally.twice)
    assert not tally.gaps, some(tally.gaps)
    assert not tally.disorder, some(tally.disorder)
    assert not tally.nowhere, some(tally.nowhere)
    assert (tally.starts, tally.over) == (0, {})
