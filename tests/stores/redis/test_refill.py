"""Filling a store again that has lost something."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import permutations
from uuid import uuid4

import pytest

from schemas.peers import Profile
from stores.base import Holder, Peer, Session, User
from stores.bus import Home
from stores.redis import refill
from stores.redis.rows import row
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.redis import RedisServer
from tests.support.stores import running

FAR = 1_000_000
ANN, BOB, CAT, DAN, EVE, FAY = (User(name) for name in ("ann", "bob", "cat", "dan", "eve", "fay"))


async def refilled(node: RedisStores, loss: refill.Loss = "emptied") -> None:
    """Have a node write what it knows."""
    life = await node.client.shared("life", b"new")
    await refill.refill(node.client, node.replica, life, loss)


def peer(user: User, status: str = "online") -> Peer:
    """Return a peer."""
    return Peer(user, Profile("x", "guest", "vim"), status, b"a", None)  # type: ignore[arg-type]


async def test_it_is_told(redis: RedisServer) -> None:
    """A node that read the store while it was empty, or half full, gets what others restore, without another change."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "old") as old:
        for user in (ANN, BOB):
            await old.peers.put(Peer(user, Profile("x", "guest", "vim"), "online", b"a", None))
        keys = [key async for key in old.client.redis.scan_iter(f"{old.client.space.name}:*")]
        await old.client.redis.delete(*keys)
        async with running(url, "new") as new:
            assert new.directory.sizes().peers == 0
            await refilled(old)
            await until(lambda: new.directory.sizes().peers == 2)
            await until(lambda: old.replica.is_right and old.replica.version(None) == new.replica.version(None))
            reads = new.replica.standing.reads
            await refilled(new)
            await old.peers.put(Peer(User("cat"), Profile("x", "guest", "vim"), "online", b"a", None))
            await until(lambda: new.directory.sizes().peers == 3)
            assert new.replica.standing.reads == reads


async def test_numbers_begin_anew(redis: RedisServer) -> None:
    """In a store that is filled by a node that has missed something, no change and no home has a number once more."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "late") as late, running(url, "here") as here:
        await here.peers.claim(ANN, Holder("here", 1))
        home = here.bus.home(ANN)
        assert home is not None
        await until(lambda: late.bus.home(ANN) == home)
        known, org = late.replica._orgs[None], here.client.space.org(None)
        known.version, known.homes[ANN.id] = known.version - 1, Home("late", 1, home.fence - 1)
        await here.client.redis.delete(*[f"{org}{name}" for name in ("version", "fenced", "homes", "holders")])
        await refilled(late)
        await until(lambda: here.replica.version(None) > FAR)
        await here.peers.claim(User("cat"), Holder("here", 2))
        claimed = here.bus.home(User("cat"))
        assert claimed is not None
        assert claimed.fence > home.fence


async def test_the_later_home_is_restored(redis: RedisServer) -> None:
    """Whichever node is first to fill an emptied store: one that was cut off may know of an earlier home only."""
    for is_late_first in (True, False):
        url = redis.namespace(uuid4().hex)
        async with running(url, "late") as late, running(url, "here") as here:
            await here.peers.claim(ANN, Holder("here", 1))
            home = here.bus.home(ANN)
            assert home is not None
            await until(lambda: late.bus.home(ANN) == home)  # noqa: B023 - it is over before the next turn
            late.replica._orgs[None].homes[ANN.id] = Home("late", 5, home.fence - 1)
            keys = [key async for key in here.client.redis.scan_iter(f"{here.client.space.name}:*")]
            await here.client.redis.delete(*keys)
            for node in (late, here) if is_late_first else (here, late):
                await refilled(node)
            await until(lambda: here.replica.is_right and here.replica.version(None) > FAR)
            assert await here.peers.claim(ANN, Holder("here", 2)) == Holder("here", 1)


def known(node: RedisStores) -> tuple[list[Peer], dict[User, Home], dict[str, Session]]:
    """Return what a node knows."""
    org = node.replica._orgs[None]
    sessions = {name: node.directory.sessions[name] for name in org.sessions}
    return list(node.directory.peers(None)), dict(node.replica.homes()), sessions


async def enter(node: RedisStores, user: User, socket: int = 1) -> None:
    """Claim and register a user."""
    await node.peers.claim(user, Holder(node.client.node, socket))
    await node.peers.put(peer(user))


async def begin(here: RedisStores, late: RedisStores) -> None:
    """Make what both know of."""
    for user in (ANN, FAY):
        await enter(late, user)
    for user in (BOB, CAT, DAN):
        await enter(here, user)
    for name, users in {"lasting": (ANN, BOB), "ended": (BOB, CAT), "brief": (ANN, FAY)}.items():
        await here.sessions.put(Session(name, users[0], dict.fromkeys(users, "guest")))
    await until(lambda: known(late) == known(here))


async def go_on(here: RedisStores) -> None:
    """Make what only this node knows of."""
    await here.peers.put(peer(CAT, "busy"))
    await leave(here, DAN, Holder("here", 1))
    lasting = here.directory.sessions["lasting"]
    await here.sessions.swap(lasting, Session("lasting", ANN, {ANN: "host", BOB: "guest"}))
    await here.sessions.swap(here.directory.sessions["ended"], None)
    await here.sessions.put(Session("later", BOB, {BOB: "host", CAT: "guest"}))
    await enter(here, EVE)
    await until(lambda: here.bus.home(DAN) is None)


async def leave(node: RedisStores, user: User, holder: Holder) -> None:
    """Have a user go for good."""
    await node.peers.release(user, holder)
    await node.peers.remove(user)
    node.bus.forget(user)
    await node.bus.settled()


def cut_off(node: RedisStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a node hear of no changes from now on, nor read them."""
    monkeypatch.setattr(node.replica, "hear", lambda _message: None)
    monkeypatch.setattr(node.replica, "_doubt", lambda _org: None)


