"""Authentication over socket and REST alike (docs/protocol.md sections 2, 3 and 6)."""

import json
from base64 import urlsafe_b64decode
from pathlib import Path

import httpx2
import pytest

from app.auth.tokens import sign
from tests.support.client import client
from tests.support.server import Server, serving
from tests.support.tokens import Keys


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "ERR_1001"),
        ("", "ERR_1001"),
        ("Bearer ", "ERR_1001"),
        (5, "ERR_1002"),
        ({"a": 1}, "ERR_1002"),
        ("junk", "ERR_1002"),
        ("a.b.c", "ERR_1002"),
    ],
)
async def test_no_token(token: object, code: str, server: Server) -> None:
    """What is no token is AUTH_FAILED with its code, then close 4001."""
    async with client(server) as ann:
        await ann.send("AUTH", token=token)
        assert (await ann.expect("AUTH_FAILED"))["code"] == code
        await ann.expect_close(4001)


@pytest.mark.parametrize("claim", ["exp", "sub", "iss", "aud"])
async def test_claim_missing(claim: str, server: Server) -> None:
    """A signed token without a claim that it needs is refused, over socket and REST alike."""
    claims = server.keys.claims("ann")
    del claims[claim]
    token = sign(server.keys.key, claims)
    async with client(server) as ann:
        await ann.send("AUTH", token=token)
        assert (await ann.expect("AUTH_FAILED"))["code"] == "ERR_1002"
    assert _verify(server, token).json()["code"] == "ERR_1002"


async def test_expired(server: Server) -> None:
    """An expired token is ERR_1003, over socket and REST alike."""
    token = server.keys.token("ann", ttl=-60)
    async with client(server) as ann:
        await ann.send("AUTH", token=token)
        assert (await ann.expect("AUTH_FAILED"))["code"] == "ERR_1003"
        await ann.expect_close(4001)
    response = _verify(server, token)
    assert (response.status_code, response.json()["code"]) == (401, "ERR_1003")


async def test_bearer(server: Server) -> None:
    """A leading `Bearer ` is tolerated in the socket's token."""
    async with client(server) as ann:
        await ann.send("AUTH", token=f"Bearer {server.keys.token('ann')}")
        assert (await ann.expect("AUTH_SUCCESS"))["userId"] == "ann"


async def test_large_frame_before_authentication(server: Server) -> None:
    """Before authentication a frame over 64 KiB is closed with 1009."""
    async with client(server) as ann:
        await ann.send("AUTH", token="x" * 65_536)
        await ann.expect_close(1009)


def test_verify(server: Server) -> None:
    """REST says whom a token names."""
    answer = _verify(server, server.keys.token("ann")).json()
    assert answer == {"userId": "ann", "email": "ann@example.com", "displayName": "Name ann", "roles": []}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer junk"])
def test_verify_refuses(header: str | None, server: Server) -> None:
    """REST answers 401 in JSON to what is no bearer token."""
    headers = {} if header is None else {"Authorization": header}
    response = httpx2.get(f"{server.http}/api/v1/auth/verify", headers=headers)
    assert response.status_code == 401
    assert set(response.json()) == {"code", "message"}


def test_dev_token(server: Server) -> None:
    """In development on loopback a token is handed out, and works."""
    body = {"userId": "dev", "email": "dev@example.com", "displayName": "Dev", "roles": ["developer"]}
    response = httpx2.post(f"{server.http}/api/v1/auth/dev-token", json=body)
    assert (response.status_code, response.json()["expiresIn"]) == (200, "1h")
    assert _verify(server, response.json()["token"]).json() == body


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"userId": "dev"}, {"displayName": "dev"}),
        ({"userId": "dev", "email": "", "displayName": ""}, {"displayName": "dev"}),
        ({"userId": "dev", "email": None, "displayName": None, "roles": None}, {"displayName": "dev"}),
        ({"userId": "dev", "email": "d@example.com", "more": 1}, {"displayName": "dev", "email": "d@example.com"}),
    ],
)
def test_dev_token_for_little(body: dict[str, object], named: dict[str, str], server: Server) -> None:
    """Only the id is needed; what else is absent, null or empty is left out, or has a default."""
    response = httpx2.post(f"{server.http}/api/v1/auth/dev-token", json=body)
    assert response.status_code == 200
    assert _verify(server, response.json()["token"]).json() == {"userId": "dev", "roles": [], **named}


def test_dev_token_says_its_life_as_the_setting_does(keys: Keys, tmp_path: Path) -> None:
    """`expiresIn` is JWT_EXPIRATION as it was written, which need not be a number; the token lives for so long."""
    with serving(keys, tmp_path, jwt_expiration="2 days") as server:
        answer = httpx2.post(f"{server.http}/api/v1/auth/dev-token", json={"userId": "dev"}).json()
    claims = json.loads(urlsafe_b64decode(answer["token"].split(".")[1] + "=="))
    assert (answer["expiresIn"], claims["exp"] - claims["iat"]) == ("2 days", 2 * 86400)


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"userId":5}', b"\xff", b"[" * 60_000])
def test_dev_token_refuses(body: bytes, server: Server) -> None:
    """A body that does not fit is answered 400 in JSON."""
    response = httpx2.post(f"{server.http}/api/v1/auth/dev-token", content=body)
    assert (response.status_code, response.json()["code"]) == (400, "ERR_9003")


def test_dev_token_body_too_large(server: Server) -> None:
    """A body that is too large is answered 413 in JSON."""
    response = httpx2.post(f"{server.http}/api/v1/auth/dev-token", content=b"x" * 70_000)
    assert (response.status_code, set(response.json())) == (413, {"code", "message"})


def test_public_key(server: Server) -> None:
    """The public key is there as PEM and as a JWK set, and neither holds a private part."""
    pem = server.get("/api/v1/auth/public-key").json()["publicKey"]
    assert pem == server.keys.public_path.read_text()
    (key,) = server.get("/.well-known/jwks.json").json()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def _verify(server: Server, token: str) -> httpx2.Response:
    return httpx2.get(f"{server.http}/api/v1/auth/verify", headers={"Authorization": f"Bearer {token}"})
