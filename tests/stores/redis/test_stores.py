"""The stores of a node, put together."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from stores.base import Holder, StoreUnreachableError, User
from tests.support.client import until
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

ANN = User("ann")


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
