"""The stores of a node put together: what they do while Redis is away, and that all nodes agree in the end."""

import random
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from redis import Redis

from stores.model import Holder, Request, Session, User
from stores.protocols import StoreUnreachableError
from stores.redis.client import Client
from stores.redis.keyspace import SHARDS
from stores.redis.pipeline import Call, Pipeline
from stores.redis.rows import row
from stores.redis.stores import RedisStores
from tests.stores.redis.listening import ANN, listen, peer, put
from tests.support.client import until
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

ORGS = (None, "a", "b")


@pytest.fixture
def own(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no other test uses."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


async def test_started_while_the_store_is_away(own: RedisServer) -> None:
    """The node starts, says why it is not ready, and is once the store is there; closing does not wait for it."""
    own.kill()
    async with running(own.url, "one") as one:
        with pytest.raises(StoreUnreachableError):
            await one.ping()
        with pytest.raises(StoreUnreachableError):
            await one.requests.add(Request("req_1", ANN, ANN, 1.0))
        assert one.salt == b""
        own.start()
        await until(lambda: one.follower.is_current)
        await one.ping()
        assert len(one.salt) == 32
        own.kill()


async def test_not_ready(own: RedisServer) -> None:
    """A node is not ready while its directory is being read, or nothing gets through to the logs."""
    async with running(own.url, "one") as one:
        await one.ping()
        one.log.pipeline.why_stuck = "too much"
        with pytest.raises(StoreUnreachableError, match="too much"):
            await one.ping()
        one.log.pipeline.why_stuck = ""
        one.follower.is_current = False
        with pytest.raises(StoreUnreachableError, match="being read"):
            await one.ping()


async def test_what_nodes_share(own: RedisServer) -> None:
    """Nodes have one salt and go by one clock; a listener is told by the log, too."""
    async with running(own.url, "one") as one, running(own.url, "two") as two:
        assert one.salt == two.salt
        assert abs(one.ahead - two.ahead) < 1
        heard = listen(one)
        assert one.listener is one.log.listener is heard
        await two._check()
        assert two.stats()["nodes"] == 2


async def test_a_node_that_dies(own: RedisServer) -> None:
    """The others are told of its peers after a lease; who gives up its own is noticed at once."""
    async with AsyncExitStack() as stack:
        two = RedisStores(own.url, "two", lease=0.6)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        started = anyio.Event()
        tasks.start_soon(two.run, started.set)
        await started.wait()
        heard = listen(two)
        async with running(own.url, "one") as one:
            await put(one, peer(ANN, "one"))
            await anyio.sleep(1.5)
            assert heard.orphans == []
        await until(lambda: bool(heard.orphans))
        assert heard.orphans[0] == peer(ANN, "one")
        tasks.cancel_scope.cancel()
    await two.close()


async def test_a_store_that_is_full(own: RedisServer) -> None:
    """What it refuses is not changed, and can be later."""
    async with running(own.url, "one") as one:
        with Redis(port=own.port) as redis:
            redis.config_set("maxmemory", 1)
            with pytest.raises(StoreUnreachableError, match="maxmemory"):
                await put(one, peer(ANN))
            redis.config_set("maxmemory", 0)
        await put(one, peer(ANN))


class Life:
    """What several nodes do at random while their connections break."""

    def __init__(self, seed: int, nodes: list[RedisStores], redis: Redis) -> None:
        self.dice = random.Random(seed)
        self.nodes = nodes
        self.redis = redis
        self.taken: list[str] = []
        self.added: list[str] = []

    async def live(self, who: int) -> None:
        for number in range(60):
            with suppress(StoreUnreachableError):
                await self.act(self.dice.choice(self.nodes), f"{who}.{number}")
            if self.dice.random() < 0.03:
                kind = self.dice.choice(["normal", "pubsub"])
                self.redis.client_kill_filter(_type=kind, skipme=True)

    async def act(self, node: RedisStores, name: str) -> None:
        user = User(f"user {self.dice.randrange(12)}", self.dice.choice(ORGS))
        known, act = node.directory.peer(user), self.dice.randrange(7)
        session = node.directory.session("ses")
        if act == 0:
            holder = Holder(node.node, self.dice.randrange(100))
            await node.peers.claim(user, holder)
            await node.peers.register(peer(user), holder)
        elif act == 1 and known is not None and known.holder is not None:
            await node.peers.release(user, known.holder)
            await node.peers.put_released(replace(known, lapses_at=self.dice.random()))
        elif act == 2:
            await node.peers.remove(user)
        elif act == 3:
            await node.peers.take_lapsed(0.5)
        elif act == 4:
            await node.requests.add(Request(f"req {name}", user, user, self.dice.random()))
            self.added.append(f"req {name}")
        elif act == 5:
            self.taken += [each.id for each in await node.requests.take_expired(0.5)]
        elif session is None:
            await node.sessions.put(Session("ses", ANN, {ANN: "host"}))
        else:
            joined = replace(session, participants={**session.participants, user: "guest"})
            await node.sessions.swap(session, joined if len(joined.participants) < 9 else None)


async def catch_up(*nodes: RedisStores) -> None:
    for node in nodes:
        for shard in range(SHARDS):
            await node.follower.catch_up(shard)


async def rows_in(node: RedisStores) -> list[bytes]:
    """Return the rows of all peers in the store."""
    keys = [node.client.keys.shard(shard, "peers") for shard in range(SHARDS)]
    return sorted(value for rows in await node.client.ask(*(("HVALS", key) for key in keys)) for value in rows)


@pytest.mark.parametrize("seed", range(4))
async def test_one_truth(own: RedisServer, seed: int) -> None:
    """Whatever nodes do at once, and whichever connections break: all of them have what the store has in the end."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(Redis(port=own.port))
        nodes = [await stack.enter_async_context(running(own.url, name)) for name in ("one", "two", "three")]
        life = Life(seed, nodes, redis)
        async with anyio.create_task_group() as tasks:
            for who in range(6):
                tasks.start_soon(life.live, who)
        await until(lambda: all(node.follower.is_current for node in nodes))
        await catch_up(*nodes)
        for node in nodes:
            life.taken += [each.id for each in await node.requests.take_expired(0.5)]
        later = await stack.enter_async_context(running(own.url, "later"))
        await catch_up(*nodes)
        for node in (*nodes, later):
            assert sorted(map(row, node.directory.everybody())) == await rows_in(node)
            assert [[*node.directory.peers(org)] for org in ORGS] == [[*later.directory.peers(org)] for org in ORGS]
            assert node.directory.session("ses") == later.directory.session("ses")
        left = {name for name in life.added if later.directory.request(name) is not None}
        assert len(life.taken) == len(set(life.taken))
        assert left.isdisjoint(life.taken)
        assert node.follower.resyncs == SHARDS


async def test_sent_while_the_store_is_frozen(own: RedisServer) -> None:
    """A call goes out again once the store answers, though no other is put after it."""
    client, answers = Client(own.url, "one", 0.3), list[object]()
    pipeline = Pipeline(client)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run)
        pipeline.put(Call(("PING",), 0, answers.append))
        await until(lambda: len(answers) == 1)
        with own.frozen():
            pipeline.put(Call(("PING",), 0, answers.append))
            await until(lambda: pipeline.why_stuck != "")
        await until(lambda: len(answers) == 2)
        assert (pipeline.why_stuck, pipeline.is_away) == ("", False)
        tasks.cancel_scope.cancel()
    await client.close()
