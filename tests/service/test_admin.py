"""What an operator can do over REST: revoke tokens (docs/identity.md)."""

import time
from collections.abc import Iterator

import anyio
import httpx2
import pytest

from app.auth.tokens import sign
from tests.support.client import Client, client, pair
from tests.support.server import Server, serving
from tests.support.tokens import Keys

PATH = "/api/v1/admin/revocations"
SCOPE = "peersync:admin"


@pytest.fixture(scope="module")
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which operators can revoke tokens."""
    with serving(keys, tmp_path_factory.mktemp("admin"), admin="on") as running:
        yield running


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """A user of this test alone: revocations stay."""
    return f"user of {request.node.name}"


def token(keys: Keys, user: str, org: str | None = None, **claims: object) -> str:
    return sign(keys.key, {**keys.claims(user, org), **claims})


def ask(server: Server, body: object, **claims: object) -> httpx2.Response:
    """Ask for a revocation with an operator's token, its claims changed by these."""
    operator = sign(server.keys.key, {**server.keys.claims("op"), "scope": SCOPE, **claims})
    headers = {"Authorization": f"Bearer {operator}"}
    return httpx2.post(server.http + PATH, json=body, headers=headers)


def verified(server: Server, attempt: str) -> str | None:
    """Return the code with which REST refuses a token."""
    headers = {"Authorization": f"Bearer {attempt}"}
    code: str | None = httpx2.get(f"{server.http}/api/v1/auth/verify", headers=headers).json().get("code")
    return code


async def expect_revoked(socket: Client) -> None:
    """See the server say that the token was revoked, and close with 4001."""
    error = await socket.until("ERROR")
    assert (error["code"], "revoked" in error["message"]) == ("ERR_1002", True)
    await socket.expect_close(4001)


async def expect_refused(server: Server, attempt: str) -> None:
    """See a token refused over socket and REST."""
    async with client(server) as socket:
        await socket.send("AUTH", token=attempt)
        assert (await socket.expect("AUTH_FAILED"))["code"] == "ERR_1002"
        await socket.expect_close(4001)
    assert verified(server, attempt) == "ERR_1002"


async def enter(socket: Client, attempt: str) -> None:
    await socket.send("AUTH", token=attempt)
    await socket.expect("AUTH_SUCCESS")


def test_off_by_default(servers: dict[str, Server]) -> None:
    """Unless ADMIN is on there is nothing there, whoever asks."""
    response = ask(servers["peersync"], {"userId": "ann"})
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


def test_no_token(server: Server) -> None:
    """Without a token, or with a bad one, it is 401."""
    for headers, code in (({}, "ERR_1001"), ({"Authorization": "Bearer junk"}, "ERR_1002")):
        response = httpx2.post(server.http + PATH, json={"userId": "ann"}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, code)
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", [None, "", "peersync", "peersync:administrator openid", ["peersync:admin"], 5])
def test_no_scope(scope: object, server: Server) -> None:
    """With a good token that has not the scope it is 403, and nothing is revoked."""
    response = ask(server, {"userId": "ann"}, scope=scope)
    assert (response.status_code, response.json()["code"]) == (403, "ERR_1004")
    assert "insufficient_scope" in response.headers["www-authenticate"]
    assert verified(server, token(server.keys, "ann")) is None


BODIES: list[object] = [
    *([], None, {}, {"userId": ""}, {"userId": 5}, {"tokenId": "s" * 257}, {"userId": "ann", "tokenId": "t"}),
    *({"userId": "ann", "issuedBefore": "now"}, {"userId": "ann", "issuedBefore": -1}, {"userId": "ann", "orgg": "x"}),
    *({"tokenId": "t", "org": "acme"}, {"tokenId": "t", "issuedBefore": 1}, {"org": "acme"}),
    {"userId": "ann", "issuedBefore": time.time() + 1000},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body!r:.40}")
def test_bad_bodies(body: object, server: Server) -> None:
    """A body that does not fit is 400, says why, and revokes nothing."""
    response = ask(server, body)
    assert (response.status_code, response.json()["code"]) == (400, "ERR_9003")
    assert verified(server, token(server.keys, "ann")) is None


async def test_a_user(user: str, server: Server) -> None:
    """A revoked user is cut, its sessions end at once, and no token issued until then lets it in again."""
    old = token(server.keys, user, iat=time.time() - 60)
    far = token(server.keys, user, "acme", iat=time.time() - 60)
    async with client(server) as ann, client(server) as bob, client(server) as other:
        await enter(ann, old)
        await enter(other, far)
        session_id = await connect(ann, user, bob)
        answer = ask(server, {"userId": user})
        assert (answer.status_code, answer.json()["closedSockets"]) == (200, 1)
        await expect_revoked(ann)
        ended = await bob.until("SESSION_ENDED")
        assert ended == {"sessionId": session_id, "reason": "revoked"}
        await other.expect_quiet()
    await expect_refused(server, old)
    assert verified(server, far) is None
    assert verified(server, token(server.keys, user, iat=time.time() + 1)) is None
    assert verified(server, token(server.keys, f"{user}, another", iat=0)) is None
    assert user in server.log.read_text()


