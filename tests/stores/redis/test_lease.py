"""Leases, and the clock that all nodes go by."""

import time
from uuid import uuid4

import pytest

from stores.redis.client import Client
from stores.redis.follower import Follower
from stores.redis.lease import Lease
from stores.redis.snapshot import START
from tests.stores.redis.listening import ANN, BOB, CAT, Heard, peer
from tests.support.redis import RedisServer


class Node:
    """A node as far as its lease goes, with a clock that is set by hand."""

    def __init__(self, url: str, name: str) -> None:
        self.client = Client(url, name, 2.0)
        self.follower = Follower(self.client)
        self.follower.is_current = True
        self.follower.listener = self.heard = Heard()
        self.lease = Lease(self.client, self.follower, 9.0)

    async def renew(self, now: float) -> None:
        self.lease._monotonic = lambda: now
        await self.lease.renew()

    def put(self, *users: str) -> None:
        """Have peers who are there by these nodes."""
        for user, node in zip((ANN, BOB, CAT), users, strict=False):
            self.follower._put_peer(user, peer(user, node), 1)


async def time_of(client: Client) -> float:
    """Return the store's time."""
    seconds, microseconds = await client.redis.time()
    return float(seconds) + float(microseconds) / 1_000_000


async def test_clocks_apart(redis: RedisServer) -> None:
    """A node goes by the store's clock, up to what the answer's time leaves in doubt, whatever its own counts from."""
    node = Node(redis.namespace(uuid4().hex), "node")
    await node.lease.renew()
    assert abs(time.monotonic() + node.lease.ahead - await time_of(node.client)) < 1
    now = await time_of(node.client)
    await node.renew(1_000_000.0)
    assert abs(1_000_000.0 + node.lease.ahead - now) < 1
    await node.client.close()


async def test_another_node(redis: RedisServer) -> None:
    """Nodes see each other, until one gives up."""
    url = redis.namespace(uuid4().hex)
    one, two = Node(url, "one"), Node(url, "two")
    for node in (one, two):
        await node.lease.renew()
    assert two.lease.nodes == {"one", "two"}
    await one.lease.give_up()
    await two.lease.renew()
    assert two.lease.nodes == {"two"}
    for node in (one, two):
        await node.client.close()


async def test_orphans(redis: RedisServer) -> None:
    """Who is there by a node without a lease is reported, again and again until it is not, and nobody else."""
    node = Node(redis.namespace(uuid4().hex), "a")
    node.put("b", "a")
    node.follower._put_peer(CAT, peer(CAT, "b", lapses_at=1e12), 2)
    for now in (0.0, 4.0, 8.0):
        await node.renew(now)
        assert node.heard.orphans == []
    for now in (12.0, 16.0):
        await node.renew(now)
    assert node.heard.orphans == [peer(ANN, "b")] * 2
    node.follower._put_peer(ANN, peer(ANN, "b", lapses_at=1e12), 1)
    await node.renew(20.0)
    assert len(node.heard.orphans) == 2
    assert dict(node.follower.present) == {"a": 1}
    await node.client.close()


@pytest.mark.parametrize("loss", ["lease", "older", "gap", "trouble", "not current"])
async def test_only_after_a_whole_lease(redis: RedisServer, loss: str) -> None:
    """A node takes no other for gone before it has kept its lease through a whole one since anything went wrong."""
    node = Node(redis.namespace(uuid4().hex), "a")
    node.put("b")
    for now in (0.0, 3.0, 6.0):
        await node.renew(now)
    if loss == "lease":
        await node.client.redis.delete(node.client.keys.nodes)
    elif loss == "older":
        await node.client.redis.zadd(node.client.keys.nodes, {"a": 1.0})
    elif loss == "trouble":
        node.lease.unsettle()
    node.follower.is_current = loss != "not current"
    start = 9.0 if loss != "gap" else 16.0
    for late in (0.0, 3.0, 6.0):
        await node.renew(start + late)
        assert node.heard.orphans == []
    node.follower.is_current = True
    await node.renew(start + 9.0)
    assert node.heard.orphans == [peer(ANN, "b")]
    assert node.follower.position(0) == START
    await node.client.close()
