"""What can be broken of several nodes on one Redis; each fault is over, and all nodes run, when its call returns."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from tests.hardening.cluster import Cluster
from tests.support.proxy import Proxy, proxy
from tests.support.redis import RedisServer
from tests.support.tokens import Keys

NODES = 3


class Faults:
    """Breaks one thing at a time. Nodes have leases of `lease` seconds; the store is away for `longest` at most."""

    def __init__(
        self, cluster: Cluster, store: RedisServer, wires: list[Proxy], *, lease: float, longest: float
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._wires = wires
        self._lease = lease
        self._longest = longest
        self._turn = 0

    async def kill(self) -> None:
        """Kill the next node, and start it anew."""
        number = self._next()
        await self._cluster.kill(number)
        await self._cluster.start(number)

    async def restart(self) -> None:
        """Have the next node drain and end, and start it anew."""
        number = self._next()
        await self._cluster.stop(number)
        await self._cluster.start(number)

    async def cut_off(self) -> None:
        """Cut the next node off from Redis until it is taken for gone, and somewhat longer."""
        wire = self._wires[self._next()]
        await wire.cut()
        await anyio.sleep(self._long())
        wire.mend()

    async def freeze(self) -> None:
        """Have the next node stand still until it is taken for gone, and somewhat longer."""
        number = self._next()
        self._cluster.freeze(number)
        await anyio.sleep(self._long())
        self._cluster.thaw(number)

    async def stall(self) -> None:
        """Have the next node stand still, but not for so long that it is taken for gone."""
        number = self._next()
        self._cluster.freeze(number)
        await anyio.sleep(random.uniform(0.6 * self._lease, 0.9 * self._lease))
        self._cluster.thaw(number)

    async def freeze_store(self) -> None:
        """Have Redis answer nobody."""
        with self._store.frozen():
            await anyio.sleep(random.uniform(0.2, self._longest))

    async def lose_store(self) -> None:
        """Have Redis killed, and away for a while; it comes back with what it had."""
        self._store.kill()
        await anyio.sleep(random.uniform(0.2, self._longest))
        await anyio.to_thread.run_sync(self._store.start)

    @property
    def of_nodes(self) -> list[Callable[[], Awaitable[None]]]:
        """What happens to nodes."""
        return [self.kill, self.restart, self.cut_off, self.freeze]

    @property
    def of_store(self) -> list[Callable[[], Awaitable[None]]]:
        """What happens to Redis."""
        return [self.freeze_store, self.lose_store]

    def _next(self) -> int:
        self._turn += 1
        return self._turn % NODES

    def _long(self) -> float:
        return random.uniform(1.5 * self._lease, 1.5 * self._lease + self._longest / 3)


@asynccontextmanager
async def breakable(
    keys: Keys, folder: Path, store: RedisServer, *, lease: float, longest: float
) -> AsyncIterator[tuple[Cluster, Faults]]:
    """Run nodes, each with a wire of its own to Redis, all of which can be broken."""
    async with AsyncExitStack() as wires:
        each = [await wires.enter_async_context(proxy(store.port)) for _ in range(NODES)]
        with running(keys, folder, [wire.port for wire in each], node_lease_seconds=lease) as cluster:
            await cluster.start(*range(NODES))
            yield cluster, Faults(cluster, store, each, lease=lease, longest=longest)
            await anyio.to_thread.run_sync(cluster.close)


@contextmanager
def running(keys: Keys, folder: Path, ports: list[int], **settings: object) -> Iterator[Cluster]:
    """Have nodes, that end with this, and see that they had nothing to complain of."""
    lives = folder / "lives"
    lives.mkdir()
    cluster = Cluster(keys, lives, ports, **settings)
    try:
        yield cluster
    finally:
        cluster.close()
    assert not cluster.complaints(), cluster.complaints()[:10]
