"""Resuming after a drop, over the wire (docs/protocol.md section 8)."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.support.client import Client, client
from tests.support.server import Server, serving
from tests.support.tokens import Keys

CAPABILITIES = ["resume", "acks"]
GRACE = 1.0


class Resumer(Client):
    """A client that speaks `resume` and `acks`, and handles every event it receives."""

    offset = 0
    token = ""

    async def enter(self, user: str, token: str | None = None, offset: int = 0) -> Any:
        """Authenticate, with a resume token if given."""
        resume = {} if token is None else {"resume": {"token": token, "offset": offset}}
        self.offset = offset
        await self.send("AUTH", token=self.server.keys.token(user), capabilities=CAPABILITIES, **resume)
        answer = await self.expect("AUTH_SUCCESS")
        self.token = answer["resume"]["token"]
        return answer

    async def join(self, user: str, org: str | None = None, **profile: object) -> Any:
        """Authenticate and register."""
        await self.enter(user)
        await self.send("PEER_REGISTER", **profile)
        return await self.expect("PEER_REGISTERED")

    async def receive(self) -> str:
        """Return the next frame; offsets go up by one."""
        text = await super().receive()
        frame = json.loads(text)
        if "offset" in frame:
            self.offset += 1
            assert frame["offset"] == self.offset, frame
            assert list(frame)[-1] == "offset"
        return text

    async def back(self, gone: "Resumer", offset: int | None = None) -> Any:
        """Resume where another socket left off."""
        return await self.enter("bob", gone.token, gone.offset if offset is None else offset)

    async def content(self) -> Any:
        """Return what the next message says."""
        return (await self.expect("MESSAGE_RECEIVED"))["content"]


@pytest.fixture(scope="module")
def brief(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that keeps little, and waits long."""
    with serving(keys, tmp_path_factory.mktemp("brief"), replay_events=10) as server:
        yield server


@asynccontextmanager
async def resumer(server: Server) -> AsyncIterator[Resumer]:
    """Connect."""
    async with client(server) as plain:
        yield Resumer(plain.websocket, server)


async def meet(ann: Client, bob: Client) -> str:
    """Register ann and bob, and connect them."""
    await ann.join("ann")
    await bob.join("bob")
    await ann.send("CONNECTION_REQUEST", targetId="bob")
    request = await bob.until("CONNECTION_REQUEST_RECEIVED")
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    session_id: str = (await bob.until("SESSION_CREATED"))["sessionId"]
    await ann.until("CONNECTION_ACCEPTED")
    return session_id


async def say(ann: Resumer, session_id: str, content: object) -> dict[str, Any]:
    """Send a message and return its acknowledgement."""
    await ann.send("SEND_MESSAGE", sessionId=session_id, content=content, messageId=f"m{content}")
    ack: dict[str, Any] = await ann.expect("MESSAGE_ACK")
    return ack


@pytest.mark.parametrize("is_cut", [True, False])
async def test_resume(brief: Server, *, is_cut: bool) -> None:
    """What came while the client was away follows AUTH_SUCCESS, in order, also if the old socket still seems alive."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again:
        session_id = await meet(ann, bob)
        assert (await say(ann, session_id, 1))["delivered"] == ["bob"]
        assert await bob.content() == 1
        if is_cut:
            bob.cut()
        await say(ann, session_id, 2)
        answer = await again.back(bob)
        assert (answer["recovered"], answer["resume"]["graceSeconds"]) == (True, 120)
        assert answer["resume"]["token"] != bob.token
        assert await again.content() == 2
        assert (await say(ann, session_id, 3))["delivered"] == ["bob"]
        assert await again.content() == 3
        await again.expect_quiet()
        await ann.expect_quiet()


async def test_a_lost_success(brief: Server) -> None:
    """The token used stays good until the first frame over the new socket, and no longer."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as lost, resumer(brief) as again:
        await meet(ann, bob)
        assert (await lost.back(bob))["recovered"]
        assert (await again.back(bob))["recovered"]
        await again.expect_quiet()
        async with resumer(brief) as late:
            assert not (await late.back(bob))["recovered"]
            assert late.token not in {bob.token, again.token}