async def test_a_cut_off(user: str, server: Server) -> None:
    """Who came in with a token issued after the cut-off stays."""
    now = time.time()
    async with client(server) as ann:
        await enter(ann, token(server.keys, user, iat=now - 30))
        assert ask(server, {"userId": user, "issuedBefore": now - 60}).json()["closedSockets"] == 0
        await ann.expect_quiet()
    await expect_refused(server, token(server.keys, user, iat=now - 61))


async def test_a_token(user: str, server: Server) -> None:
    """A revoked token is good no more, and its socket is cut; the user's others are good."""
    stolen, own = (token(server.keys, user, jti=f"{kind} of {user}") for kind in ("stolen", "own"))
    async with client(server) as thief, client(server) as bob:
        await enter(thief, stolen)
        session_id = await connect(thief, user, bob)
        assert ask(server, {"tokenId": f"stolen of {user}"}).json()["closedSockets"] == 1
        await expect_revoked(thief)
        assert (await bob.until("SESSION_ENDED")) == {"sessionId": session_id, "reason": "revoked"}
    await expect_refused(server, stolen)
    assert verified(server, own) is None


async def test_a_renewed_token(user: str, server: Server) -> None:
    """A socket goes by the token that it was renewed with, not by the one that it came with."""
    first, second = (token(server.keys, user, jti=f"{kind} of {user}") for kind in ("first", "second"))
    async with client(server) as ann:
        await enter(ann, first)
        await enter(ann, second)
        assert ask(server, {"tokenId": f"first of {user}"}).json()["closedSockets"] == 0
        await ann.expect_quiet()
        assert ask(server, {"tokenId": f"second of {user}"}).json()["closedSockets"] == 1
        await expect_revoked(ann)


@pytest.mark.parametrize("capabilities", [None, ["resume"]])
async def test_who_is_away(capabilities: list[str] | None, user: str, server: Server) -> None:
    """The sessions of a revoked user whose connection was lost end at once, and it cannot resume."""
    good = token(server.keys, user, iat=time.time() - 60)
    async with client(server) as ann, client(server) as bob:
        await ann.send("AUTH", token=good, **({"capabilities": capabilities} if capabilities else {}))
        await ann.expect("AUTH_SUCCESS")
        session_id = await connect(ann, user, bob)
        ann.cut()
        await ann.websocket.wait_closed()
        assert ask(server, {"userId": user}).status_code == 200
        assert (await bob.until("SESSION_ENDED")) == {"sessionId": session_id, "reason": "revoked"}
    await expect_refused(server, good)


async def test_renewing_with_a_revoked_token(user: str, server: Server) -> None:
    """A revoked token does not renew."""
    async with client(server) as ann:
        await enter(ann, token(server.keys, user, jti=f"good of {user}"))
        assert ask(server, {"tokenId": f"bad of {user}"}).json()["closedSockets"] == 0
        await ann.send("AUTH", token=token(server.keys, user, jti=f"bad of {user}"))
        assert (await ann.expect("AUTH_FAILED"))["code"] == "ERR_1002"
        await ann.expect_close(4001)


async def test_those_at_the_door(server: Server) -> None:
    """Sockets that have not authenticated, and everybody else, are left alone."""
    async with client(server) as stranger, client(server) as ann, client(server) as bob:
        await pair(ann, bob)
        assert ask(server, {"userId": "nobody"}).json()["closedSockets"] == 0
        await ann.expect_quiet()
        assert await stranger.is_heard()


async def connect(ann: Client, user: str, bob: Client) -> str:
    """Register ann, who has authenticated as the user, and bob; return their session's id."""
    await ann.send("PEER_REGISTER")
    await ann.until("PEER_REGISTERED")
    await bob.join(f"bob of {user}")
    await bob.send("CONNECTION_REQUEST", targetId=user)
    request = await ann.until("CONNECTION_REQUEST_RECEIVED")
    await ann.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    session_id: str = (await bob.until("CONNECTION_ACCEPTED"))["sessionId"]
    return session_id


async def test_revoked_while_asking(keys: Keys, server: Server, user: str) -> None:
    """An operator whose token is revoked while the body of a request is still to come is refused when it has come."""
    operator, body = token(keys, user, scope=SCOPE), b'{"userId": "somebody"}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {operator}\r\n"
    async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        while verified(server, operator) is None:
            assert ask(server, {"userId": user}, iat=0).status_code == 200
        await stream.send(body[5:])
        answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 401 ")
