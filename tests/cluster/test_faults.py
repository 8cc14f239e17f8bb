"""What may break between nodes, and what must not be lost by it: real processes, killed, cut off and frozen."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import product
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest
from redis import Redis
from websockets.exceptions import InvalidStatus

from app.cli.server import SHUTDOWN_SECONDS
from schemas.peers import Profile
from stores.model import Holder, Peer, User
from stores.redis.lua import read_scripts
from stores.redis.stores import PATIENCE_SECONDS
from tests.cluster.conftest import DRAIN_SECONDS, LEASE, Nodes
from tests.cluster.talker import Talker, talking
from tests.cluster.test_metrics import metrics
from tests.cluster.test_nodes import sees
from tests.service.test_resume import CAPABILITIES, meet, resumer
from tests.support.client import Client, client, pair, until
from tests.support.proxy import proxy
from tests.support.redis import RedisServer
from tests.support.server import Server
from tests.support.stores import running

COUNT = 60
RETRY_SECONDS = 0.1  # a stranger is not read without end
PAUSE = 0.02
GONE = 3 * LEASE
SOON = 1.0
SETTLED = 15.0


async def test_a_node_is_killed(node: Nodes) -> None:
    """Who was on it resumes on another; what was acknowledged is there, and nothing is there twice."""
    first, second = node.pair()
    ann, bob = Talker("ann", [first]), Talker("bob", [second, first])
    async with talking(ann, bob):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ann.say, range(COUNT), PAUSE)
            tasks.start_soon(bob.say, range(COUNT), PAUSE)
            await bob.has_heard(COUNT // 3)
            second.process.kill()
        assert await bob.has_heard(COUNT) == list(range(COUNT))
        assert await ann.has_heard(COUNT) == list(range(COUNT))
    assert (bob.starts, bob.over) == (1, [])


async def test_a_rolling_restart(node: Nodes) -> None:
    """Three nodes are replaced one after the other: nothing is lost, no session ends, and nobody starts over."""
    nodes = node.several({}, {}, {})
    ann, bob = Talker("ann", [nodes[0]]), Talker("bob", [nodes[1]])
    by_ann, by_bob, is_over = list[int](), list[int](), anyio.Event()
    async with talking(ann, bob):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ann.say, counting(by_ann, is_over), PAUSE)
            tasks.start_soon(bob.say, counting(by_bob, is_over), PAUSE)
            for old in nodes:
                new = await anyio.to_thread.run_sync(node)
                for who in (ann, bob):
                    who.nodes = [new, *who.nodes]
                await anyio.to_thread.run_sync(stop, old)
            is_over.set()
        assert await bob.has_heard(len(by_ann)) == by_ann
        assert await ann.has_heard(len(by_bob)) == by_bob
    assert (ann.starts, bob.starts, ann.over, bob.over) == (1, 1, [], [])


def counting(said: list[int], is_over: anyio.Event) -> Iterator[int]:
    """Count until it is over, and note each number."""
    while not is_over.is_set():
        said.append(len(said))
        yield said[-1]


def sha(script: str) -> bytes:
    """Return how a call of a script begins on the wire."""
    return read_scripts()[script].sha.encode()


def stop(server: Server) -> None:
    """Have a node drain and end."""
    server.process.terminate()
    assert server.process.wait(20) == 0


async def test_redis_is_emptied(node: Nodes, own_redis: RedisServer) -> None:
    """All sockets start over, those of version 1, too; sessions are gone, and everybody is there again soon."""
    first, second = node.pair(store_port=own_redis.port)
    async with resumer(first) as ann, resumer(second) as bob, client(first) as cat:
        session = await meet(ann, bob)
        await cat.join("cat")
        bob.cut()
        await until(lambda: metrics(second)["sockets registered"] == 0)
        await tell_kept(ann, session, range(5))
        with Redis(port=own_redis.port) as redis:
            redis.flushall()
        for who in (ann, cat):
            await who.expect_close_after_news(1012)
        async with resumer(second) as back, resumer(first) as again, client(second) as cat_again:
            assert not (await back.back(bob))["recovered"]
            await back.send("PEER_REGISTER")
            assert not (await again.enter("ann", ann.token, ann.offset))["recovered"]
            await again.send("PEER_REGISTER")
            await cat_again.join("cat")
            for who, others in ((back, {"ann", "cat"}), (again, {"bob", "cat"}), (cat_again, {"ann", "bob"})):
                await until_known(who, others)
            back.offset = again.offset = 0
            await talk_anew(again, back)


async def test_redis_comes_back_older(node: Nodes, own_redis: RedisServer) -> None:
    """Whoever had events since it last saved starts over, and all nodes agree again; nobody else notices."""
    first, second = node.pair(store_port=own_redis.port, resume_grace_seconds=60)
    async with AsyncExitStack() as sockets:
        ann, bob, back = [await sockets.enter_async_context(resumer(each)) for each in (first, second, first)]
        cat, dan, eve = [await sockets.enter_async_context(client(first)) for _ in range(3)]
        session = await meet(ann, bob)
        await dan.join("dan")
        await eve.join("eve")
        bob.cut()
        await until(lambda: metrics(second)["sockets registered"] == 0)
        await tell_kept(ann, session, range(3))
        await anyio.to_thread.run_sync(own_redis.save)
        await dan.websocket.close()
        await cat.join("cat")
        await sees(ann, "dan", is_there=False)
        await tell_kept(ann, session, range(3, 6))
        await anyio.to_thread.run_sync(own_redis.restart)
        await cat.expect_close_after_news(1012)
        assert not (await back.back(bob))["recovered"]
        await back.send("PEER_REGISTER")
        cat_again, fay = [await sockets.enter_async_context(client(second)) for _ in range(2)]
        await cat_again.join("cat")
        await fay.join("fay")
        await until_known(fay, {"ann", "bob", "cat", "eve"})
        await until_known(ann, {"fay", "bob", "cat", "eve"})
        assert await eve.is_heard()


async def until_known(who: Client, others: set[str]) -> None:
    """Wait until these are listed, and nobody else."""
    with anyio.fail_after(SETTLED):
        while (await modes(who)).keys() != others:  # noqa: ASYNC110 - other processes bring it about
            await anyio.sleep(RETRY_SECONDS)


async def talk_anew(who: Client, other: Client) -> None:
    """Make a session between two who are there, and see a message arrive."""
    await who.send("CONNECTION_REQUEST", targetId="bob")
    request = await other.until("CONNECTION_REQUEST_RECEIVED")
    await other.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    session = (await who.until("CONNECTION_ACCEPTED"))["sessionId"]
    await tell(who, other, session)


async def tell_kept(who: Client, session: str, contents: Iterable[int]) -> None:
    """Send messages to somebody who is away, and see that they are kept."""
    for content in contents:
        await who.send("SEND_MESSAGE", sessionId=session, content=content, messageId=f"m{content}")
        assert (await who.until("MESSAGE_ACK"))["queued"] == ["bob"]


async def test_redis_is_frozen(node: Nodes, own_redis: RedisServer) -> None:
    """Those on one node talk on; what needs the store is refused, readiness says so, and all heals by itself."""
    first, second = node.pair(store_port=own_redis.port)
    async with client(first) as ann, client(first) as bob, client(second) as cat:
        session = await pair(ann, bob)
        await cat.join("cat")
        await sees(ann, "cat")
        with own_redis.frozen():
            await ann.send("SEND_MESSAGE", sessionId=session, content="still")
            assert (await bob.until("MESSAGE_RECEIVED"))["content"] == "still"
            await ann.send("CONNECTION_REQUEST", targetId="cat")
            assert (await ann.until("ERROR"))["code"] == "ERR_9002"
            await until(lambda: first.get("/health/ready").status_code == 503)
            assert first.get("/health/live").status_code == 200
        await until(lambda: all(each.get("/health/ready").status_code == 200 for each in (first, second)))
        await ann.send("CONNECTION_REQUEST", targetId="cat")
        assert (await cat.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] == "ann"
        await bob.send("SEND_MESSAGE", sessionId=session, content="and on")
        assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "and on"


async def test_redis_is_gone(node: Nodes, kept_redis: RedisServer) -> None:
    """For some leases: pairs of one node talk on, nobody is closed, and all heals, also on a node started meanwhile."""
    first, second = node.pair(store_port=kept_redis.port)
    async with client(first) as ann, client(first) as bob, client(second) as cat, client(first) as dan:
        session = await pair(ann, bob)
        await cat.join("cat")
        await sees(ann, "cat")
        await dan.authenticate("dan")
        kept_redis.kill()
        third = await anyio.to_thread.run_sync(partial(node, "/health/live", store_port=kept_redis.port))
        with pytest.raises(InvalidStatus, match="503"):
            await client(third).__aenter__()
        nodes = (first, second, third)
        await until(lambda: all(each.get("/health/ready").status_code == 503 for each in nodes))
        async with client(first) as eve:
            end = anyio.current_time() + GONE
            while anyio.current_time() < end:
                await tell(ann, bob, session)
                await is_refused(ann, "CONNECTION_REQUEST", targetId="cat")
                await is_refused(dan, "PEER_REGISTER")
                await is_refused(eve, "AUTH", token=first.keys.token("eve"))
                await anyio.sleep(RETRY_SECONDS)
                for each in nodes:
                    assert each.get("/health/live").status_code == 200
                    unready = each.get("/health/ready")
                    assert (unready.status_code, unready.json()["code"]) == (503, "ERR_9002")
                    assert "store unreachable: Redis: " in unready.json()["message"]
            await anyio.to_thread.run_sync(kept_redis.start)
            await until(lambda: all(each.get("/health/ready").status_code == 200 for each in (first, second, third)))
            await dan.send("PEER_REGISTER")
            await dan.until("PEER_REGISTERED")
            await eve.join("eve")
            async with client(third) as fay:
                await fay.join("fay")
                assert await modes(fay) == dict.fromkeys(["ann", "bob", "cat", "dan", "eve"], "LAN")
            await tell(bob, ann, session)
            await ann.send("CONNECTION_REQUEST", targetId="cat")
            assert (await cat.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] == "ann"


async def test_a_drop_while_redis_is_gone(node: Nodes, kept_redis: RedisServer) -> None:
    """Who wants to come back is told to try again, on the same socket, and then misses nothing."""
    server = node(store_port=kept_redis.port)
    async with resumer(server) as ann, resumer(server) as bob, resumer(server) as back:
        session = await meet(ann, bob)
        kept_redis.kill()
        bob.cut()
        for n in range(COUNT):
            await ann.send("SEND_MESSAGE", sessionId=session, content=n, messageId=f"m{n}")
        end = anyio.current_time() + GONE
        again = {"token": server.keys.token("bob"), "capabilities": CAPABILITIES}
        resume = {"token": bob.token, "offset": bob.offset}
        while anyio.current_time() < end:
            await is_refused(back, "AUTH", **again, resume=resume)
            await anyio.sleep(RETRY_SECONDS)
        await anyio.to_thread.run_sync(kept_redis.start)
        await until(lambda: server.get("/health/ready").status_code == 200)
        assert (await back.back(bob))["recovered"]
        assert [(await back.until("MESSAGE_RECEIVED"))["content"] for _ in range(COUNT)] == list(range(COUNT))
        for _ in range(COUNT):
            ack = await ann.until("MESSAGE_ACK")
            assert ack["delivered"] + ack["queued"] == ["bob"]
        await back.send("SEND_MESSAGE", sessionId=session, content="back", messageId="m")
        assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "back"
        assert (await back.until("MESSAGE_ACK"))["delivered"] == ["ann"]


async def test_who_goes_while_redis_is_gone(node: Nodes, kept_redis: RedisServer) -> None:
    """Who does not come back is given up when it is back, as the socket's end would have it; of either version."""
    server = node(store_port=kept_redis.port, session_grace_seconds=1, resume_grace_seconds=1)
    async with AsyncExitStack() as sockets:
        couples = []
        for number, (opened, reason) in enumerate(product((client, resumer), ("left", "timeout"))):
            ann, bob = [await sockets.enter_async_context(opened(server)) for _ in range(2)]
            await pair(ann, bob, (f"ann-{number}", f"bob-{number}"))
            couples.append((ann, bob, f"bob-{number}", reason))
        kept_redis.kill()
        for _, bob, _, reason in couples:
            if reason == "left":
                await bob.websocket.close()
            else:
                bob.cut()
        for ann, _, name, _ in couples:
            await is_refused(ann, "CONNECTION_REQUEST", targetId=name)
        await anyio.to_thread.run_sync(kept_redis.start)
        for ann, _, name, reason in couples:
            assert (await ann.until("SESSION_ENDED"))["reason"] == reason
            await sees(ann, name, is_there=False)