@pytest.mark.parametrize("offset", [3, 10**12])
async def test_an_offset_beyond_the_last(brief: Server, offset: int) -> None:
    """A client that has handled what was never sent to it is not recovered."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again:
        await meet(ann, bob)
        assert bob.offset == 2
        assert not (await again.back(bob, offset))["recovered"]


async def test_a_fresh_start(brief: Server) -> None:
    """Who is not recovered gets nothing of what was kept; its sessions go on once it registers, offsets from 1."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again:
        session_id = await meet(ann, bob)
        bob.cut()
        await say(ann, session_id, 1)
        assert not (await again.enter("bob", "res_wrong", 2))["recovered"]
        again.offset = 0
        assert (await say(ann, session_id, 2))["queued"] == ["bob"]
        await again.send("PEER_REGISTER")
        await again.expect("PEER_REGISTERED")
        assert await again.content() == 2
        await again.send("SEND_MESSAGE", sessionId=session_id, content="hi")
        assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "hi"


async def test_let_go(brief: Server) -> None:
    """What the client said it has handled cannot be resumed any more; from there on it can."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again, resumer(brief) as third:
        session_id = await meet(ann, bob)
        await say(ann, session_id, 1)
        assert await bob.content() == 1
        await bob.send("PING", offset=3)
        await bob.expect("PONG")
        assert (await again.back(bob))["recovered"]
        assert not (await third.back(again, 2))["recovered"]


async def test_too_much(brief: Server) -> None:
    """What has no room is refused, with the sender told so; what was acknowledged as queued is there on the return."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again:
        session_id = await meet(ann, bob)
        bob.cut()
        acks = [await say(ann, session_id, number) for number in range(20)]
        kept = [number for number, ack in enumerate(acks) if ack["queued"] + ack["delivered"] == ["bob"]]
        assert kept == list(range(len(kept)))
        assert 5 <= len(kept) <= 10
        assert all(ack["full"] == ["bob"] for ack in acks[len(kept) :])
        await ann.send("SEND_MESSAGE", sessionId=session_id, content="plain")
        await ann.expect_error("ERR_4004")
        assert (await again.back(bob))["recovered"]
        assert [await again.content() for _ in kept] == kept
        assert "full" not in await say(ann, session_id, 19)
        assert await again.content() == 19


async def test_requests_take_no_room(brief: Server) -> None:
    """Whoever asks one who is away, and takes it back, again and again, pushes nothing out that was acknowledged."""
    async with resumer(brief) as ann, resumer(brief) as bob, client(brief) as eve, resumer(brief) as again:
        session_id = await meet(ann, bob)
        bob.cut()
        kept = await say(ann, session_id, 1)
        assert kept["queued"] + kept["delivered"] == ["bob"]
        await eve.send("AUTH", token=brief.keys.token("eve"), capabilities=["sessions"])
        await eve.send("PEER_REGISTER", metadata={"publicKey": "x" * 4000})
        await eve.until("PEER_REGISTERED")
        for _ in range(36):
            await eve.raw('{"event":"CONNECTION_REQUEST","data":{"targetId":"bob"},"ref":1}')
            await eve.send("CONNECTION_CANCEL", requestId=(await eve.until("CONNECTION_PENDING"))["requestId"])
        await eve.raw('{"event":"CONNECTION_REQUEST","data":{"targetId":"bob"},"ref":1}')
        await eve.until("CONNECTION_PENDING")
        assert (await again.back(bob))["recovered"]
        assert await again.content() == 1
        assert (await again.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] == "eve"
        await again.expect_quiet()


