"""Status, metadata, hiding and paging over the wire, beside sockets of version 1 (docs/protocol.md section 8)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.client import Client, client
from tests.support.server import Server

METADATA = {"ideVersion": "1.9", "os": "linux", "publicKey": "k" * 1000, "capabilities": ["chat"]}
PROFILE = {"displayName": "Name rob", "role": "guest", "ide": "other"}


@asynccontextmanager
async def old_and_new(server: Server) -> AsyncIterator[tuple[Client, Client, Client]]:
    """Have pam of version 1 and quy of version 1.1 registered; rob, of version 1.1, is authenticated."""
    async with client(server) as pam, client(server) as quy, client(server) as rob:
        await pam.join("pam")
        for who, name in ((quy, "quy"), (rob, "rob")):
            await who.send("AUTH", token=server.keys.token(name), capabilities=[])
            await who.expect("AUTH_SUCCESS")
        await quy.send("PEER_REGISTER")
        await quy.expect("PEER_REGISTERED")
        assert await pam.next_event() == "quy online"
        yield pam, quy, rob


async def test_metadata(server: Server) -> None:
    """Metadata is shown wherever a profile is, to sockets of version 1.1 only."""
    async with old_and_new(server) as (pam, quy, rob):
        await rob.send("PEER_REGISTER", metadata=METADATA)
        assert (await rob.expect("PEER_REGISTERED"))["profile"] == {**PROFILE, "metadata": METADATA}
        assert [await _profiles_of_rob(who) for who in (pam, quy)] == [
            [PROFILE] * 3,
            [{**PROFILE, "metadata": METADATA}] * 3,
        ]
        for who in (pam, quy):
            request_id = (await rob.until("CONNECTION_REQUEST_RECEIVED"))["requestId"]
            await rob.send("CONNECTION_RESPONSE", requestId=request_id, accepted=True)
            accepted = await who.expect("CONNECTION_ACCEPTED")
            assert ("metadata" in accepted["peer"]["profile"]) == (who is quy)


async def _profiles_of_rob(who: Client) -> list[Any]:
    """Return rob's profile as it is told of, listed, and shown with its request, and make a request to it."""
    update = await who.expect("PEER_STATUS_UPDATE")
    await who.send("DISCOVER_PEERS", query="rob")
    listed = (await who.expect("PEERS_LIST"))["peers"]
    await who.send("CONNECTION_REQUEST", targetId="rob")
    return [update["profile"], listed[0]["profile"], listed[-1]["profile"]]


@pytest.mark.parametrize(
    ("event", "data", "field"),
    [
        ("PEER_STATUS", {"status": "offline"}, "status"),
        ("PEER_STATUS", {}, "status"),
        ("DISCOVER_PEERS", {"limit": 0}, "limit"),
        ("DISCOVER_PEERS", {"cursor": "NO"}, "cursor"),
        ("DISCOVER_PEERS", {"query": "x" * 129}, "query"),
        ("PEER_REGISTER", {"visibility": "nobody"}, "visibility"),
        ("PEER_REGISTER", {"metadata": {"os": 1}}, "metadata"),
    ],
)
async def test_bad_data(server: Server, event: str, data: dict[str, object], field: str) -> None:
    """What is out of bounds is refused, naming the field."""
    async with client(server) as pam:
        await pam.join("pam")
        await pam.send(event, **data)
        error = await pam.expect("ERROR")
        assert (error["code"], field in error["message"]) == ("ERR_9003", True)


async def test_status(server: Server) -> None:
    """A status needs no capability, is broadcast, and is what lists show and filter by."""
    async with old_and_new(server) as (pam, quy, _):
        await pam.send("PEER_STATUS", status="busy")
        assert await quy.next_event() == "pam busy"
        await quy.send("DISCOVER_PEERS", status="busy", limit=1)
        (entry,) = (await quy.expect("PEERS_LIST"))["peers"]
        assert (entry["id"], entry["status"]) == ("pam", "busy")


async def test_hiding(server: Server) -> None:
    """One who hides is offline to the others, and still to be reached by its id; one who shows itself is back."""
    async with old_and_new(server) as (pam, quy, rob):
        await rob.send("PEER_REGISTER", visibility="hidden")
        await rob.expect("PEER_REGISTERED")
        await quy.send("PEER_REGISTER", visibility="hidden")
        assert await pam.next_event() == "quy offline"
        await pam.send("DISCOVER_PEERS")
        assert (await pam.expect("PEERS_LIST")) == {"peers": []}
        await pam.send("CONNECTION_REQUEST", targetId="quy")
        await quy.until("CONNECTION_REQUEST_RECEIVED")
        await quy.send("PEER_REGISTER")
        assert await pam.next_event() == "quy online"


async def test_pages(server: Server) -> None:
    """Pages follow each other by their cursors to the end."""
    async with old_and_new(server) as (pam, _, rob):
        await rob.send("PEER_REGISTER")
        await rob.expect("PEER_REGISTERED")
        assert await pam.next_event() == "rob online"
        await pam.send("DISCOVER_PEERS", limit=1)
        first = await pam.expect("PEERS_LIST")
        await pam.send("DISCOVER_PEERS", limit=1, cursor=first["nextCursor"])
        second = await pam.expect("PEERS_LIST")
        assert [page["peers"][0]["id"] for page in (first, second)] == ["quy", "rob"]
        assert "nextCursor" not in second