async def tell(who: Client, other: Client, session: str) -> None:
    """Send a message, and see it come."""
    content = uuid4().hex
    await who.send("SEND_MESSAGE", sessionId=session, content=content)
    assert (await other.until("MESSAGE_RECEIVED"))["content"] == content


async def is_refused(who: Client, event: str, **data: object) -> None:
    """Be refused for want of the store, and soon."""
    with anyio.fail_after(SOON):
        await who.send(event, **data)
        assert (await who.until("ERROR"))["code"] == "ERR_9002"


async def modes(who: Client) -> dict[str, str]:
    """Return which peers there are, and how each can be reached."""
    await who.send("DISCOVER_PEERS")
    return {each["id"]: each["connectionMode"] for each in (await who.until("PEERS_LIST"))["peers"]}


async def test_stopping_without_a_store(node: Nodes, own_redis: RedisServer) -> None:
    """A node that is told to stop does so in the time that the chart leaves it, though nothing can be written."""
    server = node(store_port=own_redis.port)
    async with resumer(server) as ann, resumer(server) as bob:
        await pair(ann, bob)
        with own_redis.frozen():
            server.process.terminate()
            for who in (ann, bob):
                await who.expect_close_after_news(1012)
            least = DRAIN_SECONDS + SHUTDOWN_SECONDS + 2 * PATIENCE_SECONDS
            assert await anyio.to_thread.run_sync(server.process.wait, least) == 0


