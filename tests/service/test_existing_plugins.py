"""Plugins written for the original server, generation by generation: they work here as they are.

Each signs in over HTTP, registers, finds the other, asks and talks, in the frames that it always sent. What
its code does with an answer that would throw if it were of another type is done here, too.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.support.client import Client, client
from tests.support.server import Server, free_port, serving
from tests.support.tokens import Keys


class Generation(NamedTuple):
    """How a plugin registers as somebody, whom it looks for, and how it says something."""

    registration: dict[str, object]
    role: str
    search: dict[str, object]
    chat: dict[str, object]
    question: dict[str, object]
    answer: dict[str, object]


SEED = Generation(
    registration={"ide": "vscode", "role": "guest"},
    role="guest",
    search={"role": "guest", "ide": "vscode"},
    chat={"content": "hello", "type": "chat"},
    question={"content": {"prompt": "why?"}, "type": "ai-request", "correlationId": "cor_1"},
    answer={"content": "because", "type": "ai-response", "correlationId": "cor_1"},
)
FULLSTACK = Generation(
    registration={"ide": "vscode", "role": "fullstack"},
    role="fullstack",
    search={"role": "fullstack"},
    chat={"content": "hello", "type": "chat"},
    question={"content": "why?", "type": "ai-prompt", "correlationId": "cor_1"},
    answer={"content": "because", "type": "ai-response", "correlationId": "cor_1"},
)
ENVELOPED = Generation(
    registration={"ide": "VS Code", "role": "backend", "status": "online", "version": 3},
    role="backend",
    search={"role": "backend", "ide": "VS Code", "lanOnly": None},
    chat={"content": {"messageId": "msg_1", "content": "hello", "type": "chat"}},
    question={
        "content": {"messageId": "msg_2", "content": "why?", "type": "ai-prompt"},
        "type": "ai-prompt",
        "correlationId": "msg_2",
    },
    answer={
        "content": {"messageId": "msg_3", "content": "because", "type": "ai-response"},
        "type": "ai-response",
        "correlationId": "msg_2",
    },
)
GENERATIONS = {"seed": SEED, "fullstack": FULLSTACK, "enveloped": ENVELOPED}

each_generation = pytest.mark.parametrize("plugin", GENERATIONS.values(), ids=GENERATIONS)


def sign_in(server: Server, user: str) -> str:
    """Return a token, got as the plugin gets it; it trims the lifetime, which only a text can be."""
    body = {"userId": user, "email": f"{user}@example.com", "displayName": user.title()}
    response = httpx2.post(f"{server.http}/api/v1/auth/dev-token", json=body)
    assert response.status_code == 200
    answer = response.json()
    assert (set(answer), answer["expiresIn"].strip()) == ({"token", "expiresIn"}, "1h")
    verified = httpx2.get(f"{server.http}/api/v1/auth/verify", headers={"Authorization": f"Bearer {answer['token']}"})
    assert (verified.status_code, verified.json()) == (200, {**body, "roles": []})
    token: str = answer["token"]
    return token


@asynccontextmanager
async def online(server: Server, plugin: Generation, user: str) -> AsyncIterator[Client]:
    """Be there as a user of a plugin, from signing in until it closes."""
    async with client(server) as socket:
        await socket.send("AUTH", token=sign_in(server, user))
        who = {"userId": user, "displayName": user.title(), "email": f"{user}@example.com"}
        assert await socket.expect("AUTH_SUCCESS") == who
        await socket.send("PEER_REGISTER", displayName=user, **plugin.registration)
        assert await socket.expect("PEER_REGISTERED") == {
            "id": user,
            "profile": profile(plugin, user),
            "status": "online",
        }
        yield socket


def profile(plugin: Generation, user: str) -> dict[str, object]:
    """Return what the others see of a user of a plugin."""
    return {"displayName": user, "role": plugin.role, "ide": plugin.registration["ide"]}


async def meet(plugin: Generation, ann: Client, bob: Client) -> str:
    """Let ann find bob and ask, and bob accept; return their session's id."""
    await ann.send("DISCOVER_PEERS", **plugin.search)
    entry = {"id": "bob", "profile": profile(plugin, "bob"), "status": "online", "connectionMode": "LAN"}
    assert await ann.until("PEERS_LIST") == {"peers": [entry]}
    await ann.send("CONNECTION_REQUEST", targetId="bob")
    request = await bob.expect("CONNECTION_REQUEST_RECEIVED")
    card = {"id": "ann", "profile": profile(plugin, "ann")}
    assert request == {"requestId": request["requestId"], "from": card}
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    created = await bob.expect("SESSION_CREATED")
    accepted = await ann.expect("CONNECTION_ACCEPTED")
    assert created == {"sessionId": accepted["sessionId"], "peer": card}
    session_id: str = accepted["sessionId"]
    return session_id


async def says(session_id: str, message: dict[str, object], sender: Client, receiver: Client, name: str) -> None:
    """Send a message, and see it arrive as it was sent, with no field that version 1 does not have."""
    await sender.send("SEND_MESSAGE", sessionId=session_id, **message)
    received: dict[str, Any] = await receiver.expect("MESSAGE_RECEIVED")
    assert len(received.pop("timestamp")) == len("2026-01-31T09:00:00.000Z")
    assert received == {"sessionId": session_id, "from": name, **message}


