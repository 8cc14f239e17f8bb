"""The stores of a node on a real Redis, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from stores.log import Bounds
from stores.redis.stores import RedisStores


@asynccontextmanager
async def running(url: str, node: str, bounds: Bounds | None = None) -> AsyncIterator[RedisStores]:
    """Run the stores of a node, which is as far as the store is by then."""
    made = RedisStores(url, node, bounds)
    try:
        async with anyio.create_task_group() as tasks:
            started = anyio.Event()
            tasks.start_soon(made.run, started.set)
            await started.wait()
            yield made
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await made.close()
