"""docs/resume.md shows frames as they are, and a client that works."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.settings import Settings
from tests.docs.frames import STRUCTS, check
from tests.support.client import PATIENCE, client, until
from tests.support.proxy import proxy
from tests.support.scripted import event, scripted
from tests.support.server import Server

PAGE = (Path(__file__).parents[2] / "docs" / "resume.md").read_text()
PROGRAM = re.findall(r"```python\n(.*?)\n```", PAGE, re.DOTALL)[0]
FRAMES = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: re.sub(r"\W+", " ", frame)[:40])
def test_a_frame_of_the_page_is_one_of_the_protocol(frame: str) -> None:
    check(json.loads(frame))


def test_the_page_shows_frames() -> None:
    assert len(FRAMES) >= 9


def test_settings_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", PAGE)) - {*STRUCTS}
    assert named == {"REPLAY_EVENTS", "REPLAY_BYTES"}
    assert named <= {name.upper() for name in Settings.__struct_fields__}


class Socket:
    """A connection as the page's program takes it."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    @property
    def close_code(self) -> int | None:
        return self.websocket.close_code

    async def send(self, frame: dict[str, Any]) -> None:
        await self.websocket.send(json.dumps(frame))

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        try:
            async for frame in self.websocket:
                yield json.loads(frame)
        except ConnectionClosed:
            return


class Plugin:
    """An editor that accepts every request and notes every message, and every answer to a PING."""

    def __init__(self) -> None:
        self._note, self.noted = anyio.create_memory_object_stream[object](100)
        self.session_id = ""
        self.unacknowledged: dict[str, dict[str, Any]] = {}
        self.socket: Socket | None = None

    async def handle(self, frame: dict[str, Any], unacknowledged: dict[str, dict[str, Any]], socket: Socket) -> None:
        self.unacknowledged, self.socket, data = unacknowledged, socket, frame["data"]
        match frame["event"]:
            case "CONNECTION_REQUEST_RECEIVED":
                answer = {"requestId": data["requestId"], "accepted": True}
                await socket.send({"event": "CONNECTION_RESPONSE", "data": answer})
            case "SESSION_CREATED":
                self.session_id = data["sessionId"]
            case "MESSAGE_RECEIVED":
                self._note.send_nowait(data["content"])
            case "PONG":
                self._note.send_nowait("PONG")

    async def say(self, content: object, message_id: str) -> None:
        """Send a message, or try to: it is kept until it is acknowledged."""
        data = {"sessionId": self.session_id, "content": content, "messageId": message_id}
        self.unacknowledged[message_id] = message = {"event": "SEND_MESSAGE", "data": data}
        await self.send(message)

    async def send(self, frame: dict[str, Any]) -> None:
        assert self.socket is not None
        with suppress(ConnectionClosed):
            await self.socket.send(frame)

    async def leave(self) -> None:
        assert self.socket is not None
        await self.socket.websocket.close()
        self._note.close()
        self.noted.close()


@asynccontextmanager
async def running(plugin: Plugin, port: int, access_token: str = "") -> AsyncIterator[None]:
    """Run the page's program against a server, until it leaves."""

    @asynccontextmanager
    async def connecting() -> AsyncIterator[Socket]:
        async with connect(f"ws://127.0.0.1:{port}/ws", proxy=None, open_timeout=5) as websocket:
            yield Socket(websocket)

    names: dict[str, Any] = {}
    exec(PROGRAM, names)
    names["random"] = lambda: -0.9  # it comes back after a twentieth of the time
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names["stay"], connecting, lambda: access_token, plugin.handle)
        yield
        await plugin.leave()


async def test_the_program_of_the_page_loses_nothing(server: Server) -> None:
    """Its network is cut while both talk; each message arrives once, in order."""
    plugin = Plugin()
    with anyio.fail_after(PATIENCE):
        async with proxy(server.port) as network, client(server) as bob:
            await bob.join("page-bob")
            async with running(plugin, network.port, server.keys.token("page-ann")):
                assert (await bob.until("PEER_STATUS_UPDATE"))["id"] == "page-ann"
                await bob.send("CONNECTION_REQUEST", targetId="page-ann")
                session_id = (await bob.until("CONNECTION_ACCEPTED"))["sessionId"]
                await bob.send("SEND_MESSAGE", sessionId=session_id, content="first")
                assert await plugin.noted.receive() == "first"
                await network.cut()
                for content in ("second", "third"):
                    await bob.send("SEND_MESSAGE", sessionId=session_id, content=content)
                await plugin.say("are you there?", "m1")
                await plugin.say("I am back", "m2")
                network.mend()
                assert (await bob.until("MESSAGE_RECEIVED"))["content"] == "are you there?"
                assert (await bob.until("MESSAGE_RECEIVED"))["content"] == "I am back"
                noted: list[object] = []
                while len(noted) < 2:
                    noted += [each for each in [await plugin.noted.receive()] if each != "PONG"]
                assert noted == ["second", "third"]
                await until(lambda: not plugin.unacknowledged)
                await bob.expect_quiet()


async def test_the_program_of_the_page_tries_again_without_the_store() -> None:
    """Where the server lets nobody in for now, the program comes back with what it had."""
    plugin = Plugin()
    refusal = {"event": "ERROR", "data": {"code": "ERR_9002", "message": "later"}, "ref": "AUTH"}
    message = {"event": "MESSAGE_RECEIVED", "data": {"content": "first"}, "offset": 1}
    with anyio.fail_after(PATIENCE):
        async with scripted() as server, running(plugin, server.port):
            connection, _ = await server.accepted()
            await connection.send(event("AUTH_SUCCESS", recovered=False, resume={"token": "res_1"}))
            await connection.send(json.dumps(message))
            assert await plugin.noted.receive() == "first"
            await connection.close(1012)
            for answer in (json.dumps(refusal), event("AUTH_SUCCESS", recovered=True, resume={"token": "res_2"})):
                connection, hello = await server.accepted()
                assert hello["resume"] == {"token": "res_1", "offset": 1}
                await connection.send(answer)
            await connection.send(event("PONG"))
            assert await plugin.noted.receive() == "PONG"