async def test_a_duplicate(brief: Server) -> None:
    """A message sent again, also over another socket, is acknowledged again and not delivered again."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again:
        session_id = await meet(ann, bob)
        await bob.send("SEND_MESSAGE", sessionId=session_id, content=1, messageId="m")
        first = await bob.expect("MESSAGE_ACK")
        assert (await again.back(bob))["recovered"]
        await again.send("SEND_MESSAGE", sessionId=session_id, content=1, messageId="m")
        assert await again.expect("MESSAGE_ACK") == {**first, "duplicate": True}
        received = await ann.expect("MESSAGE_RECEIVED")
        assert (received["content"], received["messageId"]) == (1, "m")
        await ann.expect_quiet()


async def test_ids_that_look_alike(brief: Server) -> None:
    """Where a user's id ends and that of its message begins makes a difference."""
    async with resumer(brief) as bob, resumer(brief) as ann, resumer(brief) as smith:
        await bob.join("bob")
        for asker, user, message_id in ((ann, "ann", "smith m-1"), (smith, "ann smith", "m-1")):
            await asker.join(user)
            await asker.send("CONNECTION_REQUEST", targetId="bob")
            request = await bob.until("CONNECTION_REQUEST_RECEIVED")
            await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
            session_id = (await asker.until("CONNECTION_ACCEPTED"))["sessionId"]
            await asker.send("SEND_MESSAGE", sessionId=session_id, content=user, messageId=message_id)
            assert "duplicate" not in await asker.until("MESSAGE_ACK")
            assert (await bob.until("MESSAGE_RECEIVED"))["content"] == user


async def test_too_many_requests(brief: Server) -> None:
    """Of those who ask one who is away 50 are kept waiting and told of later, and no more."""
    async with resumer(brief) as bob, resumer(brief) as again, AsyncExitStack() as stack:
        await bob.join("bob")
        bob.cut()
        askers = [await stack.enter_async_context(client(brief)) for _ in range(51)]
        for number, asker in enumerate(askers):
            await asker.join(f"asker {number}")
            await asker.raw('{"event":"CONNECTION_REQUEST","data":{"targetId":"bob"},"ref":1}')
            if number < len(askers) - 1:
                await asker.until("CONNECTION_PENDING")
        assert (await askers[-1].until("ERROR"))["code"] == "ERR_4004"
        assert (await again.back(bob))["recovered"]
        told = [(await again.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] for _ in askers[:-1]]
        assert told == [f"asker {number}" for number in range(50)]


