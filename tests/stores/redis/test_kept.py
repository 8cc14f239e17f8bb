"""What is kept for a user in Redis, and who may write it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import anyio
import pytest

from stores.base import Holder, User
from stores.redis.stores import RedisStores
from tests.support.redis import RedisServer

ANN = User("ann")


@asynccontextmanager
async def running(url: str, node: str) -> AsyncIterator[RedisStores]:
    """Run the stores of a node."""
    made = RedisStores(url, node)
    async with anyio.create_task_group() as tasks:
        started = anyio.Event()
        tasks.start_soon(made.run, started.set)
        await started.wait()
        yield made
        tasks.cancel_scope.cancel()
    await made.close()


@pytest.fixture
async def nodes(redis: RedisServer) -> AsyncIterator[list[RedisStores]]:
    """Two nodes."""
    url = redis.namespace(uuid4().hex)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(url, name)) for name in ("a", "b")]


async def test_numbers_go_on(nodes: list[RedisStores]) -> None:
    """A mailbox that is written anew while there is nothing in it does not forget how far its numbers were."""
    first, _ = nodes
    await first.peers.claim(ANN, Holder("a", 1))
    first.bus.open(ANN, ["res_1"], is_new=True, last=7)
    await first.bus.flush()
    assert (await first.bus.load(ANN)).last == 7
    first.bus.keep(ANN, b"eight", 8, 8)
    await first.bus.flush()
    kept = await first.bus.load(ANN)
    assert (kept.last, kept.frames, kept.tokens) == (8, [b"eight"], ("res_1",))
