"""A real identity provider, of the tests' own, and a real process that trusts it (docs/identity.md)."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import httpx2
import pytest
from joserfc.jwk import ECKey, OKPKey
from starlette.responses import JSONResponse

from app.auth.algorithms import Key
from app.auth.tokens import sign
from tests.support.client import Client, client, until
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.server import Server, launched, serving
from tests.support.tokens import Keys

COOLDOWN = 1
STORM_SECONDS = 2.5


class Harness:
    """An issuer, which can be shut down and opened again, and a server that trusts it."""

    def __init__(self, issuer: Issuer, server: Server, running: ExitStack) -> None:
        self.issuer = issuer
        self.server = server
        self._running = running

    def shut(self) -> None:
        """Take the issuer down."""
        self._running.close()

    def open(self) -> None:
        """Bring the issuer up again."""
        self._running.enter_context(self.issuer.serving())

    def verify(self, token: str) -> httpx2.Response:
        """Ask over REST whom a token names."""
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.server.http}/api/v1/auth/verify"
        return httpx2.get(url, headers=headers, verify=False, trust_env=False)

    def is_good(self, token: str) -> bool:
        return self.verify(token).status_code == 200


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """An issuer that is down."""
    return Issuer(tmp_path)


@pytest.fixture
def harness(issuer: Issuer, keys: Keys, tmp_path: Path) -> Iterator[Harness]:
    """A server whose issuer is up."""
    settings = {**issuer.settings(), "jwt_jwks_cooldown_seconds": COOLDOWN}
    with ExitStack() as running:
        running.enter_context(issuer.serving())
        with serving(keys, tmp_path, log_level="info", **settings) as server:
            yield Harness(issuer, server, running)


@pytest.fixture
def down(issuer: Issuer, keys: Keys, tmp_path: Path) -> Iterator[Harness]:
    """A server whose issuer has been down since before it started."""
    with ExitStack() as running, launched(keys, tmp_path, "/health/live", issuer.settings()) as server:
        yield Harness(issuer, server, running)


@pytest.mark.parametrize("key", [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")])
async def test_other_algorithms(issuer: Issuer, keys: Keys, tmp_path: Path, key: Key) -> None:
    """Tokens signed ES256 or EdDSA by the issuer are good where that is allowed, and names are where they are said."""
    members = [{**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig"}]
    issuer.answer = lambda: JSONResponse({"keys": members})
    now = int(time.time())
    profile = {"user_metadata": {"full_name": "Ann B"}}
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ann", "exp": now + 60, **profile}
    allowed = {"jwt_algorithms": "es256, EdDSA", "jwt_name_claim": "user_metadata.full_name"}
    with issuer.serving(), serving(keys, tmp_path, **issuer.settings(), **allowed) as server:
        async with client(server) as ann, client(server) as bob:
            await ann.send("AUTH", token=sign(key, claims))
            assert await ann.expect("AUTH_SUCCESS") == {"userId": "ann", "displayName": "Ann B"}
            await bob.send("AUTH", token=issuer.token("bob"))
            failed = await bob.expect("AUTH_FAILED")
            assert (failed["code"], "its alg is not ES256 or EdDSA" in failed["message"]) == ("ERR_1002", True)


async def test_log_in(harness: Harness, keys: Keys) -> None:
    """Who has logged in at the issuer is let in, by name; nobody else is, and the issuer is asked once."""
    discovery = httpx2.get(f"{harness.issuer.url}/.well-known/openid-configuration").json()
    assert discovery["jwks_uri"] == harness.issuer.jwks_url
    login = httpx2.post(discovery["token_endpoint"], data={"grant_type": "password", "username": "ann"}).json()
    async with client(harness.server) as ann, client(harness.server) as bob, client(harness.server) as eve:
        success = await enter(ann, login["access_token"])
        assert success == {"userId": "ann", "displayName": "Name ann", "email": "ann@example.com"}
        await enter(bob, harness.issuer.token("bob", name="Bob"))
        await eve.send("AUTH", token=keys.token("eve"))
        assert (await eve.expect("AUTH_FAILED"))["code"] == "ERR_1002"
        await eve.expect_close(4001)
    assert harness.verify(login["access_token"]).json()["userId"] == "ann"
    assert harness.issuer.asked == 1
    assert "RSA-OAEP" not in harness.verify(login["access_token"]).text
    assert "its use is 'enc'" in harness.server.log.read_text()


async def test_our_own_endpoints(harness: Harness) -> None:
    """What stands in our JWK set are our keys; the issuer's are at the issuer."""
    assert httpx2.get(f"{harness.server.http}/.well-known/jwks.json").json() == {"keys": []}
    response = httpx2.get(f"{harness.server.http}/api/v1/auth/public-key")
    assert (response.status_code, set(response.json())) == (404, {"code", "message"})