async def dumped(node: RedisStores) -> dict[bytes, bytes]:
    """Return all that the store has of the deployment."""
    redis = node.client.redis
    return {key: await redis.dump(key) or b"" async for key in redis.scan_iter(f"{node.client.space.name}:*")}


async def put_back(node: RedisStores, dump: dict[bytes, bytes]) -> None:
    """Have the store as it was, or empty; in a new life."""
    redis, name = node.client.redis, node.client.space.name
    await redis.delete(*[key async for key in redis.scan_iter(f"{name}:*")])
    for key, value in dump.items():
        await redis.restore(key, 0, value)
    await redis.set(f"{name}:life", "new")


@pytest.mark.parametrize("is_older", [True, False], ids=["older", "empty"])
@pytest.mark.parametrize("order", list(permutations(["here", "late", "also"])), ids="-".join)
async def test_who_knows_most_decides(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...], is_older: bool
) -> None:
    """Whoever is first: what a node that was cut off has not heard of stays as it was, and who has left has left."""
    url = redis.namespace(uuid4().hex)
    async with AsyncExitStack() as stack:
        nodes = {name: await stack.enter_async_context(running(url, name)) for name in ("here", "late", "also")}
        here, late = nodes["here"], nodes["late"]
        await begin(here, late)
        older = await dumped(here) if is_older else {}
        await enter(here, User("gus"))
        cut_off(late, monkeypatch)
        await go_on(here)
        before = known(here)
        await until(lambda: known(nodes["also"]) == before)
        await put_back(here, older)
        for name in order:
            await refilled(nodes[name], "older" if is_older else "emptied")
        new = await stack.enter_async_context(running(url, "new"))
        assert known(new) == before
        org = here.client.space.org(None)
        peers, places = [sorted(await here.client.redis.hkeys(f"{org}{name}")) for name in ("peers", "places")]
        assert peers == places
        for node in (here, nodes["also"]):
            await until(lambda node=node: node.replica.is_right and known(node) == before)  # type: ignore[misc]
        assert await here.peers.claim(CAT, Holder("here", 2)) == Holder("here", 1)


