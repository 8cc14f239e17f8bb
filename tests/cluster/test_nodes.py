"""Users on several nodes: what each of them sees is as if there were one (docs/protocol.md)."""

import json
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from operator import itemgetter

import anyio
from websockets.exceptions import ConnectionClosed

from tests.cluster.conftest import Nodes
from tests.service.test_admin import ask, expect_revoked
from tests.service.test_resume import CAPABILITIES, Resumer, resumer
from tests.support.client import PATIENCE, Client, client
from tests.support.server import Server

PAUSE = 0.02
COUNT = 200
THIEVES = 5


async def test_talk(node: Nodes) -> None:
    """Peers of two nodes find each other, connect, talk, and see each other leave; they are in one LAN."""
    first, second = node.pair()
    async with client(first) as ann:
        async with client(second) as bob:
            session = await meet(ann, bob)
            for who, other in ((ann, bob), (bob, ann)):
                await who.send("SEND_MESSAGE", sessionId=session, content={"n": 1})
                received = await other.until("MESSAGE_RECEIVED")
                assert (received["content"], received["sessionId"]) == ({"n": 1}, session)
            await bob.send("DISCOVER_PEERS")
            (found,) = (await bob.until("PEERS_LIST"))["peers"]
            assert (found["id"], found["status"], found["connectionMode"]) == ("ann", "online", "LAN")
        both = [json.loads(await ann.receive()) for _ in range(2)]  # in either order: they come by different ways
        offline, ended = sorted(both, key=itemgetter("event"))
        assert (offline["event"], offline["data"]["status"]) == ("PEER_STATUS_UPDATE", "offline")
        assert (ended["event"], ended["data"]["reason"]) == ("SESSION_ENDED", "left")


async def test_order(node: Nodes) -> None:
    """Messages of one sender reach a receiver on another node in the order sent."""
    first, second = node.pair()
    async with client(first) as ann, client(second) as bob:
        session = await meet(ann, bob)
        for n in range(COUNT):
            await ann.send("SEND_MESSAGE", sessionId=session, content=n)
        assert [(await bob.until("MESSAGE_RECEIVED"))["content"] for _ in range(COUNT)] == list(range(COUNT))


async def test_superseding(node: Nodes) -> None:
    """A user who connects to another node supersedes its socket on the first, and its sessions go on there."""
    first, second = node.pair()
    async with client(first) as ann, client(first) as bob:
        session = await meet(ann, bob)
        async with client(second) as again:
            await again.authenticate("bob")
            assert (await bob.until("ERROR"))["code"] == "ERR_2005"
            await bob.expect_close(4002)
            await ann.send("SEND_MESSAGE", sessionId=session, content="between")
            await again.send("PEER_REGISTER")
            await again.expect("PEER_REGISTERED")
            assert (await again.until("MESSAGE_RECEIVED"))["content"] == "between"
            await again.send("SEND_MESSAGE", sessionId=session, content="back")
            assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "back"


async def test_claims_at_once(node: Nodes) -> None:
    """Of two sockets that claim a user at the same time on two nodes one is left, and requests reach it."""
    first, second = node.pair()
    async with client(first) as ann:
        await ann.join("ann")
        for _ in range(5):
            async with client(first) as one, client(second) as other:
                for who in (one, other):
                    await who.send("AUTH", token=who.server.keys.token("bob"))
                    await who.send("PEER_REGISTER")
                    await who.send("PING")
                (left,) = await outlasting(one, other)
                await sees(ann, "bob")
                await ann.send("CONNECTION_REQUEST", targetId="bob")
                assert (await left.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] == "ann"
            await sees(ann, "bob", is_there=False)


async def test_two_ask_each_other_at_once(node: Nodes) -> None:
    """Whichever request gets into the store first is accepted by the other: there is one session, seen alike."""
    first, second = node.pair()
    for number in range(5):
        names = f"ann {number}", f"bob {number}"
        async with client(first) as ann, client(second) as bob:
            for who, name in zip((ann, bob), names, strict=True):
                await who.send("AUTH", token=who.server.keys.token(name), capabilities=["sessions"])
                await who.send("PEER_REGISTER")
                await who.until("PEER_REGISTERED")
            await sees(ann, names[1])
            await sees(bob, names[0])
            await ann.send("CONNECTION_REQUEST", targetId=names[1])
            await bob.send("CONNECTION_REQUEST", targetId=names[0])
            updates = [await who.until("SESSION_UPDATED") for who in (ann, bob)]
            assert updates[0]["sessionId"] == updates[1]["sessionId"]
            for who in (ann, bob):
                await who.send("SESSION_LIST")
                assert len((await who.until("SESSIONS"))["sessions"]) == 1


