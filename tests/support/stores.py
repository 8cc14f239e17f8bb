"""The stores of a node on a real Redis, or on a file, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from stores.log import Bounds
from stores.redis.stores import PATIENCE_SECONDS, RedisStores
from stores.sqlite.schema import Place
from stores.sqlite.stores import SqliteStores


@asynccontextmanager
async def running(
    url: str, node: str, bounds: Bounds | None = None, *, patience: float = PATIENCE_SECONDS
) -> AsyncIterator[RedisStores]:
    """Run the stores of a node, which is as far as the store is by then."""
    made = RedisStores(url, node, bounds, patience=patience)
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


@asynccontextmanager
async def on_file(path: Path, bounds: Bounds | None = None) -> AsyncIterator[SqliteStores]:
    """Run the stores of a node on a file."""
    made = SqliteStores(Place(path), bounds)
    try:
        await made.run(lambda: None)
        yield made
    finally:
        await made.close()
