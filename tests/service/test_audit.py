"""The audit log of a real process, from the first AUTH to the last close."""

import json
from pathlib import Path
from typing import Any

import httpx2

from app.auth.tokens import sign
from tests.support.client import Client, client, pair, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

SECRET = "a secret between two"
TOLD = {"timestamp", "event", "user_id", "org", "node", "socket_id", "token_id", "address", "client", "client_version"}
TOLD |= {"by_id", "by_socket_id", "request_id", "requester_id", "session_id", "code", "reason"}
TOLD |= {"sockets", "revoked_token_id", "revoked_user_id", "revoked_org", "revoked_issued_before"}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(path: Path, event: str, **details: object) -> list[dict[str, Any]]:
    """Return the lines of an event that have these details."""
    return [line for line in read(path) if line["event"] == event and details.items() <= line.items()]


async def test_a_day(keys: Keys, tmp_path: Path) -> None:
    """Who came, met, was cut and revoked is all there, and nothing of what they said, a failed event included."""
    path = tmp_path / "audit.log"
    with serving(keys, tmp_path, audit_log=path, admin="on", log_level="debug") as server:
        async with client(server) as ann, client(server) as bob:
            session_id = await pair(ann, bob)
            await talk(ann, bob, session_id)
            async with client(server) as second:
                await second.send("AUTH", token=token(keys, "bob"), client={"name": "Vim", "version": "9"})
                await second.expect("AUTH_SUCCESS")
                await bob.expect_close_after_news(4002)
                assert revoke(server, "bob").status_code == 200
                await second.expect_close_after_news(4001)
        await until(lambda: len(told(path, "closed")) == 3)
    (accepted,) = told(path, "accepted")
    assert (accepted["user_id"], accepted["requester_id"], accepted["session_id"]) == ("bob", "ann", session_id)
    assert {line["user_id"] for line in told(path, "registered")} == {"ann", "bob"}
    assert len(told(path, "superseded", user_id="bob")) == 1
    (vim,) = told(path, "authenticated", client="Vim", token_id="jti of bob")
    assert len(vim["address"]) == 12
    (revoked,) = told(path, "revoked", user_id="op", revoked_user_id="bob")
    assert revoked["sockets"] == 1
    codes = {(line["user_id"], line["code"]) for line in told(path, "closed")}
    assert codes == {("ann", 1000), ("bob", 4002), ("bob", 4001)}
    assert {name for line in read(path) for name in line} <= TOLD
    assert "secret" not in path.read_text()
    assert "a type" not in path.read_text()
    assert "127.0.0.1" not in path.read_text()


async def test_a_stop(keys: Keys, tmp_path: Path) -> None:
    """Whoever is there when the process stops has a line, too: the last are written before it ends."""
    path = tmp_path / "audit.log"
    with serving(keys, tmp_path, audit_log=path) as server:
        async with client(server) as ann:
            await ann.join("ann")
            server.process.terminate()
            await ann.expect_close_after_news(1012)
        server.process.wait(20)
    (closed,) = told(path, "closed")
    assert (closed["code"], closed["reason"]) == (1012, "This node restarts")


async def talk(ann: Client, bob: Client, session_id: str) -> None:
    """Say something, well and badly."""
    await ann.send("SEND_MESSAGE", sessionId=session_id, content=SECRET, type="a type", correlationId=SECRET)
    await bob.until("MESSAGE_RECEIVED")
    await ann.send("SEND_MESSAGE", sessionId=SECRET, content=SECRET)
    await ann.until("ERROR")
    await ann.send(SECRET, content=SECRET)
    await ann.until("ERROR")
    await ann.raw(SECRET)
    await ann.until("ERROR")


def token(keys: Keys, user: str, **claims: object) -> str:
    return sign(keys.key, {**keys.claims(user), "jti": f"jti of {user}", **claims})


def revoke(server: Server, user: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token(server.keys, 'op', scope='peersync:admin')}"}
    return httpx2.post(f"{server.http}/api/v1/admin/revocations", json={"userId": user}, headers=headers)
