"""Superseding, leaving and dropping over the wire (docs/protocol.md section 3)."""

import json

import anyio
import pytest

from tests.support.client import Client, client, pair
from tests.support.server import Server


async def test_superseded(server: Server) -> None:
    """A second AUTH of a user closes the first socket with ERR_2005 and 4002, and its closing touches nothing."""
    async with client(server) as old, client(server) as new, client(server) as bob:
        session_id = await pair(old, bob)
        await new.authenticate("ann")
        assert (await old.until("ERROR"))["code"] == "ERR_2005"
        await old.expect_close(4002)
        await new.send("PEER_REGISTER")
        await new.until("PEER_REGISTERED")
        await bob.send("SEND_MESSAGE", sessionId=session_id, content="still there?")
        assert (await new.until("MESSAGE_RECEIVED"))["content"] == "still there?"


async def test_superseded_before_registering(server: Server) -> None:
    """A socket that has only authenticated is superseded, too."""
    async with client(server) as old, client(server) as new:
        await old.authenticate("ann")
        await new.authenticate("ann")
        await old.expect_error("ERR_2005")
        await old.expect_close(4002)
        await new.expect_quiet()


async def test_superseded_counts_as_dropped(server: Server) -> None:
    """Between the new socket's AUTH and its registration a request is answered ERR_4003, and messages are kept."""
    async with client(server) as old, client(server) as new, client(server) as bob:
        session_id = await pair(old, bob)
        await new.authenticate("ann")
        await bob.send("CONNECTION_REQUEST", targetId="ann")
        assert (await bob.until("ERROR"))["code"] == "ERR_4003"
        await bob.send("SEND_MESSAGE", sessionId=session_id, content=1)
        await bob.expect_quiet()
        await new.send("PEER_REGISTER")
        await new.expect("PEER_REGISTERED")
        assert (await new.expect("MESSAGE_RECEIVED"))["content"] == 1


@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_leaving(code: int | None, server: Server) -> None:
    """A goodbye ends the session at once for the other, and tells it that the peer is offline."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        if code is None:
            await _close_without_code(bob)
        else:
            await bob.websocket.close(code)
        seen = await _both(ann, "SESSION_ENDED", "PEER_STATUS_UPDATE")
        assert seen["SESSION_ENDED"] == {"sessionId": session_id, "reason": "left"}
        assert (seen["PEER_STATUS_UPDATE"]["id"], seen["PEER_STATUS_UPDATE"]["status"]) == ("bob", "offline")
        await ann.send("SEND_MESSAGE", sessionId=session_id, content=1)
        await ann.expect_error("ERR_3001")


async def test_goodbye_right_behind(server: Server) -> None:
    """What a client sends before its goodbye is handled before it."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        await bob.send("PEER_REGISTER", displayName="Bobby")
        await bob.send("SEND_MESSAGE", sessionId=session_id, content="bye")
        await bob.websocket.close(1000)
        assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "bye"
        assert (await ann.until("SESSION_ENDED"))["reason"] == "left"


@pytest.mark.parametrize("how", ["cut", "close 4000", "too large"])
async def test_dropping_and_returning(how: str, server: Server) -> None:
    """After a drop the session waits, and what was sent meanwhile comes right after PEER_REGISTERED, in order."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        if how == "cut":
            bob.cut()
        elif how == "close 4000":
            await bob.websocket.close(4000)
        else:
            await bob.raw('"' + "x" * 1_048_577 + '"')
        while (await ann.until("PEER_STATUS_UPDATE"))["status"] != "offline":
            pass
        for number in range(3):
            await ann.send("SEND_MESSAGE", sessionId=session_id, content=number)
        await ann.expect_quiet()
        async with client(server) as again:
            await again.join("bob")
            for number in range(3):
                assert (await again.expect("MESSAGE_RECEIVED"))["content"] == number
            await again.send("SEND_MESSAGE", sessionId=session_id, content="back")
            assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "back"


async def test_dropping_for_good(server: Server) -> None:
    """Who does not come back within the grace loses its sessions; the other is told `timeout`."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        bob.cut()
        assert await ann.until("SESSION_ENDED") == {"sessionId": session_id, "reason": "timeout"}


async def test_overflow(server: Server) -> None:
    """Who is away and has more kept for it than the bound loses its sessions at once, with `overflow`."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        bob.cut()
        while (await ann.until("PEER_STATUS_UPDATE"))["status"] != "offline":
            pass
        for _ in range(5):
            await ann.send("SEND_MESSAGE", sessionId=session_id, content="x" * 1_000_000)
        assert (await ann.until("SESSION_ENDED"))["reason"] == "overflow"


async def test_request_to_a_peer_that_leaves(server: Server) -> None:
    """A requester is told `offline` when the asked one leaves, after the update about it."""
    async with client(server) as ann, client(server) as bob:
        await ann.join("ann")
        await bob.join("bob")
        await ann.until("PEER_STATUS_UPDATE")
        await ann.send("CONNECTION_REQUEST", targetId="bob")
        await bob.until("CONNECTION_REQUEST_RECEIVED")
        await bob.websocket.close(1000)
        while (await ann.until("PEER_STATUS_UPDATE"))["status"] != "offline":
            pass
        rejected = await ann.expect("CONNECTION_REJECTED")
        assert (rejected["targetId"], rejected["reason"]) == ("bob", "offline")


async def test_renewal(server: Server) -> None:
    """AUTH on an authenticated socket renews its token; one of another user closes it, which is a drop."""
    async with client(server) as ann, client(server) as bob:
        session_id = await pair(ann, bob)
        await bob.authenticate_again("bob")
        await bob.send("AUTH", token=server.keys.token("eve"))
        assert (await bob.until("AUTH_FAILED"))["code"] == "ERR_1002"
        await bob.expect_close(4001)
        await ann.send("SEND_MESSAGE", sessionId=session_id, content=1)
        async with client(server) as again:
            await again.join("bob")
            await again.expect("MESSAGE_RECEIVED")


async def _close_without_code(bob: Client) -> None:
    bob.websocket.protocol.send_close()
    bob.websocket.send_data()
    with anyio.move_on_after(5):
        await bob.websocket.wait_closed()


async def _both(ann: Client, *events: str) -> dict[str, dict[str, str]]:
    """Return the data of these events, in whichever order they come."""
    seen: dict[str, dict[str, str]] = {}
    while set(seen) != set(events):
        frame = json.loads(await ann.receive())
        is_online = frame["data"].get("status") == "online"
        if frame["event"] in events and not is_online:
            seen[frame["event"]] = frame["data"]
    return seen