async def test_a_node_is_cut_off(node: Nodes, own_redis: RedisServer) -> None:
    """One that is cut off from Redis, but not from its clients, is taken for gone; its clients come back and resume."""
    async with proxy(own_redis.port) as wire:
        ports = [{"store_port": port} for port in (own_redis.port, wire.port)]
        first, second = await anyio.to_thread.run_sync(node.several, *ports)
        ann, bob = Talker("ann", [first]), Talker("bob", [second])
        async with talking(ann, bob):
            await ann.say(range(5))
            await wire.cut()
            await until(lambda: metrics(first)["nodes"] == 1 and metrics(second)["lease_held"] == 0)
            await ann.say(range(5, 10))
            wire.mend()
            await bob.say(range(10))
            assert await bob.has_heard(10) == list(range(10))
            assert await ann.has_heard(10) == list(range(10))
        assert (ann.starts, bob.starts, ann.over, bob.over) == (1, 1, [], [])


@pytest.mark.parametrize("is_near", [True, False])
@pytest.mark.parametrize("is_frozen", [True, False])
async def test_a_sender_leaves_a_node_that_stands_still(
    node: Nodes, redis: RedisServer, *, is_frozen: bool, is_near: bool
) -> None:
    """What it sent over a node that is frozen, or cut off from Redis, never comes after what it sends over another."""
    async with proxy(redis.port) as wire:
        start = partial(node.several, {"store_port": wire.port}, {}, node_lease_seconds=30)
        first, second = await anyio.to_thread.run_sync(start)
        async with client(first) as ann, client(first if is_near else second) as bob, client(second) as again:
            session = await meet(ann, bob)
            await tell(ann, bob, session)
            if is_frozen:
                first.process.send_signal(signal.SIGSTOP)
            else:
                wire.freeze()
            await say(ann, session, range(5))
            await again.join("ann")
            await say(again, session, range(5, 10))
            await anyio.sleep(SOON)
            if is_frozen:
                first.process.send_signal(signal.SIGCONT)
            else:
                wire.thaw()
            await ann.expect_close_after_news(4002)
            await anyio.sleep(SOON)
            await say(again, session, [10])
            heard = [(await bob.until("MESSAGE_RECEIVED"))["content"]]
            while heard[-1] != 10:
                heard.append((await bob.until("MESSAGE_RECEIVED"))["content"])
        assert heard in (list(range(11)), list(range(5, 11)))


