"""Every row of the error table that version 1 can reach over the wire (docs/protocol.md section 4)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from schemas.errors import ErrorCode
from tests.support.client import Client, client, pair
from tests.support.server import Server

Provoke = Callable[[Client, Client, Server], Awaitable[None]]


@asynccontextmanager
async def ann_and_bob(server: Server) -> AsyncIterator[tuple[Client, Client]]:
    """Two sockets."""
    async with client(server) as ann, client(server) as bob:
        yield ann, bob


async def _before_auth(ann: Client, bob: Client, server: Server) -> None:
    await ann.send("PING")


async def _unknown_before_auth(ann: Client, bob: Client, server: Server) -> None:
    await ann.send("WHAT_IS_THIS")


async def _before_register(ann: Client, bob: Client, server: Server) -> None:
    await ann.authenticate("ann")
    await ann.send("DISCOVER_PEERS")


async def _unknown_event(ann: Client, bob: Client, server: Server) -> None:
    await ann.authenticate("ann")
    await ann.send("WHAT_IS_THIS")


async def _no_such_peer(ann: Client, bob: Client, server: Server) -> None:
    await ann.join("ann")
    await ann.send("CONNECTION_REQUEST", targetId="nobody")


async def _peer_of_another_org(ann: Client, bob: Client, server: Server) -> None:
    await bob.join("bob", org="other")
    await ann.join("ann", org="one")
    await ann.send("CONNECTION_REQUEST", targetId="bob")


async def _peer_dropped(ann: Client, bob: Client, server: Server) -> None:
    await ann.join("ann")
    await bob.join("bob")
    await ann.until("PEER_STATUS_UPDATE")
    bob.cut()
    while (await ann.expect("PEER_STATUS_UPDATE"))["status"] != "offline":
        pass
    await ann.send("CONNECTION_REQUEST", targetId="bob")


async def _oneself(ann: Client, bob: Client, server: Server) -> None:
    await ann.join("ann")
    await ann.send("CONNECTION_REQUEST", targetId="ann")


async def _no_such_session(ann: Client, bob: Client, server: Server) -> None:
    await ann.join("ann")
    await ann.send("SEND_MESSAGE", sessionId="ses_none", content=1)


async def _no_participant(ann: Client, bob: Client, server: Server) -> None:
    async with client(server) as cid:
        session_id = await pair(bob, cid)
        await ann.join("someone")
        await ann.send("SEND_MESSAGE", sessionId=session_id, content=1)


async def _no_such_request(ann: Client, bob: Client, server: Server) -> None:
    await ann.join("ann")
    await ann.send("CONNECTION_RESPONSE", requestId="req_none", accepted=True)


async def _somebody_elses_request(ann: Client, bob: Client, server: Server) -> None:
    async with client(server) as cid:
        await cid.join("cid")
        await bob.join("bob")
        await ann.join("ann")
        await bob.send("CONNECTION_REQUEST", targetId="cid")
        request = await cid.until("CONNECTION_REQUEST_RECEIVED")
        await ann.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)


async def _too_many_requests(ann: Client, bob: Client, server: Server) -> None:
    await bob.join("bob")
    await ann.join("ann")
    for _ in range(21):
        await ann.send("CONNECTION_REQUEST", targetId="bob")


def _raw(frame: str) -> Provoke:
    async def provoke(ann: Client, bob: Client, server: Server) -> None:
        await ann.authenticate("ann")
        await ann.raw(frame)

    return provoke


def _data(event: str, **data: object) -> Provoke:
    async def provoke(ann: Client, bob: Client, server: Server) -> None:
        await ann.join("ann")
        await ann.send(event, **data)

    return provoke


ROWS: list[tuple[str, ErrorCode, Provoke]] = [
    ("before AUTH", ErrorCode.NOT_AUTHENTICATED, _before_auth),
    ("unknown before AUTH", ErrorCode.NOT_AUTHENTICATED, _unknown_before_auth),
    ("before PEER_REGISTER", ErrorCode.NOT_REGISTERED, _before_register),
    ("unknown event", ErrorCode.NOT_A_MESSAGE, _unknown_event),
    ("not JSON", ErrorCode.NOT_A_MESSAGE, _raw("{")),
    ("null", ErrorCode.NOT_A_MESSAGE, _raw("null")),
    ("a list", ErrorCode.NOT_A_MESSAGE, _raw("[]")),
    ("no event", ErrorCode.NOT_A_MESSAGE, _raw('{"data":{}}')),
    ("event no string", ErrorCode.NOT_A_MESSAGE, _raw('{"event":7}')),
    ("nested too deep", ErrorCode.NOT_A_MESSAGE, _raw('{"event":"PING","data":' + "[" * 50_000 + "]" * 50_000 + "}")),
    ("no such peer", ErrorCode.PEER_NOT_FOUND, _no_such_peer),
    ("another org", ErrorCode.PEER_NOT_FOUND, _peer_of_another_org),
    ("peer dropped", ErrorCode.TARGET_OFFLINE, _peer_dropped),
    ("oneself", ErrorCode.REQUEST_TO_ONESELF, _oneself),
    ("no such session", ErrorCode.SESSION_NOT_FOUND, _no_such_session),
    ("no participant", ErrorCode.NOT_A_PARTICIPANT, _no_participant),
    ("no such request", ErrorCode.REQUEST_NOT_FOUND, _no_such_request),
    ("not the one asked", ErrorCode.NOT_THE_ONE_ASKED, _somebody_elses_request),
    ("too many requests", ErrorCode.RATE_LIMITED, _too_many_requests),
    ("missing field", ErrorCode.INVALID_DATA, _data("CONNECTION_REQUEST")),
    ("wrong type", ErrorCode.INVALID_DATA, _data("CONNECTION_REQUEST", targetId=7)),
    ("empty id", ErrorCode.INVALID_DATA, _data("CONNECTION_REQUEST", targetId="")),
    ("too long", ErrorCode.INVALID_DATA, _data("CONNECTION_REQUEST", targetId="x" * 257)),
    ("outside its list", ErrorCode.INVALID_DATA, _data("PEER_STATUS", status="asleep")),
    ("accepted no boolean", ErrorCode.INVALID_DATA, _data("CONNECTION_RESPONSE", requestId="r", accepted="yes")),
    ("no content", ErrorCode.INVALID_DATA, _data("SEND_MESSAGE", sessionId="s")),
    ("data no object", ErrorCode.INVALID_DATA, _raw('{"event":"PING","data":5}')),
]


@pytest.mark.parametrize(("code", "provoke"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_error(code: ErrorCode, provoke: Provoke, server: Server) -> None:
    """The error is answered, and the socket stays open."""
    async with ann_and_bob(server) as (ann, bob):
        await provoke(ann, bob, server)
        error = await ann.until("ERROR")
        assert error["code"] == code
        assert error["message"]
        assert ("details" in error) == (code == ErrorCode.RATE_LIMITED)
        assert await ann.is_heard()


async def test_every_code_is_covered() -> None:
    """Each code of the table is provoked here, or in the test that its neighbour names."""
    elsewhere = {
        ErrorCode.TOKEN_MISSING: "test_auth",
        ErrorCode.TOKEN_INVALID: "test_auth",
        ErrorCode.TOKEN_EXPIRED: "test_auth",
        ErrorCode.NOT_ALLOWED: "tests/handlers/events/test_messages",
        ErrorCode.SUPERSEDED: "tests/handlers/domain/test_disconnects",
        ErrorCode.SESSION_FULL: "tests/handlers/events/test_connections",
        ErrorCode.LOG_FULL: "test_resume",
        ErrorCode.INTERNAL: "test_plugins",
        ErrorCode.STORE_UNREACHABLE: "test_plugins",
    }
    assert {row[1] for row in ROWS} | set(elsewhere) == set(ErrorCode)