async def work_together(server: Server, plugin: Generation) -> None:
    """Let two users of a plugin meet and talk."""
    async with online(server, plugin, "bob") as bob, online(server, plugin, "ann") as ann:
        update = await bob.expect("PEER_STATUS_UPDATE")
        assert update == {"id": "ann", "profile": profile(plugin, "ann"), "status": "online", "connectionMode": "LAN"}
        session_id = await meet(plugin, ann, bob)
        await says(session_id, plugin.chat, ann, bob, "ann")
        await says(session_id, plugin.chat, bob, ann, "bob")
        await says(session_id, plugin.question, ann, bob, "ann")
        await says(session_id, plugin.answer, bob, ann, "bob")
        for peer in (ann, bob):
            await peer.send("PING")
            assert isinstance((await peer.expect("PONG"))["timestamp"], int)


@each_generation
async def test_works_as_it_is(plugin: Generation, server: Server) -> None:
    """From signing in to an answer, nothing is refused and nothing is told that version 1 does not have."""
    await work_together(server, plugin)


@each_generation
async def test_comes_back_after_a_restart(plugin: Generation, keys: Keys, tmp_path: Path) -> None:
    """The server is started anew: the plugin is told to come back, and all goes on as before."""
    port = free_port()
    with serving(keys, tmp_path, port=port, drain_seconds=0.1) as server:
        async with online(server, plugin, "ann") as ann:
            server.process.terminate()
            await ann.expect_close_after_news(1012)
            server.process.wait(20)
    with serving(keys, tmp_path, port=port) as server:
        await work_together(server, plugin)


async def test_generations_meet(server: Server) -> None:
    """Each sees the others as they registered; one that asked for capabilities sees the same."""
    async with (
        online(server, SEED, "ann") as ann,
        online(server, FULLSTACK, "bob") as bob,
        online(server, ENVELOPED, "cat") as cat,
        client(server) as dan,
    ):
        await dan.send("AUTH", token=sign_in(server, "dan"), capabilities=["sessions"])
        await dan.expect("AUTH_SUCCESS")
        await dan.send("PEER_REGISTER", ide="neovim", role="fullstack")
        refused = await dan.expect("ERROR")
        assert (refused["code"], "allowed are host, guest, observer" in refused["message"]) == ("ERR_9003", True)
        await dan.send("PEER_REGISTER", ide="neovim", role="guest")
        await dan.expect("PEER_REGISTERED")
        roles = {"ann": "guest", "bob": "fullstack", "cat": "backend", "dan": "guest"}
        for name, peer in (("ann", ann), ("bob", bob), ("cat", cat), ("dan", dan)):
            await peer.send("DISCOVER_PEERS")
            seen = {entry["id"]: entry["profile"]["role"] for entry in (await peer.until("PEERS_LIST"))["peers"]}
            assert seen == {user: role for user, role in roles.items() if user != name}


@pytest.mark.parametrize("message_id", [1706700000000, "", "x" * 300, {"id": 1}, "m1"])
@pytest.mark.parametrize("content", ['"half \\ud83d"', '"whole \\ud83d\\ude00"', '{"n": 1.10, "n":2}'])
async def test_a_field_that_later_got_a_meaning(message_id: object, content: str, server: Server) -> None:
    """A `messageId` of any kind means nothing to version 1; the content is still passed on byte for byte."""
    async with online(server, SEED, "bob") as bob, online(server, SEED, "ann") as ann:
        await bob.expect("PEER_STATUS_UPDATE")
        session_id = await meet(SEED, ann, bob)
        data = f'"messageId":{json.dumps(message_id)},"sessionId":"{session_id}","content":{content}'
        await ann.raw(f'{{"event":"SEND_MESSAGE","data":{{{data}}}}}')
        assert f'"content":{content},"timestamp"' in await bob.receive()
        await ann.raw('{"event":"PING","data":{"offset":"x"}}')
        await ann.expect("PONG")


async def test_the_same_field_once_it_has_one(server: Server) -> None:
    """A socket that asked for `acks` is told that its `messageId` does not fit."""
    async with client(server) as ann:
        await ann.send("AUTH", token=sign_in(server, "ann"), capabilities=["acks"])
        await ann.expect("AUTH_SUCCESS")
        await ann.send("PEER_REGISTER")
        await ann.expect("PEER_REGISTERED")
        await ann.send("SEND_MESSAGE", sessionId="ses_1", content=1, messageId=5)
        assert "messageId" in (await ann.expect("ERROR"))["message"]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("DISCOVER_PEERS", {}),
        ("DISCOVER_PEERS", None),
        ("DISCOVER_PEERS", {"role": None, "ide": None, "lanOnly": None, "search": "x"}),
        ("DISCOVER_PEERS", {"role": "x" * 64, "ide": "Visual Studio Code Insiders"}),
        ("PEER_REGISTER", {"displayName": None, "ide": None, "role": None}),
        ("PEER_REGISTER", {"role": "👩🏽‍💻 lead", "ide": "x" * 64}),
        ("PING", None),
        ("PING", {"timestamp": 1706700000000}),
    ],
)
async def test_what_else_was_accepted(event: str, data: object, server: Server) -> None:
    """Null, absent and unknown fields, and any text for roles and editors, are taken, as they were by the original."""
    async with online(server, SEED, "ann") as ann:
        await ann.raw(json.dumps({"event": event, "data": data, "id": "1", "timestamp": "2026-01-31T09:00:00.000Z"}))
        answer = {"DISCOVER_PEERS": "PEERS_LIST", "PEER_REGISTER": "PEER_REGISTERED", "PING": "PONG"}[event]
        await ann.expect(answer)