async def meet(ann: Client, bob: Client, names: tuple[str, str] = ("ann", "bob")) -> str:
    """Register ann and bob, and connect them; return their session's id."""
    await ann.join(names[0])
    await bob.join(names[1])
    await sees(ann, names[1])
    await ann.send("CONNECTION_REQUEST", targetId=names[1])
    request = await bob.until("CONNECTION_REQUEST_RECEIVED")
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    await bob.until("SESSION_CREATED")
    session_id: str = (await ann.until("CONNECTION_ACCEPTED"))["sessionId"]
    return session_id


async def sees(who: Client, peer: str, *, is_there: bool = True) -> None:
    """Wait until it is known here that a peer is there, or is not; ask no more often than a client may."""
    found = [] if is_there else [peer]
    with anyio.fail_after(PATIENCE):
        while (peer in found) is not is_there:
            await anyio.sleep(PAUSE)
            await who.send("DISCOVER_PEERS")
            found = [each["id"] for each in (await who.until("PEERS_LIST"))["peers"]]


async def outlasting(*sockets: Client) -> list[Client]:
    """Return those that are still open once all are let in, and one of them is superseded."""
    left = [who for who in sockets if await answers(who)]
    while len(left) == len(sockets):
        for who in sockets:
            with suppress(ConnectionClosed):
                await who.send("PING")
        left = [who for who in sockets if await answers(who)]
    return left


async def answers(who: Client) -> bool:
    """Whether a socket answers a PING, and is not superseded."""
    try:
        await who.until("PONG")
    except ConnectionClosed:
        return False
    return True


async def test_resuming_elsewhere(node: Nodes) -> None:
    """Who resumes on another node gets all it has not handled, once, in order, and goes on from there."""
    first, second = node.pair()
    async with resumer(first) as ann, resumer(first) as bob:
        session = await meet(ann, bob)
        await ann.send("SEND_MESSAGE", sessionId=session, content="handled", messageId="m0")
        assert await bob.content() == "handled"
        bob.cut()
        for n in range(COUNT):
            await ann.send("SEND_MESSAGE", sessionId=session, content=n, messageId=f"m{n}+")
        for _ in range(COUNT + 1):
            await ann.until("MESSAGE_ACK")
        async with resumer(second) as back:
            assert (await back.back(bob))["recovered"]
            assert [(await back.until("MESSAGE_RECEIVED"))["content"] for _ in range(COUNT)] == list(range(COUNT))
            await ann.send("SEND_MESSAGE", sessionId=session, content="live", messageId="m")
            assert (await back.until("MESSAGE_RECEIVED"))["content"] == "live"
            assert (await ann.until("MESSAGE_ACK"))["delivered"] == ["bob"]


async def test_resuming_at_once(node: Nodes) -> None:
    """Of two sockets that resume with one token at the same time on two nodes one goes on, and misses nothing."""
    nodes = node.pair()
    async with AsyncExitStack() as sockets:
        ann, bob = [await sockets.enter_async_context(resumer(each)) for each in nodes]
        session = await meet(ann, bob)
        for turn in range(10):
            rivals = [Rival(await sockets.enter_async_context(resumer(each)), bob) for each in nodes]
            contents = [f"{turn} {n}" for n in range(20)]
            await say(ann, session, contents[:10])
            bob.cut()
            await rivals[turn % 2].resume()
            await rivals[1 - turn % 2].resume()
            left = await last_of(rivals)
            await say(ann, session, contents[10:])
            while len(left.got) < len(contents):
                await left.take()
            assert left.got == contents
            assert left.is_recovered
            bob = left.who
            await bob.send("PING", offset=bob.offset)
            await bob.until("PONG")


async def say(who: Client, session: str, contents: list[str]) -> None:
    """Send messages to bob, and see each acknowledged once."""
    for content in contents:
        await who.send("SEND_MESSAGE", sessionId=session, content=content, messageId=content)
    for _ in contents:
        ack = await who.until("MESSAGE_ACK")
        assert ack["delivered"] + ack["queued"] == ["bob"]


class Rival:
    """One of several sockets that resume where `gone` left off; `got` is what it was told of messages."""

    def __init__(self, who: Resumer, gone: Resumer) -> None:
        self.who = who
        self.got: list[str] = []
        self.is_recovered = False
        self.is_closed = False
        self._gone = gone

    async def resume(self) -> None:
        """Ask for it."""
        gone, token = self._gone, self.who.server.keys.token("bob")
        self.who.offset = gone.offset
        resume = {"token": gone.token, "offset": gone.offset}
        await self.who.send("AUTH", token=token, capabilities=CAPABILITIES, resume=resume)

    async def take(self) -> None:
        """Take in the next event."""
        frame = json.loads(await self.who.receive())
        if frame["event"] == "AUTH_SUCCESS":
            self.is_recovered, self.who.token = frame["data"]["recovered"], frame["data"]["resume"]["token"]
        elif frame["event"] == "MESSAGE_RECEIVED":
            self.got.append(frame["data"]["content"])

    async def take_all(self, scope: anyio.CancelScope) -> None:
        """Take in what comes until the socket is closed; then cancel."""
        try:
            while True:
                await self.take()
        except ConnectionClosed:
            self.is_closed = True
            scope.cancel()