async def say(who: Client, session: str, contents: Iterable[int]) -> None:
    """Send messages."""
    for content in contents:
        await who.send("SEND_MESSAGE", sessionId=session, content=content)


async def is_ready(server: Server) -> None:
    """Wait until a node is, while what passes between it and Redis goes on."""
    probe = partial(anyio.to_thread.run_sync, server.get, "/health/ready")
    while (await probe()).status_code != 200:  # noqa: ASYNC110 - another process
        await anyio.sleep(PAUSE)


async def test_who_is_there_without_a_socket(node: Nodes) -> None:
    """However a user came to be there by a socket that its node has not: it is given up like one that dropped."""
    server = node()
    async with client(server) as ann:
        await ann.join("ann")
        async with running(node.url(), "reader") as reader:
            known = reader.directory.peer(User("ann"))
        assert known is not None
        assert known.holder is not None
        async with running(node.url(), known.holder.node) as twin:
            holder, cat = Holder(twin.client.node, 1 << 30), User("cat")
            await twin.peers.claim(cat, holder)
            await twin.peers.register(Peer(cat, Profile("cat", "guest", "vim"), "online", b"a"), holder)
            await sees(ann, "cat")
        await sees(ann, "cat", is_there=False)


async def test_whom_the_store_has_lost(node: Nodes, own_redis: RedisServer) -> None:
    """However a user was lost whose socket is here: the client is to connect again, and the others know of it again."""
    server = node(store_port=own_redis.port)
    async with client(server) as ann, client(server) as bob, client(server) as again:
        for who, name in (ann, "ann"), (bob, "bob"):
            await who.join(name)
        async with running(node.url(own_redis.port), "other") as other:
            await other.peers.remove(User("ann"))
        await ann.expect_close_after_news(1012)
        await again.join("ann")
        await sees(bob, "ann")
        assert await bob.is_heard()


