"""The follower, and a store that has trimmed, lost, or forgotten what it had."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from stores.model import Request, Session, User
from stores.protocols import StoreUnreachableError
from stores.redis import snapshot
from stores.redis.client import Wire
from stores.redis.keyspace import SHARDS, shard_of
from stores.redis.stores import RedisStores
from tests.stores.redis.listening import ANN, BOB, CAT, listen, peer, put
from tests.support.client import until
from tests.support.proxy import Proxy, proxy
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

SHARD = shard_of(None)
SESSION = Session("ses_0", ANN, {ANN: "host"})


@pytest.fixture
def own(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no other test uses."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


@asynccontextmanager
async def behind(redis: RedisServer, url: str) -> AsyncIterator[tuple[RedisStores, Proxy]]:
    """Run a node called two, and the network between it and the store."""
    async with proxy(redis.port) as wire, running(url.replace(str(redis.port), str(wire.port)), "two") as two:
        yield two, wire


def losses(monkeypatch: pytest.MonkeyPatch, *nodes: RedisStores) -> list[str]:
    """Return the nodes whose log is told that the dataset is lost."""
    lost: list[str] = []
    for node in nodes:
        monkeypatch.setattr(node.log, "dataset_lost", partial(lost.append, node.node))
    return lost


async def test_what_others_change(redis: RedisServer) -> None:
    """A node has what another changes a moment later, and is told of peers; it is not told of its own changes."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "one") as one, running(url, "two") as two:
        mine, theirs = listen(one), listen(two)
        await put(one, peer(ANN))
        await one.peers.remove(ANN)
        await until(lambda: theirs.changed == [(None, peer(ANN)), (peer(ANN), None)])
        assert mine.changed == []


async def test_reconnect(redis: RedisServer) -> None:
    """After a reconnect the follower goes on where it was, without reading anything anew, and says so."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "one") as one, behind(redis, url) as (two, wire):
        heard, reads = listen(two), two.follower.resyncs
        await wire.cut()
        await until(lambda: not two.follower.is_current)
        with pytest.raises(StoreUnreachableError):
            await two.ping()
        await put(one, peer(ANN))
        wire.mend()
        await until(lambda: two.follower.is_current)
        assert two.directory.peer(ANN) == peer(ANN)
        assert (heard.resyncs, heard.changed, two.follower.resyncs) == (1, [(None, peer(ANN))], reads)


async def test_trimmed_past_us(redis: RedisServer) -> None:
    """A shard whose stream does not go back far enough is read anew; every difference is told."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "one") as one, behind(redis, url) as (two, wire):
        await put(one, peer(ANN))
        await one.sessions.put(SESSION)
        await one.requests.add(Request("req_0", ANN, ANN, 1e12))
        await two.follower.catch_up(SHARD)
        heard, reads = listen(two), two.follower.resyncs
        await wire.cut()
        await until(lambda: not two.follower.is_current)
        await one.peers.remove(ANN)
        await put(one, peer(CAT))
        await one.sessions.swap(SESSION, None)
        await one.requests.take("req_0")
        await one.sessions.put(Session("ses_1", CAT, {CAT: "host"}))
        await one.requests.add(Request("req_1", CAT, ANN, 1e12))
        await one.client.redis.xtrim(one.client.keys.changes(SHARD), maxlen=1, approximate=False)
        wire.mend()
        await until(lambda: two.follower.is_current)
        assert heard.changed == [(peer(ANN), None), (None, peer(CAT))]
        assert two.directory.sizes() == (1, 1, 1)
        assert (heard.resyncs, two.follower.resyncs) == (1, reads + 1)


