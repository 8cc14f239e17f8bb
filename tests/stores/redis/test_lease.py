"""Leases, and the clock that all nodes go by."""

import time
from uuid import uuid4

from schemas.peers import Profile
from stores.base import Peer, User
from stores.bus import Home, Watcher
from stores.redis.bus import RedisBus
from stores.redis.changer import Changer
from stores.redis.client import Client
from stores.redis.lease import Lease
from stores.redis.replica import Replica
from tests.support.redis import RedisServer


async def time_of(client: Client) -> float:
    """Return the store's time."""
    seconds, microseconds = await client.redis.time()
    return float(seconds) + float(microseconds) / 1_000_000


async def test_clocks_apart(redis: RedisServer) -> None:
    """A node goes by the store's clock, up to what the answer's time leaves in doubt, whatever its own counts from."""
    client = Client(redis.namespace(uuid4().hex), "node", 2.0)
    replica = Replica(client)
    bus = RedisBus(client, replica, Changer(client, replica, 2.0))
    lease = Lease(client, replica, bus, 9.0)
    await lease.renew()
    assert abs(time.monotonic() + bus.ahead - await time_of(client)) < 1
    lease._monotonic = lambda: 1_000_000.0
    now = await time_of(client)
    await lease.renew()
    assert abs(1_000_000.0 + bus.ahead - now) < 1
    assert lease.nodes == {"node"}
    await client.close()


async def test_another_node(redis: RedisServer) -> None:
    """Nodes see each other, until one gives up."""
    url = redis.namespace(uuid4().hex)
    clients = [Client(url, name, 2.0) for name in ("a", "b")]
    leases = []
    for client in clients:
        replica = Replica(client)
        leases.append(Lease(client, replica, RedisBus(client, replica, Changer(client, replica, 2.0)), 9.0))
    for lease in leases:
        await lease.renew()
    assert leases[1].nodes == {"a", "b"}
    await leases[0].give_up()
    await leases[1].renew()
    assert leases[1].nodes == {"b"}
    for client in clients:
        await client.close()


class Listener(Watcher):
    """Who hears of nodes that are gone."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.orphans: list[tuple[User, Home]] = []

    def gone(self, node: str) -> None:
        self.heard.append(node)

    def orphaned(self, user: User, home: Home) -> None:
        self.orphans.append((user, home))


async def test_an_emptied_store(redis: RedisServer) -> None:
    """After the store was emptied a node waits for the others to come back before it takes one of them for gone."""
    client = Client(redis.namespace(uuid4().hex), "a", 2.0)
    replica = Replica(client)
    bus, listener = RedisBus(client, replica, Changer(client, replica, 2.0)), Listener()
    bus.watcher = listener
    bus.post("b", b"a parcel", 8)
    lease = Lease(client, replica, bus, 9.0)
    for now in (0.0, 3.0, 6.0):
        lease._monotonic = lambda now=now: now  # type: ignore[misc]
        await lease.renew()
    await client.redis.delete(client.space.nodes)
    for now in (9.0, 12.0, 15.0):
        lease._monotonic = lambda now=now: now  # type: ignore[misc]
        await lease.renew()
        assert listener.heard == []
    lease._monotonic = lambda: 18.0
    await lease.renew()
    assert listener.heard == ["b"]
    await client.close()


async def test_whose_users_are_reported(redis: RedisServer) -> None:
    """Those of nodes that are gone, and those whom this one has adopted, until a socket of theirs gives them a home."""
    client = Client(redis.namespace(uuid4().hex), "a", 2.0)
    replica = Replica(client)
    bus = RedisBus(client, replica, Changer(client, replica, 2.0))
    listener = replica.watcher = Listener()
    homes = {User("ann"): Home("b", 1, 1), User("bob"): Home("a", 0, 2), User("cat"): Home("a", 1, 3)}
    for user, home in homes.items():
        replica._put_home(user, home)
    lease = Lease(client, replica, bus, 9.0)
    for now in (0.0, 4.0, 8.0, 12.0):
        assert listener.orphans == []
        lease._monotonic = lambda now=now: now  # type: ignore[misc]
        await lease.renew()
    assert listener.orphans == [each for each in homes.items() if each[0].id != "cat"]
    await client.close()


async def test_who_is_there_without_a_socket(redis: RedisServer) -> None:
    """A user whose socket this node has not is reported, unless it only has not been waited for yet, or is away."""
    client = Client(redis.namespace(uuid4().hex), "a", 2.0)
    replica = Replica(client)
    bus = RedisBus(client, replica, Changer(client, replica, 2.0))
    listener = bus.watcher = replica.watcher = Listener()
    listener.has_socket = lambda number: number == 1  # type: ignore[method-assign]
    homes = {User(name): Home("a", number, number) for number, name in enumerate(("ann", "bob", "cat", "dan"), 1)}
    for user, home in homes.items():
        replica._put_home(user, home)
        peer = Peer(user, Profile("x", "guest", "vim"), "online", b"a", None if user.id != "cat" else 1e12)
        if user.id != "dan":
            replica.directory.put_peer(peer, home.fence)
    lease = Lease(client, replica, bus, 9.0)
    for now in (0.0, 4.0, 8.0, 12.0):
        assert listener.orphans == []
        lease._monotonic = lambda now=now: now  # type: ignore[misc]
        await lease.renew()
    assert listener.orphans == []
    lease._monotonic = lambda: 16.0
    await lease.renew()
    assert listener.orphans == [(User("bob"), homes[User("bob")])]
    await client.close()
