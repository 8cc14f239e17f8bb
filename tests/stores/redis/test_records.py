"""Records that several nodes change at once, and answers that are lost."""

from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from msgspec.structs import replace

from stores.model import Holder, Peer, Request, Revocation, Session, User
from stores.protocols import StoreUnreachableError
from stores.redis.keyspace import shard_of
from stores.redis.rows import row
from stores.redis.stores import RedisStores
from tests.stores.redis.listening import ANN, CAT, listen, peer, put
from tests.support.client import until
from tests.support.proxy import Proxy, proxy
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

SESSION = Session("ses_1", ANN, {ANN: "host"})


@pytest.fixture
async def nodes(redis: RedisServer) -> AsyncIterator[tuple[RedisStores, RedisStores]]:
    """Two nodes."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "one") as one, running(url, "two") as two:
        yield one, two


@pytest.fixture
async def behind(redis: RedisServer) -> AsyncIterator[tuple[RedisStores, Proxy]]:
    """A node, and the network between it and the store."""
    async with proxy(redis.port) as wire:
        url = redis.namespace(uuid4().hex).replace(str(redis.port), str(wire.port))
        async with running(url, "node") as node:
            yield node, wire


async def test_taken_by_one_node(nodes: tuple[RedisStores, RedisStores]) -> None:
    """Whoever has lapsed, and what has expired, goes to one of the nodes that take it at once."""
    one, two = nodes
    users = [User(f"user {number}", f"org {number % 3}") for number in range(30)]
    for user in users:
        await put(one, peer(user, lapses_at=1.0))
        await one.requests.add(Request(f"req {user.id}", user, ANN, 1.0))
    await until(lambda: two.directory.sizes() == (30, 30, 0))
    peers: list[Peer] = []
    requests: list[Request] = []

    async def take(node: RedisStores) -> None:
        peers.extend(await node.peers.take_lapsed(2.0))
        requests.extend(await node.requests.take_expired(2.0))

    async with anyio.create_task_group() as tasks:
        for node in nodes:
            tasks.start_soon(take, node)
    assert sorted(each.user for each in peers) == sorted(users)
    assert sorted(each.requester for each in requests) == sorted(users)


async def test_swapped_by_one_node(nodes: tuple[RedisStores, RedisStores]) -> None:
    """Of two nodes that change a session one does; both have it as it is by then."""
    one, two = nodes
    await one.sessions.put(SESSION)
    await until(lambda: two.directory.session("ses_1") is not None)
    swapped: dict[User, bool] = {}

    async def join(node: RedisStores, user: User) -> None:
        after = replace(SESSION, participants={ANN: "host", user: "guest"})
        swapped[user] = await node.sessions.swap(SESSION, after)
        session = node.directory.session("ses_1")
        assert session is not None
        assert (user in session.participants) == swapped[user]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join, one, CAT)
        tasks.start_soon(join, two, User("dan"))
    assert sorted(swapped.values()) == [False, True]


async def test_a_claim_lost_while_it_registers(
    nodes: tuple[RedisStores, RedisStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is as it was before then, unless the new holder has registered by then."""
    one, _ = nodes
    found = [Holder("one", 1), Holder("two", 1)] * 2

    async def holder(_user: User) -> Holder:
        return found.pop(0)

    monkeypatch.setattr(one.log.claims, "holder", holder)
    assert not await one.peers.register(peer(ANN), Holder("one", 1))
    assert one.directory.peer(ANN) is None
    monkeypatch.undo()
    await put(one, peer(ANN, "three"))
    monkeypatch.setattr(one.log.claims, "holder", holder)
    assert not await one.peers.register(peer(ANN), Holder("one", 1))
    assert one.directory.peer(ANN) == peer(ANN, "three")