async def last_of(rivals: Iterable[Rival]) -> Rival:
    """Return the one of them that is not closed."""
    async with anyio.create_task_group() as tasks:
        for each in rivals:
            tasks.start_soon(each.take_all, tasks.cancel_scope)
    (left,) = [each for each in rivals if not each.is_closed]
    return left


async def test_wandering(node: Nodes) -> None:
    """Who wanders from node to node while it is sent to misses nothing, and gets nothing twice."""
    nodes = node.pair()
    async with AsyncExitStack() as sockets:
        ann = await sockets.enter_async_context(resumer(nodes[0]))
        bob = await sockets.enter_async_context(resumer(nodes[1]))
        session = await meet(ann, bob)
        got: list[int] = []
        for turn in range(6):
            for n in range(20):
                await ann.send("SEND_MESSAGE", sessionId=session, content=turn * 20 + n, messageId=f"{turn} {n}")
            got += [(await bob.until("MESSAGE_RECEIVED"))["content"] for _ in range(7)]
            bob.cut()
            gone, bob = bob, await sockets.enter_async_context(resumer(nodes[turn % 2]))
            assert (await bob.back(gone))["recovered"]
        while len(got) < 120:
            got.append((await bob.until("MESSAGE_RECEIVED"))["content"])
        assert got == list(range(120))


async def test_revoking(node: Nodes) -> None:
    """An operator's revocation on one node closes the user's socket on another."""
    first, second = node.pair(admin="on")
    async with client(second) as ann:
        await ann.join("ann")
        assert ask(first, {"userId": "ann"}).is_success
        await expect_revoked(ann)


async def test_revoking_a_thief(node: Nodes) -> None:
    """Whoever authenticates in loops, on all nodes, while its user is revoked is not registered afterwards."""
    nodes = node.pair(admin="on")
    async with client(nodes[0]) as bob:
        await bob.join("bob")
        for thief in (f"thief {n}" for n in range(THIEVES)):
            stolen = nodes[0].keys.token(thief)
            async with AsyncExitStack() as sockets:
                async with anyio.create_task_group() as tasks:
                    for loop in range(4):
                        tasks.start_soon(steal, nodes[loop % 2], stolen, sockets)
                    await anyio.sleep(10 * PAUSE)
                    revoked = await anyio.to_thread.run_sync(ask, nodes[0], {"userId": thief})
                    assert revoked.is_success
                with anyio.fail_after(PATIENCE):
                    while await listed(bob):
                        pass


async def steal(server: Server, stolen: str, sockets: AsyncExitStack) -> None:
    """Authenticate and register again and again with a token, until it is refused; leave no socket by oneself."""
    while True:
        thief = await sockets.enter_async_context(client(server))
        with suppress(ConnectionClosed):
            await thief.send("AUTH", token=stolen)
            if json.loads(await thief.receive())["event"] == "AUTH_FAILED":
                return
            await thief.send("PEER_REGISTER")


async def listed(asker: Client) -> list[str]:
    """Return the ids of whom a peer finds a moment later."""
    await anyio.sleep(PAUSE)
    await asker.send("DISCOVER_PEERS")
    return [peer["id"] for peer in (await asker.until("PEERS_LIST"))["peers"]]


async def test_sent_again_elsewhere(node: Nodes) -> None:
    """Who sends a message again over another node is told when it was sent first, wherever its receiver is by now."""
    nodes = node.pair()
    async with AsyncExitStack() as sockets:
        ann = await sockets.enter_async_context(resumer(nodes[0]))
        bob = await sockets.enter_async_context(resumer(nodes[1]))
        session = await meet(ann, bob)
        acks = []
        for turn in range(3):
            await ann.send("SEND_MESSAGE", sessionId=session, content="once", messageId="m1")
            acks.append(await ann.until("MESSAGE_ACK"))
            if turn == 0:
                assert await bob.content() == "once"
                ann = await moved(ann, "ann", nodes[1], sockets)
            if turn == 1:
                bob = await moved(bob, "bob", nodes[0], sockets)
        await ann.send("SEND_MESSAGE", sessionId=session, content="twice", messageId="m2")
        assert (await bob.until("MESSAGE_RECEIVED"))["content"] == "twice"
    first, *others = acks
    assert "duplicate" not in first
    for ack in others:
        assert (ack["duplicate"], ack["timestamp"], ack["delivered"]) == (True, first["timestamp"], ["bob"])


async def moved(who: Resumer, user: str, server: Server, sockets: AsyncExitStack) -> Resumer:
    """Lose the connection, and resume over another node."""
    who.cut()
    again = await sockets.enter_async_context(resumer(server))
    assert (await again.enter(user, who.token, who.offset))["recovered"]
    return again
