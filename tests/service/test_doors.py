"""Limits before anybody is known: at the upgrade, before it, and of failed authentications."""

import re
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import anyio
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.client import client
from tests.support.server import Server, serving
from tests.support.tokens import Keys

HASTY = "tests.support.hasty"
CURT = "tests.support.curt"
HALF = b"GET /ws HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module", params=["peersync", "websockets-sansio"])
def narrow(request: pytest.FixtureRequest, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with room for few, which believes a proxy on this machine."""
    with serving(
        keys,
        tmp_path_factory.mktemp("narrow"),
        ws_implementation=request.param,
        max_connections=4,
        max_connections_per_address=2,
        auth_failures_per_minute=3,
        trusted_proxies="127.0.0.1",
        max_unauthenticated=20,
        plugins=CURT,
    ) as server:
        yield server


def refusals(server: Server, limit: str) -> float:
    """Return how often a limit was reached."""
    match = re.search(rf'^peersync_refusals_total{{limit="{limit}"}} (\S+)$', _metrics(server), re.MULTILINE)
    assert match, limit
    return float(match[1])


def _metrics(server: Server) -> str:
    return server.metrics()


async def test_too_many(narrow: Server) -> None:
    """Beyond so many of one address the upgrade is refused with 429, beyond so many in all with 503, in JSON."""
    async with AsyncExitStack() as stack:
        for host in ("192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"):
            forwarded = {"X-Forwarded-For": f"198.51.100.9, {host}"}
            await stack.enter_async_context(connect(narrow.url, proxy=None, additional_headers=forwarded))
            if host == "192.0.2.1":
                assert refusals(narrow, "connections") == 0
        for host, status in (("2001:db8::3", 503), ("192.0.2.9", 503)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(narrow.url, proxy=None, additional_headers={"X-Forwarded-For": host})
            response = refused.value.response
            assert (response.status_code, response.headers["Retry-After"]) == (status, "10")
            assert b'"code":"TOO_MANY_CONNECTIONS"' in response.body
    assert refusals(narrow, "connections") == 2


async def test_too_many_of_one_address(narrow: Server) -> None:
    """What an untrusted client forwards counts for nothing: all behind one address share its limit."""
    async with AsyncExitStack() as stack:
        for faked in ("1.1.1.1", "2.2.2.2"):
            forwarded = {"X-Forwarded-For": f"{faked}, 192.0.2.7"}
            await stack.enter_async_context(connect(narrow.url, proxy=None, additional_headers=forwarded))
        with pytest.raises(InvalidStatus) as refused:
            await connect(narrow.url, proxy=None, additional_headers={"X-Forwarded-For": "3.3.3.3, 192.0.2.7"})
        assert refused.value.response.status_code == 429
    assert refusals(narrow, "connections_per_address") == 1


async def test_origin(narrow: Server) -> None:
    """A browser's page of elsewhere is refused with 403; one of this machine may in development."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(narrow.url, proxy=None, origin="https://evil.test")  # type: ignore[arg-type]  # a NewType
    assert refused.value.response.status_code == 403
    async with connect(narrow.url, proxy=None, origin="http://localhost:5173"):  # type: ignore[arg-type]
        pass
    assert refusals(narrow, "origin") == 1


async def test_failed_authentications(narrow: Server) -> None:
    """After so many failures over a socket further ones are answered ERR_5004 and 4029; a good token still gets in."""
    for code in ("ERR_1002",) * 3 + ("ERR_5004",):
        async with client(narrow) as ann:
            await ann.send("AUTH", token="x")
            if code == "ERR_1002":
                assert (await ann.expect("AUTH_FAILED"))["code"] == code
                await ann.expect_close(4001)
            else:
                error = await ann.expect("ERROR")
                assert error["code"] == code
                assert 0 < error["details"]["retryAfterMs"] <= 20_000
                await ann.expect_close(4029)
    assert refusals(narrow, "auth_failures") == 1
    async with client(narrow) as ann:
        await ann.send("AUTH", token=narrow.keys.token("ann"))
        await ann.expect("AUTH_SUCCESS")
    assert verified(narrow, "Bearer x").status_code == 401, "failures over a socket do not count for HTTP"


async def test_failed_authentications_over_http(keys: Keys, tmp_path: Path) -> None:
    """After so many failures further ones are answered 429; a good token is taken, and no socket is locked out.

    A missing token is answered 401, however often.
    """
    with serving(keys, tmp_path, auth_failures_per_minute=3, trusted_proxies="127.0.0.1") as server:
        for header in (None, "", "Bearer", "Basic YTpi") * 3:
            answer = verified(server, header)
            assert (answer.status_code, answer.json()["code"]) == (401, "ERR_1001")
        for _ in range(3):
            assert verified(server, "Bearer x").status_code == 401
        answer = verified(server, "Bearer x")
        assert (answer.status_code, answer.json()["code"]) == (429, "ERR_5004")
        assert 0 < int(answer.headers["Retry-After"]) <= 21
        assert verified(server, None).status_code == 401
        assert verified(server, f"Bearer {keys.token('ann')}").status_code == 200
        elsewhere = httpx2.get(
            f"{server.http}/api/v1/auth/verify",
            headers={"Authorization": "Bearer x", "X-Forwarded-For": "192.0.2.1"},
        )
        assert elsewhere.status_code == 401
        async with client(server) as ann:
            await ann.send("AUTH", token="x")
            assert (await ann.expect("AUTH_FAILED"))["code"] == "ERR_1002"


def verified(server: Server, authorization: str | None) -> httpx2.Response:
    """Return the answer to a look at a token."""
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx2.get(f"{server.http}/api/v1/auth/verify", headers=headers)


async def test_half_a_request(keys: Keys, tmp_path: Path) -> None:
    """A request that does not end in time is answered 408 and closed, also one sent byte by byte."""
    with (
        serving(keys, tmp_path, plugins=f"{HASTY},{CURT}") as harness,
        _knock(harness) as silent,
        _knock(harness) as slow,
    ):
        slow.sendall(HALF)
        for _ in range(8):
            await anyio.sleep(0.1)
            slow.sendall(b"x")
        for stranger in (silent, slow):
            answer = await anyio.to_thread.run_sync(_until_closed, stranger)
            assert answer.startswith(b"HTTP/1.1 408 ")
        assert refusals(harness, "http_seconds") == 2


async def test_a_head_without_end(narrow: Server) -> None:
    """A head beyond 16 KiB is answered 431 and closed."""
    with _knock(narrow) as stranger:
        stranger.sendall(HALF + b"X: " + b"x" * 65_536)
        assert _until_closed(stranger).startswith(b"HTTP/1.1 431 ")
    assert refusals(narrow, "http_head") == 1


async def test_no_http(narrow: Server) -> None:
    """What is no HTTP is answered 400 in JSON."""
    with _knock(narrow) as stranger:
        stranger.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = _until_closed(stranger)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"code":"BAD_REQUEST","message":"This is not an HTTP request"}')
    assert refusals(narrow, "http_malformed") == 1


async def test_many_that_only_connect(narrow: Server) -> None:
    """Connections that say nothing push out each other, and not those who ask."""
    with ExitStack() as stack:
        strangers = [stack.enter_context(_knock(narrow)) for _ in range(160)]
        assert _until_closed(strangers[0]).startswith(b"HTTP/1.1 503 ")
        assert narrow.get("/health/live").status_code == 200
    assert refusals(narrow, "http_connections") >= 50


def _knock(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 5)


def _until_closed(stranger: socket.socket) -> bytes:
    received = b""
    while chunk := stranger.recv(65_536):
        received += chunk
    return received


def test_an_address_is_never_logged(keys: Keys, tmp_path: Path) -> None:
    """A log line of a limit has a hash."""
    with serving(keys, tmp_path, trusted_proxies="127.0.0.0/8") as server:
        headers = {"Origin": "https://evil.test", "X-Forwarded-For": "192.0.2.77", "Upgrade": "websocket"}
        key = {"Connection": "Upgrade", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
        assert httpx2.get(f"{server.http}/ws", headers=headers | key).status_code == 403
        log = server.log.read_text()
    assert '"limit": "origin"' in log
    assert "192.0.2" not in log
    assert "127.0.0" not in log
