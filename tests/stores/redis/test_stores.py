"""How a node comes to know all that others do, and keeps to it."""

from uuid import uuid4

import anyio

from stores.base import Holder, User
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.proxy import proxy
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN = User("ann", "acme")
EARLY_SECONDS = 0.3
PATIENCE = 20.0


async def test_a_late_subscription(redis: RedisServer) -> None:
    """A node is not ready before the store has confirmed that it listens: what is changed until then is not missed."""
    space, started = uuid4().hex, anyio.Event()
    async with running(redis.namespace(space), "early") as early, proxy(redis.port) as wire:
        wire.hold(b"SUBSCRIBE")
        late = RedisStores(f"redis://127.0.0.1:{wire.port}/0?namespace={space}", "late")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late.run, started.set)
            await until(lambda: wire.is_holding)
            with anyio.move_on_after(EARLY_SECONDS):
                await started.wait()
            await early.peers.claim(ANN, Holder("early", 1))
            wire.release()
            with anyio.fail_after(PATIENCE):
                await started.wait()
            await late.ping()
            assert late.bus.home(ANN) == early.bus.home(ANN) is not None
            tasks.cancel_scope.cancel()
        await late.close()


async def test_a_subscription_that_is_not_answered(redis: RedisServer) -> None:
    """A node that the store does not confirm to says why it is not ready, and is ready once it does."""
    async with proxy(redis.port) as wire:
        wire.hold(b"SUBSCRIBE")
        late = RedisStores(f"redis://127.0.0.1:{wire.port}/0?namespace={uuid4().hex}", "late", patience=0.1)
        async with anyio.create_task_group() as tasks:
            started = anyio.Event()
            tasks.start_soon(late.run, started.set)
            with anyio.fail_after(PATIENCE):
                await started.wait()
            assert not late.replica.standing.is_current
            wire.release()
            await until(lambda: late.replica.standing.is_current)
            tasks.cancel_scope.cancel()
        await late.close()