async def test_emptied(own: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes notice that the store was emptied, and forget what it had; it can be used at once."""
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(running(own.url, name)) for name in ("one", "two")]
        for user in (ANN, BOB):
            await put(one, peer(user))
        await one.sessions.put(Session("ses_1", ANN, {ANN: "host"}))
        await until(lambda: two.directory.sizes().peers == 2)
        heard, lost = [listen(node) for node in (one, two)], losses(monkeypatch, one, two)
        await one.client.redis.flushall()
        await put(two, peer(CAT))
        for node in (one, two):
            await node._check()
        await until(lambda: all([*node.directory.everybody()] == [peer(CAT)] for node in (one, two)))
        await until(lambda: one.follower.is_current and two.follower.is_current)
        assert [one.directory.sizes(), two.directory.sizes()] == [(1, 0, 0)] * 2
        assert sorted(lost) == ["one", "two"]
        for each in heard:
            assert {(peer(ANN), None), (peer(BOB), None)} <= set(each.changed)
        assert one.salt == two.salt
        assert one.lease._steady_since is not None
        await put(one, peer(ANN))
        await until(lambda: two.directory.peer(ANN) is not None)


@pytest.mark.parametrize("is_changed", [True, False])
async def test_older(own: RedisServer, monkeypatch: pytest.MonkeyPatch, *, is_changed: bool) -> None:
    """A store that is as it was some time ago is read anew, be it by the next change or a little later."""
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(running(own.url, name)) for name in ("one", "two")]
        await put(one, peer(ANN))
        await until(lambda: two.directory.peer(ANN) is not None)
        redis = one.client.redis
        older = {key: await redis.dump(key) or b"" async for key in redis.scan_iter()}
        await one.peers.remove(ANN)
        await put(one, peer(CAT))
        await until(lambda: two.directory.peer(ANN) is None and two.directory.peer(CAT) is not None)
        heard, lost = listen(two), losses(monkeypatch, one, two)
        async with redis.pipeline() as pipeline:
            _ = pipeline.flushall()
            for key, value in older.items():
                _ = pipeline.restore(key, 0, value)
            await pipeline.execute()
        if is_changed:
            await one.requests.add(Request("req_1", ANN, CAT, 1e12))
        else:
            for node in (one, two):
                await node.follower.check_positions()
        await until(lambda: all([*node.directory.everybody()] == [peer(ANN)] for node in (one, two)))
        assert set(heard.changed) == {(peer(CAT), None), (None, peer(ANN))}
        assert lost == []


async def test_what_is_waited_for(redis: RedisServer) -> None:
    """A call is made once the directory has a change, in order, and also if the change turns out to be lost."""
    async with running(redis.namespace(uuid4().hex), "one") as one:
        called: list[str] = []
        one.follower.when_passed(SHARD, one.follower.position(SHARD), lambda: called.append("now"))
        assert called == ["now"]
        one.follower.when_passed(SHARD, "1-2", lambda: called.append("later"))
        one.follower.when_passed(SHARD, "1-1", lambda: called.append("before"))
        assert called == ["now"]
        await put(one, peer(ANN))
        assert called == ["now", "before", "later"]
        one.follower.when_passed(SHARD, "9999999999999-0", lambda: called.append("lost"))
        one.client.patience = 0.1
        with pytest.raises(StoreUnreachableError, match="not heard of in time"):
            await one.follower.passed(SHARD, "9999999999999-0")
        await one.client.redis.delete(one.client.keys.changes(SHARD))
        await one.follower.check_positions()
        await until(lambda: called[-1] == "lost")
        assert one.follower.position(SHARD) == "0-0"


async def test_a_large_shard_that_changes(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read page by page, and is right also if it changes meanwhile, even by more than its stream tells."""
    monkeypatch.setattr(snapshot, "PAGE", 5)
    url, users = redis.namespace(uuid4().hex), [User(f"user {number}") for number in range(200)]
    read_hash, trims = snapshot._read_hash, [9, 1]

    async def changing(wire: Wire, key: str) -> dict[bytes, bytes]:
        found = await read_hash(wire, key)
        if key == one.client.keys.shard(SHARD, "peers") and trims:
            await one.peers.remove(users[3])
            await put(one, peer(users[3]))
            await put(one, peer(users[4], lapses_at=1e12))
            await one.peers.remove(users[5])
            await one.requests.add(Request("req_1", ANN, CAT, 1e12))
            await one.client.redis.xtrim(one.client.keys.changes(SHARD), maxlen=trims.pop(), approximate=False)
        return found

    async with running(url, "one") as one:
        async with anyio.create_task_group() as tasks:
            for user in users:
                tasks.start_soon(put, one, peer(user))
        monkeypatch.setattr(snapshot, "_read_hash", changing)
        async with running(url, "two") as two:
            assert [*one.directory.everybody()] == [*two.directory.everybody()]
            assert one.directory.sizes() == two.directory.sizes() == (199, 1, 0)
            assert two.follower.resyncs == SHARDS + 1
            assert trims == []


async def test_many_orgs(redis: RedisServer) -> None:
    """Every shard is followed, and read by a node that comes later."""
    url = redis.namespace(uuid4().hex)
    users = [User("ann", f"org {number}") for number in range(8 * SHARDS)]
    async with running(url, "one") as one, running(url, "two") as two:
        for user in users:
            await put(one, peer(user))
        await until(lambda: two.directory.sizes().peers == len(users))
        async with running(url, "three") as three:
            assert {each.user for each in three.directory.everybody()} == set(users)


async def _garbled(node: RedisStores, kind: str, field: str, row: str) -> None:
    keys = node.client.keys
    change: dict[str, str] = {
        "place": "1",
        "before": node.follower.position(SHARD),
        "node": "newer",
        "serial": "1",
        "kind": kind,
    }
    entry = [part for pair in {**change, "field": field, "row": row, "more": "x"}.items() for part in pair]
    await node.client.ask(("XADD", keys.changes(SHARD), "*", *entry))


async def test_what_cannot_be_understood(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and left out, a kind that is not known without a word; what comes after it is taken in."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "one") as one:
        reads = one.follower.resyncs
        await _garbled(one, "nickname", "ann", "{}")
        await one.follower.catch_up(SHARD)
        assert caplog.records == []
        await _garbled(one, "peer", '["ann",null]', '{"user":1}')
        await put(one, peer(CAT))
        assert [*one.directory.everybody()] == [peer(CAT)]
        assert one.follower.resyncs == reads
        await one.client.redis.hset(one.client.keys.shard(SHARD, "peers"), '["ann",null]', '{"user":1}')
        async with running(url, "two") as two:
            assert [*two.directory.everybody()] == [peer(CAT)]
        assert ["left out" in each.message for each in caplog.records] == [True, True]
