"""Tokens that run out or are renewed, over the wire (docs/protocol.md section 8)."""

import pytest

from tests.support.client import Client, client, pair
from tests.support.server import Server

LAST_SECONDS = -3  # past its `exp`, which the leeway of five seconds still allows


async def renew(ann: Client, user: str, ttl: int = 3600) -> None:
    """Send AUTH with another token."""
    await ann.send("AUTH", token=ann.server.keys.token(user, ttl=ttl), capabilities=["resume"])


async def test_a_token_runs_out(server: Server) -> None:
    """Who asked is told, then closed with ERR_1003 and 4003, a drop; a client of version 1 is left alone."""
    async with client(server) as ann, client(server) as bob, client(server) as again:
        await ann.send("AUTH", token=server.keys.token("ann"), capabilities=["notices"])
        assert (await ann.expect("AUTH_SUCCESS"))["capabilities"] == ["notices"]
        session_id = await register_pair(ann, bob)
        await renew(bob, "bob", LAST_SECONDS)
        assert set(await bob.until("AUTH_SUCCESS")) == {"userId", "displayName", "email"}
        await renew(ann, "ann", LAST_SECONDS)
        assert set(await ann.until("AUTH_SUCCESS")) == {"userId", "displayName", "email"}
        notice = await ann.expect("SERVER_NOTICE")
        assert (notice["kind"], len(notice["expiresAt"])) == ("token-expiring", 24)
        await ann.expect_error("ERR_1003")
        await ann.expect_close(4003)
        await goes_on(session_id, again, bob)


async def test_a_token_about_to_run_out(server: Server) -> None:
    """A socket may enter with a token in its last seconds, and stay if it renews in time."""
    async with client(server) as ann, client(server) as bob:
        for socket, user in ((ann, "ann"), (bob, "bob")):
            token = server.keys.token(user, ttl=LAST_SECONDS)
            await socket.send("AUTH", token=token, capabilities=["notices"])
            await socket.expect("AUTH_SUCCESS")
            assert (await socket.expect("SERVER_NOTICE"))["kind"] == "token-expiring"
        await renew(ann, "ann")
        await ann.expect("AUTH_SUCCESS")
        await bob.expect_error("ERR_1003")
        await bob.expect_close(4003)
        await ann.expect_quiet()


@pytest.mark.parametrize(("user", "ttl", "code"), [("bob", 3600, "ERR_1002"), ("ann", -60, "ERR_1003")])
async def test_a_bad_renewal(user: str, ttl: int, code: str, server: Server) -> None:
    """A token of somebody else, or an expired one, closes with 4001, a drop: the session waits."""
    async with client(server) as ann, client(server) as bob, client(server) as again:
        session_id = await pair(ann, bob)
        await renew(ann, user, ttl)
        assert (await ann.until("AUTH_FAILED"))["code"] == code
        await ann.expect_close(4001)
        await goes_on(session_id, again, bob)


async def register_pair(ann: Client, bob: Client) -> str:
    """Register ann, who has authenticated, and bob; return their session's id."""
    await bob.join("bob")
    await ann.send("PEER_REGISTER")
    await ann.expect("PEER_REGISTERED")
    await ann.send("CONNECTION_REQUEST", targetId="bob")
    request = await bob.until("CONNECTION_REQUEST_RECEIVED")
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    await bob.until("SESSION_CREATED")
    session_id: str = (await ann.until("CONNECTION_ACCEPTED"))["sessionId"]
    return session_id


async def goes_on(session_id: str, ann: Client, bob: Client) -> None:
    """See that the session goes on once ann is back."""
    await ann.join("ann")
    await bob.send("SEND_MESSAGE", sessionId=session_id, content="welcome back")
    assert (await ann.until("MESSAGE_RECEIVED"))["content"] == "welcome back"
