"""What nodes of a newer version tell and write, while some are still of this one."""

from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import msgspec
import pytest
from redis.asyncio import Redis

from schemas.peers import Profile
from stores.base import Peer, Request, Session, User
from stores.bus import Watcher
from stores.redis.changes import Change, changes_of
from stores.redis.reading import Reading
from stores.redis.rows import json, row
from stores.redis.stores import RedisStores
from stores.redis.streams import Batch
from tests.support.client import until
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN, BOB = User("ann"), User("bob")


class Postman(Watcher):
    """Who hears of parcels."""

    def __init__(self) -> None:
        self.parcels: list[object] = []

    def arrived(self, node: str, parcels: msgspec.Raw) -> None:
        self.parcels += msgspec.msgpack.decode(parcels)


class Newer:
    """A node of a newer version, as far as others see it."""

    def __init__(self, seen_by: RedisStores) -> None:
        self._redis: Redis = seen_by.client.redis
        self._space = seen_by.client.space
        self._node = seen_by.client.node
        self._serial = 0

    async def change(self, kind: str, *about: bytes) -> None:
        """Change something, and tell of it."""
        version = await self._redis.incr(f"{self._space.org(None)}version")
        await self.tell(b'[["%b","newer",null,%d,%b]]' % (kind.encode(), version, b",".join(about)))

    async def tell(self, message: bytes) -> None:
        """Tell all nodes."""
        await self._redis.publish(self._space.changes, message)

    async def write(self, table: str, name: str, record: bytes) -> None:
        """Write a record."""
        await self._redis.hset(f"{self._space.org(None)}{table}", name, record.decode())

    async def send(self, *parcels: object) -> None:
        """Send the node parcels."""
        self._serial += 1
        batch = Batch("newer", 1, self._serial, 1, msgspec.Raw(msgspec.msgpack.encode(parcels)))
        await self.send_bytes(msgspec.msgpack.encode(batch))

    async def send_bytes(self, message: bytes) -> None:
        """Send the node anything."""
        await self._redis.publish(self._space.node(self._node), message)


@pytest.fixture
async def node(redis: RedisServer) -> AsyncIterator[RedisStores]:
    """A node of this version."""
    async with running(redis.namespace(uuid4().hex), "node") as made:
        made.bus.watcher = Postman()
        yield made


def peer(user: User) -> Peer:
    return Peer(user, Profile("x", "guest", "vim"), "online", b"a")


def with_more(record: bytes) -> bytes:
    """Return a record with a field that is not known here."""
    return record[:-1] + b',"mood":{"is":["new"]}}'


async def test_a_kind_of_change(node: RedisStores) -> None:
    """A change of a kind that is not known is left out, but counted: what comes after it is no gap."""
    newer, reads = Newer(node), node.replica.standing.reads
    await node.peers.put(peer(ANN))
    await newer.change("nickname", json("ann"), b'{"of": 2}')
    await newer.change("nickname", json("ann"))
    await node.peers.put(peer(BOB))
    assert node.directory.sizes().peers == 2
    assert node.replica.standing.reads == reads


async def test_a_kind_of_change_while_an_org_is_read() -> None:
    """There, too, it is left out and counted."""
    reading = Reading(None)
    told = b'[["nickname","newer",null,1,"ann"],["home","newer",null,2,"ann","newer",1,1,"more"]]'
    for change in changes_of(told):
        assert isinstance(change, Change)
        reading.hear(change)
    assert await reading.settle(0, 2, 0.05)
    assert list(reading.homes) == ["ann"]


async def test_fields(node: RedisStores) -> None:
    """Of a record, and of what is told of it, as much is taken in as is known, also where it is read anew."""
    newer = Newer(node)
    records = {
        "peer": (b"1", with_more(row(peer(ANN))), b'"more"'),
        "request": (with_more(row(Request("req_1", ANN, BOB, 1e12))), b'"more"'),
        "session": (with_more(row(Session("ses_1", ANN, {ANN: "host", BOB: "guest"}))), b'"more"'),
    }
    await newer.write("places", "ann", b"1")
    for (kind, about), name in zip(records.items(), ("ann", "req_1", "ses_1"), strict=True):
        await newer.change(kind, *about)
        await newer.write(f"{kind}s", name, next(each for each in about if each.startswith(b"{")))
    await until(lambda: node.directory.sizes() == (1, 1, 1))
    reads = node.replica.standing.reads
    node.replica._doubt(None)
    await until(lambda: node.replica.is_right and node.replica.standing.reads == reads + 1)
    assert node.directory.peer(ANN) == peer(ANN)
    assert node.directory.sizes() == (1, 1, 1)


@pytest.mark.parametrize(
    "message", [b"", b"nonsense", b"{}", b'[["peer"]]', b'[["peer","newer",null,1,"no place"]]', b'[["news","newer"]]']
)
async def test_a_change_that_cannot_be_read(
    node: RedisStores, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and what comes after it is taken in."""
    await Newer(node).tell(message)
    await node.peers.put(peer(ANN))
    assert node.directory.peer(ANN) == peer(ANN)
    (logged,) = caplog.records
    assert "left out" in logged.message


@pytest.mark.parametrize("message", [b"", b"nonsense", msgspec.msgpack.encode([3, "newer", 1])])
async def test_a_message_that_cannot_be_read(
    node: RedisStores, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one of an unknown kind keep the node from what comes after it."""
    newer, postman = Newer(node), node.bus.watcher
    assert isinstance(postman, Postman)
    await newer.send_bytes(message)
    await newer.send("a parcel")
    with anyio.fail_after(5):
        await until(lambda: postman.parcels == ["a parcel"])
    (logged,) = caplog.records
    assert "left out" in logged.message


async def test_changing_a_session(node: RedisStores) -> None:
    """One that has a field that is not known here is changed as any other, and keeps it."""
    newer, key = Newer(node), f"{node.client.space.org(None)}sessions"
    before = Session("ses_1", ANN, {ANN: "host", BOB: "guest"})
    after = Session("ses_1", BOB, {BOB: "host"})
    await newer.write("sessions", "ses_1", with_more(row(before)))
    await newer.change("session", with_more(row(before)))
    await until(lambda: node.directory.session("ses_1") == before)
    assert not await node.sessions.swap(after, before)
    assert await node.sessions.swap(before, after)
    assert node.directory.session("ses_1") == after
    assert await node.client.redis.hget(key, "ses_1") == with_more(row(after))
    assert await node.sessions.swap(after, None)
    assert await node.client.redis.hlen(key) == 0
