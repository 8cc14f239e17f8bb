"""Sessions of more than two over the wire, one participant speaking version 1 (docs/protocol.md section 8)."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.tables import load_routes
from tests.support.client import Client, client, pair
from tests.support.server import Server

ANN, BOB, CAT = [
    f'{{"id":"{name}","profile":{{"displayName":"Name {name}","role":"guest","ide":"other"}}}}'
    for name in ("ann", "bob", "cat")
]


async def enter(who: Client, name: str, *capabilities: str, resume: dict[str, Any] | None = None) -> Any:
    """Authenticate as one who speaks version 1.1."""
    await who.send("AUTH", token=who.server.keys.token(name), capabilities=capabilities, resume=resume)
    return await who.expect("AUTH_SUCCESS")


async def refer(who: Client, event: str, ref: int, **data: object) -> str:
    """Send an event with a `ref` and return its answer, the next frame that is not about presence or a session."""
    await who.raw(json.dumps({"event": event, "data": data, "ref": ref}))
    while True:
        frame = await who.receive()
        if '"ref":' in frame:
            return frame


async def frame_of(who: Client, event: str) -> str:
    """Return the next frame of this event as it is, whatever presence comes before it."""
    while (frame := await who.receive()).startswith('{"event":"PEER_STATUS_UPDATE"'):
        pass
    assert frame.startswith(f'{{"event":"{event}"'), frame
    return frame


async def change(who: Client) -> tuple[str, str, str, dict[str, str]]:
    """Return the next change of a session: its kind, whom it is about, the host, and the roles."""
    data = await who.until("SESSION_UPDATED")
    roles = {each["id"]: each["role"] for each in data["participants"]}
    return data["change"]["kind"], data["change"]["id"], data["hostId"], roles


@asynccontextmanager
async def three(server: Server) -> AsyncIterator[tuple[Client, Client, Client, str]]:
    """Have ann and cat, who speak `sessions`, and bob, who speaks version 1, in one session with ann as host."""
    async with client(server) as ann, client(server) as bob, client(server) as cat:
        for who, name in ((ann, "ann"), (cat, "cat")):
            await enter(who, name, "sessions")
            await who.send("PEER_REGISTER")
        await bob.join("bob")
        await ann.send("CONNECTION_REQUEST", targetId="bob")
        request = await bob.until("CONNECTION_REQUEST_RECEIVED")
        await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
        session_id = (await bob.until("SESSION_CREATED"))["sessionId"]
        await ann.until("SESSION_UPDATED")
        await ann.send("SESSION_INVITE", sessionId=session_id, targetId="cat")
        request = await cat.until("CONNECTION_REQUEST_RECEIVED")
        await cat.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
        for who in (ann, cat):
            await who.until("SESSION_UPDATED")
        yield ann, bob, cat, session_id


async def test_what_version_1_sees(server: Server) -> None:
    """A version 1 socket is invited, reads, loses its role and is thrown out in version 1 frames, byte for byte."""
    async with client(server) as ann, client(server) as bob, client(server) as cat:
        for who, name in ((ann, "ann"), (cat, "cat")):
            await enter(who, name, "sessions")
            await who.send("PEER_REGISTER")
        await bob.join("bob")
        await ann.send("CONNECTION_REQUEST", targetId="cat")
        request = await cat.until("CONNECTION_REQUEST_RECEIVED")
        assert set(request) == {"requestId", "from", "expiresAt"}
        await cat.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
        session = (await cat.until("SESSION_CREATED"))["sessionId"]
        assert await change(ann) == ("joined", "cat", "ann", {"ann": "host", "cat": "guest"})
        pending = await refer(ann, "SESSION_INVITE", 7, sessionId=session, targetId="bob")
        received = await frame_of(bob, "CONNECTION_REQUEST_RECEIVED")
        request_id = json.loads(received)["data"]["requestId"]
        assert (
            received == f'{{"event":"CONNECTION_REQUEST_RECEIVED","data":{{"requestId":"{request_id}","from":{ANN}}}}}'
        )
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        expected = f'{{"requestId":"{request_id}","targetId":"bob","expiresAt":"{time}"}}'
        assert re.fullmatch(f'{{"event":"CONNECTION_PENDING","data":{expected},"ref":7}}', pending)
        await bob.send("CONNECTION_RESPONSE", requestId=request_id, accepted=True)
        created = f'{{"event":"SESSION_CREATED","data":{{"sessionId":"{session}","peer":{ANN}}}}}'
        assert await frame_of(bob, "SESSION_CREATED") == created
        assert await change(cat) == ("joined", "cat", "ann", {"ann": "host", "cat": "guest"})
        assert await change(cat) == ("joined", "bob", "ann", {"ann": "host", "cat": "guest", "bob": "guest"})
        await ann.send("SESSION_ROLE", sessionId=session, targetId="bob", role="observer")
        assert (await change(cat))[:2] == ("role", "bob")
        await cat.send("SEND_MESSAGE", sessionId=session, content=1)
        message = re.sub(time, "", await frame_of(bob, "MESSAGE_RECEIVED"))
        data = f'{{"sessionId":"{session}","from":"cat","content":1,"timestamp":""}}'
        assert message == f'{{"event":"MESSAGE_RECEIVED","data":{data}}}'
        await bob.send("SEND_MESSAGE", sessionId=session, content=2)
        await bob.expect_error("ERR_1004")
        await ann.send("SESSION_KICK", sessionId=session, targetId="bob")
        over = f'{{"event":"SESSION_ENDED","data":{{"sessionId":"{session}","reason":"kicked"}}}}'
        assert await frame_of(bob, "SESSION_ENDED") == over
        assert (await change(cat))[:2] == ("kicked", "bob")
        await bob.send("SEND_MESSAGE", sessionId=session, content=3)
        await bob.expect_error("ERR_3008")


async def test_an_update(server: Server) -> None:
    """An update shows the whole session, keys in the order of the protocol."""
    async with three(server) as (ann, bob, cat, session):
        await ann.send("SESSION_HANDOVER", sessionId=session, targetId="cat")
        people = [
            json.dumps({"id": name, "role": role, **json.loads(card), "connected": True}, separators=(",", ":"))
            for name, role, card in (("ann", "guest", ANN), ("bob", "guest", BOB), ("cat", "host", CAT))
        ]
        start = f'{{"event":"SESSION_UPDATED","data":{{"sessionId":"{session}","hostId":"cat","participants":['
        updated = start + ",".join(people) + '],"change":{"kind":"host","id":"cat"}}}'
        assert [await frame_of(ann, "SESSION_UPDATED"), await frame_of(cat, "SESSION_UPDATED")] == [updated] * 2
        listed = json.loads(await refer(cat, "SESSION_LIST", 1))
        state = {"sessionId": session, "hostId": "cat", "participants": [json.loads(each) for each in people]}
        assert listed == {"event": "SESSIONS", "data": {"sessions": [state]}, "ref": 1}
        await bob.expect_quiet()


async def test_invitation_and_withdrawal(server: Server) -> None:
    """Who speaks `sessions` is told to which session it is invited, and of a withdrawal; every `ref` is answered."""
    async with three(server) as (ann, bob, cat, session), client(server) as dan:
        await enter(dan, "dan", "sessions")
        await dan.send("PEER_REGISTER")
        pending = json.loads(await refer(ann, "SESSION_INVITE", 1, sessionId=session, targetId="dan", role="observer"))
        request_id = pending["data"]["requestId"]
        received = await dan.until("CONNECTION_REQUEST_RECEIVED")
        assert (received["requestId"], received["sessionId"], received["role"]) == (request_id, session, "observer")
        assert await refer(ann, "CONNECTION_CANCEL", 2, requestId=request_id) == '{"event":"OK","data":{},"ref":2}'
        assert received["expiresAt"] == pending["data"]["expiresAt"]
        assert await dan.until("CONNECTION_CANCELLED") == {"requestId": request_id, "reason": "cancelled"}
        refused = json.loads(await refer(dan, "CONNECTION_RESPONSE", 3, requestId=request_id, accepted=True))
        assert refused["data"]["code"] == "ERR_6001"
        assert await refer(ann, "SESSION_END", 4, sessionId=session) == '{"event":"OK","data":{},"ref":4}'
        for who in (bob, cat):
            assert await who.until("SESSION_ENDED") == {"sessionId": session, "reason": "ended"}
        assert json.loads(await refer(ann, "SESSION_LEAVE", 5, sessionId=session))["data"]["code"] == "ERR_3001"


async def test_two_ask_each_other(server: Server) -> None:
    """The second request accepts the first; its `ref` is answered by the session. That an asker goes is told, too."""
    async with client(server) as ann, client(server) as bob, client(server) as old:
        for who, name in ((ann, "ann"), (bob, "bob")):
            await enter(who, name, "sessions")
            await who.send("PEER_REGISTER")
            await who.until("PEER_REGISTERED")
        await old.join("old")
        for who in (ann, bob):
            while (await who.until("PEER_STATUS_UPDATE"))["id"] != "old":
                pass
        pending = json.loads(await refer(ann, "CONNECTION_REQUEST", 1, targetId="bob"))["data"]
        received = f'{{"requestId":"{pending["requestId"]}","from":{ANN},"expiresAt":"{pending["expiresAt"]}"}}'
        frame = f'{{"event":"CONNECTION_REQUEST_RECEIVED","data":{received}}}'
        assert await frame_of(bob, "CONNECTION_REQUEST_RECEIVED") == frame
        created = await refer(bob, "CONNECTION_REQUEST", 2, targetId="ann")
        accepted = await ann.until("CONNECTION_ACCEPTED")
        session = accepted["sessionId"]
        assert created == f'{{"event":"SESSION_CREATED","data":{{"sessionId":"{session}","peer":{ANN}}},"ref":2}}'
        assert (accepted["requestId"], accepted["peer"]["id"]) == (pending["requestId"], "bob")
        for who in (ann, bob):
            assert await change(who) == ("joined", "bob", "ann", {"ann": "host", "bob": "guest"})
        for target in ("bob", "old"):
            pending = json.loads(await refer(ann, "CONNECTION_REQUEST", 3, targetId=target))["data"]
        await bob.until("CONNECTION_REQUEST_RECEIVED")
        await ann.websocket.close()
        assert (await bob.until("CONNECTION_CANCELLED"))["reason"] == "offline"
        await old.until("CONNECTION_REQUEST_RECEIVED")
        assert (await old.until("PEER_STATUS_UPDATE"))["status"] == "offline"
        await old.expect_quiet()


async def test_the_host_goes(server: Server) -> None:
    """A host that drops and does not return is told of as dropped, then as left; the oldest guest follows it."""
    async with three(server) as (ann, bob, cat, session):
        ann.cut()
        everyone = {"ann": "host", "bob": "guest", "cat": "guest"}
        assert await change(cat) == ("dropped", "ann", "ann", everyone)
        assert await change(cat) == ("left", "ann", "bob", {"bob": "host", "cat": "guest"})
        assert await change(cat) == ("host", "bob", "bob", {"bob": "host", "cat": "guest"})
        await cat.send("SESSION_LEAVE", sessionId=session)
        assert await bob.until("SESSION_ENDED") == {"sessionId": session, "reason": "left"}


async def test_resuming(server: Server) -> None:
    """Changes of a session are numbered and kept; who resumes gets each once, and the others see it back."""
    async with three(server) as (ann, _, _, session), client(server) as dan:
        resume = (await enter(dan, "dan", "sessions", "resume"))["resume"]
        await dan.send("PEER_REGISTER")
        await ann.until("PEER_STATUS_UPDATE")
        await ann.send("SESSION_INVITE", sessionId=session, targetId="dan")
        request = await dan.until("CONNECTION_REQUEST_RECEIVED")
        await dan.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
        joined = json.loads(await frame_of(dan, "SESSION_CREATED")), json.loads(await frame_of(dan, "SESSION_UPDATED"))
        assert [frame["offset"] for frame in joined] == [2, 3]
        dan.cut()
        while (await change(ann))[0] != "dropped":
            pass
        await ann.send("SESSION_ROLE", sessionId=session, targetId="dan", role="observer")
        await change(ann)
        async with client(server) as again:
            await enter(again, "dan", "sessions", "resume", resume={"token": resume["token"], "offset": 3})
            frames = [json.loads(await frame_of(again, "SESSION_UPDATED")) for _ in range(3)]
            told = [(frame["data"]["change"]["kind"], frame["offset"]) for frame in frames]
            assert told == [("dropped", 4), ("role", 5), ("returned", 6)]
            assert (await change(ann))[:2] == ("returned", "dan")


async def test_without_the_capability(server: Server) -> None:
    """A socket without the capability is refused, and stays open."""
    async with client(server) as ann, client(server) as bob:
        session = await pair(ann, bob)
        for event, route in load_routes(()).items():
            if route.capability is not None:
                await ann.send(event, **{**(route.message.example or {}), "sessionId": session})
                assert (await ann.until("ERROR"))["code"] == "ERR_1004", event
        await bob.expect_quiet()