@pytest.mark.parametrize("times", [1, 2])
async def test_an_adoption_is_not_answered(node: Nodes, redis: RedisServer, times: int) -> None:
    """Who is adopted is given up in time, also if the answer to that was lost, and that to asking again."""
    async with proxy(redis.port) as wire:
        start = partial(node.several, {"store_port": wire.port}, {}, session_grace_seconds=1)
        first, second = await anyio.to_thread.run_sync(start)
        async with client(first) as ann, client(second) as bob:
            await pair(ann, bob)
            wire.lose_answers(sha("change"), times)
            second.process.kill()
            assert (await ann.until("SESSION_ENDED"))["reason"] == "timeout"
            assert wire.lost == times


async def test_a_claim_is_not_answered(node: Nodes, redis: RedisServer) -> None:
    """A user who connects again supersedes its older socket, also if the answer to its claim was lost."""
    async with proxy(redis.port) as wire:
        server = await anyio.to_thread.run_sync(partial(node, store_port=wire.port))
        async with client(server) as ann, client(server) as again:
            await ann.join("ann")
            wire.lose_answers(sha("claim"), 1)
            await again.authenticate("ann")
            assert wire.lost == 1
            await ann.expect_error("ERR_2005")
            await ann.expect_close(4002)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_release_is_not_answered(node: Nodes, redis: RedisServer, times: int) -> None:
    """Who drops is given up in time, also if the answer to that was lost, and that to asking again."""
    async with proxy(redis.port) as wire:
        server = await anyio.to_thread.run_sync(partial(node, store_port=wire.port, session_grace_seconds=1))
        async with client(server) as ann, client(server) as bob:
            await pair(ann, bob)
            wire.lose_answers(sha("release"), times)
            bob.cut()
            assert (await ann.until("SESSION_ENDED"))["reason"] == "timeout"
            assert wire.lost == times


@pytest.mark.parametrize("times", [1, 2])
async def test_a_lapse_is_not_answered(node: Nodes, redis: RedisServer, times: int) -> None:
    """Who does not come back in time is given up also if the answer to that was lost, and that to asking again."""
    async with proxy(redis.port) as wire:
        server = await anyio.to_thread.run_sync(partial(node, store_port=wire.port, resume_grace_seconds=1))
        async with resumer(server) as ann, resumer(server) as bob:
            await meet(ann, bob)
            wire.lose_answers(sha("change"), times)
            bob.cut()
            news: set[str] = set()
            while not news >= {"SESSION_ENDED", "bob offline"}:  # in either order: they come by different ways
                news.add(await ann.next_event())
            assert wire.lost == times