async def test_rotation(harness: Harness) -> None:
    """A new key of the issuer is found when a token of it comes; an old one that is withdrawn counts no more."""
    old = harness.issuer.token("ann")
    async with client(harness.server) as ann:
        await enter(ann, old)
        harness.issuer.add_key()
        await until(lambda: harness.is_good(harness.issuer.token("bob")))
        assert harness.is_good(old)
        harness.issuer.retire_key()
        await until(lambda: not (harness.is_good(harness.issuer.token("x", {"kid": "?"})) or harness.is_good(old)))
        await ann.send("PING")
        await ann.expect("PONG")


async def test_issuer_down(harness: Harness) -> None:
    """While the issuer is down its known keys are good, its new ones unknown; it is asked again when it is back."""
    known = harness.issuer.token("ann")
    assert harness.is_good(known)
    harness.shut()
    harness.issuer.add_key()
    unknown = harness.issuer.token("bob")
    await until(lambda: not harness.is_good(unknown) and "issuer keys not fetched" in harness.server.log.read_text())
    assert harness.verify(unknown).json()["code"] == "ERR_1002"
    async with client(harness.server) as ann:
        await enter(ann, known)
    assert httpx2.get(f"{harness.server.http}/health/ready").status_code == 200
    harness.open()
    await until(lambda: harness.is_good(unknown))


async def test_issuer_down_at_the_start(down: Harness) -> None:
    """A server whose issuer is down starts, says that it is not ready and why, and can tell no good token from bad."""
    response = httpx2.get(f"{down.server.http}/health/ready")
    assert (response.status_code, response.json()["reasons"]) == (503, ["issuer's keys not fetched yet (JWT_JWKS_URL)"])
    token = down.issuer.token("ann")
    answer = down.verify(token)
    assert (answer.status_code, answer.json()["code"]) == (503, "ERR_9002")
    async with client(down.server) as ann:
        await ann.send("AUTH", token=token)
        await ann.expect_error("ERR_9002")
        down.open()
        await until(lambda: httpx2.get(f"{down.server.http}/health/ready").status_code == 200)
        await enter(ann, token)


async def test_unknown_kids(harness: Harness) -> None:
    """A storm of tokens with unknown keys makes the issuer be asked once an interval, while others log in."""
    began, tried = time.monotonic(), 0
    async with httpx2.AsyncClient() as http:

        async def knock() -> None:
            nonlocal tried
            while time.monotonic() - began < STORM_SECONDS:
                tried += 1
                token = harness.issuer.token("eve", {"kid": f"junk {tried}"})
                headers = {"Authorization": f"Bearer {token}"}
                answer = await http.get(f"{harness.server.http}/api/v1/auth/verify", headers=headers)
                assert answer.json()["code"] == "ERR_1002"

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(knock)
            async with client(harness.server) as ann:
                await enter(ann, harness.issuer.token("ann"))
    elapsed = time.monotonic() - began
    assert tried > harness.issuer.asked
    assert 2 <= harness.issuer.asked <= 2 + elapsed / COOLDOWN


def test_a_kid_that_is_no_key(harness: Harness) -> None:
    """A token whose kid is none of the issuer's is refused, though one of its keys has signed it."""
    for kid in ("", "junk", "../../dev/null", "key 1' OR '1'='1", "key 1\0", "KEY 1", "key 1 "):
        assert harness.verify(harness.issuer.token("ann", {"kid": kid})).json()["code"] == "ERR_1002", kid


async def enter(socket: Client, token: str) -> object:
    """Authenticate with this token."""
    await socket.send("AUTH", token=token)
    return await socket.expect("AUTH_SUCCESS")
