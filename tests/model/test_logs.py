"""The logs while clients hop between nodes, and nodes die, freeze and lose their connections, by lot.

Nothing that was acknowledged is lost, nothing comes twice, and what one sender sent comes in order.
"""

import gc
import os
from contextlib import AsyncExitStack, suppress
from uuid import uuid4

import anyio
import pytest
from anyio.abc import TaskGroup

from stores.memory.stores import MemoryStores
from stores.redis.stores import RedisStores
from tests.model.logs import Harness, Node
from tests.support.proxy import Proxy, proxy
from tests.support.redis import RedisServer

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "24"))
FIRST = int(os.environ.get("MODEL_FIRST", "0"))
AT_ONCE = 4
STEPS = 60
NODES = 3
PATIENCE = 0.4
SETTLED = 20.0
SEED_SECONDS = 90.0
NAMES = ("ann", "bob", "cat", "dan")


class Seed:
    """One life of a harness on Redis, and the faults in it."""

    def __init__(self, seed: int, redis: RedisServer) -> None:
        self.seed = seed
        self.url = f"redis://127.0.0.1:{{port}}/0?namespace={uuid4().hex}"
        self.redis = redis
        self.harness = Harness(seed, trouble=(0, 0.5, 1)[seed % 3])
        self.dice = self.harness.dice
        self.born = 0

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for _ in range(NODES):
                network = await stack.enter_async_context(proxy(self.redis.port))
                self.harness.nodes.append(await self.bear(network, tasks))
            await self.harness.move_in(NAMES, with_token=self.dice.choice([1, 2, 3]))
            async with anyio.create_task_group() as faults:
                if self.harness.trouble:
                    faults.start_soon(self.make_trouble, tasks)
                await self.harness.live(STEPS)
                faults.cancel_scope.cancel()
            for node in self.harness.nodes:
                if node.proxy is not None:
                    node.proxy.thaw()
                    node.proxy.mend()
            try:
                await self.harness.settle(SETTLED)
            finally:
                for node in self.harness.nodes:
                    await node.kill()
            tasks.cancel_scope.cancel()

    async def bear(self, network: Proxy, tasks: TaskGroup) -> Node:
        """Return a new node, which reaches Redis through this network."""
        self.born += 1
        made = RedisStores(self.url.format(port=network.port), f"node {self.born}", patience=PATIENCE)
        node = Node(tasks, made, network)
        await node.start()
        return node

    async def make_trouble(self, tasks: TaskGroup) -> None:
        while True:
            await anyio.sleep(self.dice.choice([0.01, 0.05, 0.2]) / self.harness.trouble)
            number = self.dice.randrange(NODES)
            network = self.harness.nodes[number].proxy
            assert network is not None
            kind = self.dice.choice(["cut", "one", "one", "freeze", "freeze", "lose", "lose", "kill"])
            pause = self.dice.choice([0, 0.05, 0.3, 0.7])
            if kind == "cut":
                await network.cut()
                await anyio.sleep(pause)
                network.mend()
            elif kind == "one":
                await network.cut_one(self.dice.randrange(100))
            elif kind == "freeze":
                network.freeze()
                await anyio.sleep(pause)
                network.thaw()
            elif kind == "lose":
                network.lose_answers(self.dice.choice([b"EVALSHA", b""]), self.dice.choice([1, 2]))
            else:
                await self.harness.nodes[number].kill()
                self.harness.nodes[number] = await self.bear(network, tasks)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what redis-py makes of cancelled calls
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_redis(redis: RedisServer) -> None:
    """Seeds run side by side, since most of their time they wait."""
    failed: dict[int, str] = {}
    seeds = iter(range(FIRST, FIRST + EXAMPLES))

    async def run_some() -> None:
        for seed in seeds:
            try:
                with anyio.fail_after(SEED_SECONDS):
                    await Seed(seed, redis).run()
            except TimeoutError:
                failed[seed] = "does not come to an end"
            except BaseExceptionGroup as group:
                found = group.subgroup(AssertionError)
                if found is None:
                    raise
                failed[seed] = "; ".join(_reasons(found))

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(run_some)
    gc.collect()
    assert not failed


@pytest.mark.parametrize("seed", range(FIRST, FIRST + min(EXAMPLES, 12)))
async def test_memory(seed: int) -> None:
    """Clients hop between sockets of the one node there is."""
    harness = Harness(seed, trouble=0)
    with suppress(TimeoutError):
        async with anyio.create_task_group() as tasks:
            harness.nodes.append(Node(tasks, MemoryStores(), None))
            await harness.move_in(NAMES, with_token=2)
            await harness.live(STEPS)
            await harness.settle(SETTLED)
            tasks.cancel_scope.cancel()


def _reasons(error: BaseException) -> list[str]:
    """Return what the errors in a group say."""
    if isinstance(error, BaseExceptionGroup):
        return [reason for each in error.exceptions for reason in _reasons(each)]
    return [str(error)]