async def test_who_knows_less_than_is_there(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a node is not the first to fill a store that is older than what another knows: it adds its own users."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        cut_off(late, monkeypatch)
        await enter(here, User("gus"))
        older = await dumped(here)
        await go_on(here)
        await put_back(here, older)
        await refilled(late, "unknown")
        await refilled(here, "older")
        async with running(url, "new") as new:
            assert known(new) == known(here)


async def test_peers_that_are_written_otherwise(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by an older version: a peer has its place, or neither is there."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        peers = f"{here.client.space.org(None)}peers"
        for user in (ANN, BOB, CAT, DAN):
            await here.client.redis.hset(peers, user.id, row(peer(user)).replace(b",", b", ").decode())
        older = await dumped(here)
        cut_off(late, monkeypatch)
        await go_on(here)
        await put_back(here, older)
        await refilled(late, "unknown")
        await refilled(here, "older")
        redis_of = here.client.redis
        assert sorted(await redis_of.hkeys(peers)) == sorted(await redis_of.hkeys(peers.replace("peers", "places")))
        async with running(url, "new") as new:
            assert {each.user for each in new.directory.peers(None)} >= {each.user for each in known(here)[0]}


async def test_each_node_knows_best_of_its_own_users(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has changed of them in an older store is not undone by who knows more of the others."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        cut_off(late, monkeypatch)
        await go_on(here)
        late.directory.put_peer(peer(ANN, "away"), late.directory.place(ANN))
        late.directory.put_peer(peer(BOB, "away"), late.directory.place(BOB))
        await put_back(here, {})
        for node in (here, late):
            await refilled(node)
        async with running(url, "new") as new:
            statuses = {each.user: each.status for each in known(new)[0]}
            assert (statuses[ANN], statuses[BOB]) == ("away", "online")


async def test_long_after(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is not known any more what was filled in, who knew more adds its own users only."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        cut_off(late, monkeypatch)
        await go_on(here)
        await put_back(here, {})
        await refilled(late)
        org, client = here.client.space.org(None), here.client.redis
        assert await client.ttl(f"{org}filled:peers") > 0
        await client.delete(*[key async for key in client.scan_iter(f"{org}filled:*")])
        await client.hset(f"{org}filled", "until", "1")
        await refilled(here)
        async with running(url, "new") as new:
            peers, _, sessions = known(new)
            assert {each.user for each in peers} >= {ANN, BOB, CAT, EVE, FAY}
            assert sessions.keys() == {"lasting", "ended", "brief"}


async def test_what_has_changed_since_stays(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows most may be late: what others have changed of what was filled in before is not undone."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        cut_off(late, monkeypatch)
        await go_on(here)
        await put_back(here, {})
        await refilled(late)
        async with running(url, "new") as new:
            await enter(new, DAN)
            await new.peers.put(peer(ANN, "away"))
            await new.sessions.swap(new.directory.sessions["brief"], None)
            await new.peers.release(FAY, Holder("late", 1))
            await new.peers.remove(FAY)
            ended = new.directory.sessions["ended"]
            assert await new.sessions.swap(ended, Session("ended", BOB, {BOB: "host"}))
            await refilled(here)
            await until(lambda: new.directory.peer(EVE) is not None and "later" in new.directory.sessions)
            peers, homes, sessions = known(new)
            assert {each.user: each.status for each in peers} == {
                **dict.fromkeys((BOB, DAN, EVE), "online"),
                ANN: "away",
                CAT: "busy",
            }
            assert homes[DAN].node == "new"
            assert sessions.keys() == {"lasting", "ended", "later"}
            assert sessions["ended"].participants.keys() == {BOB}
            assert sessions["lasting"].participants == {ANN: "host", BOB: "guest"}


@pytest.mark.parametrize("times", [1, 50], ids=["not as far", "farther"])
async def test_who_went_on_from_an_older_store(redis: RedisServer, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A node that came to know of it only then keeps its own users; nothing of what the others know is lost by it."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        older = await dumped(here)
        await go_on(here)
        await until(lambda: known(late) == known(here))
        before = known(here)
        await put_back(here, older)
        for node in (here, late):
            cut_off(node, monkeypatch)
        async with running(url, "new") as new:
            gus = User("gus")
            await enter(new, gus)
            for status in ["busy", "online"] * times:
                await new.peers.put(peer(gus, status))
            cut_off(new, monkeypatch)
            for node in (here, new, late):
                await refilled(node, "unknown" if node is new else "older")
            async with running(url, "last") as last:
                peers, homes, sessions = known(last)
                assert {each.user for each in peers} >= {each.user for each in before[0]} | {gus}
                assert homes[gus].node == "new"
                assert homes.items() >= before[1].items()
                assert sessions.keys() >= before[2].keys()
                if times == 1:
                    assert sessions == before[2]
                    assert DAN not in homes


async def test_a_node_dies_of_it(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one node has begun another does anew."""
    monkeypatch.setattr(refill, "WRITTEN_AT_ONCE", 1)
    url = redis.namespace(uuid4().hex)
    async with running(url, "here") as here, running(url, "late") as late:
        await begin(here, late)
        before = known(here)
        await put_back(here, {})
        change: Callable[..., object] = here.client.change
        calls = iter(range(5))

        async def dies(*arguments: object) -> object:
            next(calls)
            return await change(*arguments)  # type: ignore[misc]

        monkeypatch.setattr(here.client, "change", dies)
        with pytest.raises(RuntimeError):
            await refilled(here)
        await refilled(late)
        async with running(url, "new") as new:
            assert known(new) == before
