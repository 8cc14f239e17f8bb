"""How a node comes to know all that others do, and keeps to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from redis import Redis

from stores.base import Holder, Revocation, StoreUnreachableError, User
from stores.bus import Watcher
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.proxy import proxy
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

ANN = User("ann", "acme")
EARLY_SECONDS = 0.3
PATIENCE = 20.0
OFTEN = 0.02


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


class Listener(Watcher):
    """Counts what it is told of."""

    def __init__(self) -> None:
        self.caught_up_times = self.revoked_times = 0

    def caught_up(self) -> None:
        self.caught_up_times += 1

    def revoked(self, revocation: Revocation) -> None:
        self.revoked_times += 1


async def test_a_revocation_that_was_missed(own: RedisServer) -> None:
    """A node that could not hear is told so once it can again: what was revoked meanwhile is not told to it."""
    async with running(own.url, "one") as one, running(own.url, "two") as two:
        two.bus.watcher = listener = Listener()
        revocation = Revocation(expires_at=2_000_000_000, user=ANN, issued_before=1_000_000_000)
        await one.revocations.add(revocation, 1_000_000_000)
        await until(lambda: listener.revoked_times == 1)
        assert listener.caught_up_times == 0
        await one.client.redis.client_kill_filter(_type="pubsub")
        await one.revocations.add(revocation, 1_000_000_000)
        await until(lambda: listener.caught_up_times == 1)
        assert listener.revoked_times == 1
        assert await two.revocations.cover(ANN, None, 0, 1_000_000_000)


class Looking:
    """Has a node look back often, and counts the times; `fails` keeps the store from answering."""

    def __init__(self, node: RedisStores) -> None:
        self.times = 0
        self.fails = False
        self._ask = node.client.versions

    async def versions(self, at_once: int) -> dict[str | None, int]:
        """See `Client`."""
        self.times += 1
        if self.fails:
            raise StoreUnreachableError("slow")
        return await self._ask(at_once)

    async def until_again(self) -> None:
        """Return when what was there at the call has been looked back at."""
        enough = self.times + 2
        await until(lambda: self.times > enough)


@asynccontextmanager
async def looking_back(url: str) -> AsyncIterator[tuple[RedisStores, Looking]]:
    """Run a node that does so often."""
    node = RedisStores(url, "late")
    node._look_back_seconds = OFTEN
    looking = Looking(node)
    async with anyio.create_task_group() as tasks:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node.client, "versions", looking.versions)
            started = anyio.Event()
            tasks.start_soon(node.run, started.set)
            await started.wait()
            yield node, looking
        tasks.cancel_scope.cancel()
    await node.close()


async def test_what_was_not_heard(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of which a node could not take in what was told is found a little later, without another change."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "early") as early, looking_back(url) as (late, looking):
        reads = late.replica.standing.reads
        with monkeypatch.context() as patch:
            told = anyio.Event()
            patch.setattr(late.replica, "hear", lambda _: told.set())
            await early.peers.claim(ANN, Holder("early", 1))
            with anyio.fail_after(PATIENCE):
                await told.wait()
        await until(lambda: late.bus.home(ANN) == early.bus.home(ANN))
        await looking.until_again()
        assert late.replica.standing.reads == reads + 1


async def test_looking_back_in_vain(redis: RedisServer) -> None:
    """That the store does not answer this is no reason to take everything for doubtful; it is asked again."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "early") as early, looking_back(url) as (late, looking):
        await early.peers.claim(ANN, Holder("early", 1))
        await until(lambda: late.bus.home(ANN) is not None)
        reads, looking.fails = late.replica.standing.reads, True
        await looking.until_again()
        await late.ping()
        assert late.replica.standing.reads == reads


async def test_versions_in_parts(redis: RedisServer) -> None:
    """All orgs are asked for, however few at once."""
    async with running(redis.namespace(uuid4().hex), "node") as node:
        users = [User("ann", org) for org in (None, "a", "b", "{c}:")]
        for number, user in enumerate(users):
            for _ in range(number):
                await node.peers.claim(user, Holder("node", number))
            await node.client.note(user.org)
        assert await node.client.versions(3) == {None: 0, "a": 1, "b": 2, "{c}:": 3}


@pytest.fixture
def own(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no other test uses."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


async def test_nothing_gets_through(own: RedisServer) -> None:
    """A node is not ready while what it writes is refused, though the store answers it; it is once that is done."""
    async with running(own.url, "a") as stores:
        await stores.peers.claim(ANN, Holder("a", 1))
        await stores.ping()
        with Redis(port=own.port) as redis:
            redis.config_set("maxmemory", 1)
            stores.bus.keep(ANN, b"one", 1, 1, seen={})
            await until(lambda: stores.bus.why_stuck != "")
            await stores.client.ping()
            with pytest.raises(StoreUnreachableError, match="maxmemory"):
                await stores.ping()
            redis.config_set("maxmemory", 0)
        await stores.bus.settled()
        await stores.ping()