async def test_a_row_that_changed_on_its_way(
    nodes: tuple[RedisStores, RedisStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is for who is away is not done to another row."""
    one, two = nodes
    await put(one, peer(ANN, lapses_at=5.0))
    ask = one.log.claims.holder

    async def holder(user: User) -> Holder | None:
        known = await two.peers.find(ANN)
        assert known is not None
        changed = replace(known, status="busy" if known.status == "online" else "online")
        assert await two.peers._swap(ANN, known, changed)
        return await ask(user)

    monkeypatch.setattr(one.log.claims, "holder", holder)
    before = one.directory.peer(ANN)
    assert before is not None
    assert not await one.peers.put_released(replace(before, lapses_at=9.0))
    assert await one.peers.remove_released(ANN) is None
    assert one.directory.peer(ANN) is not None


async def test_a_contested_registration(
    nodes: tuple[RedisStores, RedisStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, for some time, where another change came first."""
    one, _ = nodes
    await one.peers.claim(ANN, Holder("one", 1))
    swap, made = one.peers._swap, [False]

    async def contested(user: User, before: Peer | None, after: Peer | None) -> bool:
        return made.pop() and await swap(user, before, after) if made else False

    monkeypatch.setattr(one.peers, "_swap", contested)
    with pytest.raises(StoreUnreachableError, match="kept changing"):
        await one.peers.register(peer(ANN), Holder("one", 1))
    made += [True, False]
    assert await one.peers.register(peer(ANN), Holder("one", 1))
    assert one.directory.peer(ANN) == peer(ANN)


async def test_lost_answers(behind: tuple[RedisStores, Proxy]) -> None:
    """What was changed is known by the change stream, though no answer came, however often it was sent."""
    node, wire = behind
    await node.sessions.put(SESSION)
    await put(node, peer(ANN, lapses_at=1.0))
    await node.requests.add(Request("req_1", ANN, CAT, 1.0))
    changed = replace(SESSION, participants={ANN: "host", CAT: "guest"})
    for times in (1, 2):
        wire.lose_answers(b"EVALSHA", times)
        assert await node.sessions.swap(SESSION, changed)
        assert node.directory.session("ses_1") == changed
        assert await node.sessions.swap(changed, SESSION)
    wire.lose_answers(b"EVALSHA", 2)
    assert await node.peers.take_lapsed(2.0) == [peer(ANN, lapses_at=1.0)]
    wire.lose_answers(b"EVALSHA", 1)
    assert [each.id for each in await node.requests.take_expired(2.0)] == ["req_1"]
    assert wire.lost == 6
    assert await node.peers.take_lapsed(2.0) == []


@asynccontextmanager
async def impatient(url: str) -> AsyncIterator[RedisStores]:
    """Run a node that waits only shortly for answers."""
    made = RedisStores(url, "node", patience=0.3)
    async with anyio.create_task_group() as tasks:
        started = anyio.Event()
        tasks.start_soon(made.run, started.set)
        await started.wait()
        yield made
        tasks.cancel_scope.cancel()
    await made.close()


@pytest.fixture
def own(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no other test uses."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


async def test_made_when_nobody_waits(own: RedisServer) -> None:
    """What a node took, and heard of too late, the next call gets; of other changes its listener is told."""
    async with impatient(own.url) as node:
        heard = listen(node)
        await put(node, peer(ANN, lapses_at=1.0))
        await put(node, peer(CAT))
        await node.requests.add(Request("req_1", ANN, CAT, 1.0))

        async def fail(call: Awaitable[object]) -> None:
            with pytest.raises(StoreUnreachableError):
                await call

        with own.frozen():
            async with anyio.create_task_group() as tasks:
                for call in (node.peers.take_lapsed(2.0), node.requests.take_expired(2.0), node.peers.remove(CAT)):
                    tasks.start_soon(fail, call)
        await until(lambda: node.follower.is_current and node.directory.sizes() == (0, 0, 0))
        assert heard.changed == [(peer(CAT), None)]
        assert await node.peers.take_lapsed(2.0) == [peer(ANN, lapses_at=1.0)]
        assert [each.id for each in await node.requests.take_expired(2.0)] == ["req_1"]
        assert await node.peers.take_lapsed(2.0) == []
        assert node.follower.made == {}


async def test_changes_of_one_turn(nodes: tuple[RedisStores, RedisStores], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those to one shard go out together."""
    one, _ = nodes
    ran: list[int] = []
    run = one.client.run

    async def counted(script: str, keys: list[str], *arguments: str) -> object:
        ran.append(len(arguments))
        return await run(script, keys, *arguments)

    monkeypatch.setattr(one.client, "run", counted)
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(one.requests.add, Request(f"req_{number}", ANN, CAT, 1.0))
    assert ran == [2 + 5 * 10]
    assert one.directory.sizes().requests == 10


async def test_revocations_of_other_nodes(nodes: tuple[RedisStores, RedisStores]) -> None:
    """The other nodes are told; the key is gone when no such token can be valid any more."""
    one, two = nodes
    mine, theirs = listen(one), listen(two)
    revocation = Revocation(expires_at=1_000_000_060, user=ANN, issued_before=1_000_000_000)
    await one.revocations.add(revocation, 1_000_000_000)
    await until(lambda: theirs.revocations == [revocation])
    assert mine.revocations == []
    assert 0 < await one.client.redis.ttl(one.client.keys.revoked_user(ANN)) <= 61
    assert await two.revocations.cover(ANN, None, 0, 1_000_000_000)


async def test_fields_of_a_newer_version(nodes: tuple[RedisStores, RedisStores]) -> None:
    """A session with a field that is not known here is changed as any other, and keeps it."""
    one, _ = nodes
    after = replace(SESSION, participants={ANN: "host", CAT: "guest"})
    key = one.client.keys.shard(shard_of(None), "sessions")

    def newer(session: Session) -> bytes:
        return row(session)[:-1] + b',"mood":{"is":["new"]}}'

    await one.client.redis.hset(key, "ses_1", newer(SESSION).decode())
    assert not await one.sessions.swap(after, SESSION)
    assert await one.sessions.swap(SESSION, after)
    assert one.directory.session("ses_1") == after
    assert await one.client.redis.hget(key, "ses_1") == newer(after)
    assert await one.sessions.swap(after, None)
    assert await one.client.redis.hlen(key) == 0