async def test_requests_and_a_fresh_start(brief: Server) -> None:
    """Who starts over and registers is told of all requests that wait for it; once, however often it comes back."""
    async with AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(resumer(brief)) for _ in range(3)]
        ann, cat = [await stack.enter_async_context(client(brief)) for _ in range(2)]
        await first.join("bob")
        for asker, user in ((ann, "ann"), (cat, "cat")):
            await asker.join(user)
            await asker.raw('{"event":"CONNECTION_REQUEST","data":{"targetId":"bob"},"ref":1}')
            await asker.until("CONNECTION_PENDING")
            if asker is ann:
                assert (await first.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] == "ann"
                first.cut()
        assert not (await second.enter("bob"))["recovered"]
        await second.expect_quiet()
        await second.send("PEER_REGISTER")
        await second.expect("PEER_REGISTERED")
        assert [(await second.expect("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] for _ in "12"] == ["ann", "cat"]
        await second.send("PEER_REGISTER")
        await second.expect("PEER_REGISTERED")
        await second.expect_quiet()
        second.cut()
        assert (await third.back(second))["recovered"]
        await third.expect_quiet()


async def test_presence_after_a_resume(brief: Server) -> None:
    """Of each peer that changed meanwhile the latest is sent, after the events that were kept."""
    async with resumer(brief) as ann, resumer(brief) as bob, resumer(brief) as again, client(brief) as cat:
        session_id = await meet(ann, bob)
        await say(ann, session_id, 1)
        assert await bob.content() == 1
        bob.cut()
        await say(ann, session_id, 2)
        await cat.join("cat", displayName="C")
        await cat.send("PEER_REGISTER", displayName="D")
        await cat.until("PEER_REGISTERED")
        assert await ann.next_event() == "cat online"
        assert (await again.back(bob))["recovered"]
        assert await again.content() == 2
        update = await again.expect("PEER_STATUS_UPDATE")
        assert (update["id"], update["profile"]["displayName"]) == ("cat", "D")
        await again.expect_quiet()


async def test_a_request_to_one_who_is_away(brief: Server) -> None:
    """A peer that can resume stays listed while it is away, and a request to it is kept."""
    async with resumer(brief) as bob, client(brief) as cat, resumer(brief) as again:
        await bob.join("bob")
        bob.cut()
        await cat.join("cat")
        await cat.send("DISCOVER_PEERS")
        assert [peer["id"] for peer in (await cat.expect("PEERS_LIST"))["peers"]] == ["bob"]
        await cat.send("CONNECTION_REQUEST", targetId="bob")
        await cat.expect_quiet()
        assert (await again.back(bob))["recovered"]
        assert (await again.until("CONNECTION_REQUEST_RECEIVED"))["from"]["id"] == "cat"


async def test_too_late(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> None:
    """When the grace is over the peer is offline, its sessions end, and it is not recovered."""
    with serving(keys, tmp_path_factory.mktemp("hasty"), resume_grace_seconds=GRACE) as hasty:
        async with resumer(hasty) as ann, resumer(hasty) as bob, resumer(hasty) as again:
            await meet(ann, bob)
            bob.cut()
            assert (await ann.until("SESSION_ENDED"))["reason"] == "timeout"
            assert await ann.next_event() == "bob offline"
            assert not (await again.back(bob))["recovered"]


async def test_ref(server: Server) -> None:
    """Every direct answer carries the `ref` of what it answers, as it was written; one without an answer gets OK."""
    async with client(server) as ann:
        for ref, data, event in (
            ('"a\\u0041"', '{"token":1}', None),
            ("-12345678901234567890", "{}", "PEER_REGISTER"),
            ("7", "{}", "NOTHING"),
            ("true", "{}", "PING"),
            ("null", "{}", "PING"),
        ):
            if event is None:
                await ann.raw(f'{{"event":"AUTH","data":{{"token":"{server.keys.token("ann")}"}},"ref":{ref}}}')
                assert (await ann.receive()).endswith(f',"ref":{ref}}}'), data
                continue
            await ann.raw(f'{{"ref":{ref},"event":"{event}","data":{data}}}')
            answer = await ann.receive()
            if ref in {"true", "null"}:
                assert '"ref"' not in answer
                assert ("ERR_9003" in answer) == (ref == "true")
            else:
                assert answer.endswith(f',"ref":{ref}}}')


async def test_ref_and_offset(brief: Server) -> None:
    """What is both an answer and an event that is kept carries both; an event that has no answer of its own gets OK."""
    async with client(brief) as ann, resumer(brief) as bob:
        await ann.join("ann")
        await bob.join("bob")
        await ann.raw('{"event":"CONNECTION_REQUEST","data":{"targetId":"bob"},"ref":1}')
        request = await bob.until("CONNECTION_REQUEST_RECEIVED")
        data = json.dumps({"requestId": request["requestId"], "accepted": True})
        await bob.raw(f'{{"event":"CONNECTION_RESPONSE","data":{data},"ref":"r"}}')
        frame = json.loads(await bob.receive())
        assert list(frame) == ["event", "data", "ref", "offset"]
        assert (frame["event"], frame["ref"], frame["offset"]) == ("SESSION_CREATED", "r", 2)
        session = json.dumps({"sessionId": frame["data"]["sessionId"], "content": None})
        await bob.raw(f'{{"event":"SEND_MESSAGE","data":{session},"ref":9}}')
        assert await bob.receive() == '{"event":"OK","data":{},"ref":9}'
