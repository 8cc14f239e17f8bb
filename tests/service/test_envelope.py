"""`offset` and `ref` come over the wire where the contract has them, and nowhere else."""

import json
from typing import Any

from tests.support.client import Client, client
from tests.support.server import Server

CAPABILITIES = ["resume", "acks", "sessions", "notices"]


class Watcher(Client):
    """A client with all capabilities that keeps every frame it gets."""

    frames: list[dict[str, Any]]

    async def receive(self) -> str:
        """Return the next frame, and keep it."""
        text = await super().receive()
        self.frames.append(json.loads(text))
        return text

    async def tell(self, event: str, **data: object) -> None:
        """Send an event with a `ref`."""
        await self.raw(json.dumps({"event": event, "data": data, "ref": 1}))

    async def enter(self, user: str) -> None:
        """Authenticate and register."""
        self.frames = []
        await self.tell("AUTH", token=self.server.keys.token(user), capabilities=CAPABILITIES)
        await self.tell("PEER_REGISTER")
        await self.until("PEER_REGISTERED")


async def test_offset_and_ref_come_where_the_contract_has_them(server: Server) -> None:
    """Two peers meet, talk, err and part; each frame has an `offset` if its schema does, a `ref` only if it does."""
    async with client(server) as one, client(server) as other:
        ann, bob = Watcher(one.websocket, server), Watcher(other.websocket, server)
        await ann.enter("ann")
        await bob.enter("bob")
        await act(ann, bob)
    messages = server.get("/asyncapi.json").json()["components"]["messages"]
    seen = set()
    for frame in (*ann.frames, *bob.frames):
        properties = messages[frame["event"]]["payload"]["properties"]
        assert ("offset" in frame) == ("offset" in properties), frame
        assert "ref" not in frame or "ref" in properties, frame
        seen.add(frame["event"])
    told = {key for key, message in messages.items() if message.get("x-sender") == "server"}
    assert told - seen == {"AUTH_FAILED", "SERVER_NOTICE"}


async def act(ann: Watcher, bob: Watcher) -> None:
    """Have the server send nearly all events that it has."""
    await ann.tell("PING")
    await ann.tell("DISCOVER_PEERS")
    for accepted in (None, False, True):
        await ann.tell("CONNECTION_REQUEST", targetId="bob")
        request_id = (await ann.until("CONNECTION_PENDING"))["requestId"]
        await bob.until("CONNECTION_REQUEST_RECEIVED")
        if accepted is None:
            await ann.tell("CONNECTION_CANCEL", requestId=request_id)
            await bob.until("CONNECTION_CANCELLED")
        else:
            await bob.tell("CONNECTION_RESPONSE", requestId=request_id, accepted=accepted)
            await ann.until("CONNECTION_ACCEPTED" if accepted else "CONNECTION_REJECTED")
    session_id = (await bob.until("SESSION_CREATED"))["sessionId"]
    await bob.tell("PEER_STATUS", status="away")
    await ann.until("PEER_STATUS_UPDATE")
    await ann.tell("SEND_MESSAGE", sessionId=session_id, content="plain")
    await ann.until("OK")
    await ann.tell("SEND_MESSAGE", sessionId=session_id, content="acknowledged", messageId="m1")
    await ann.until("MESSAGE_ACK")
    await ann.tell("SESSION_LIST")
    await ann.until("SESSIONS")
    await ann.tell("SESSION_END", sessionId="ses_none")
    await ann.until("ERROR")
    await ann.tell("SESSION_END", sessionId=session_id)
    await ann.until("SESSION_ENDED")
    await bob.until("SESSION_ENDED")
