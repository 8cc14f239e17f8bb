"""What an address may ask over HTTP (docs/protocol.md section 6), and that its neighbours notice nothing of more."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.support.client import client
from tests.support.server import Server, serving
from tests.support.tokens import Keys

BURST = 20
PROBES = ("/health", "/health/live", "/health/ready", "/api/v1/health", "/api/v1/health/ready")


@pytest.fixture(scope="module")
def thrifty(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server on which an address has 5 requests a second, and 20 at once; it believes a proxy on this machine."""
    with serving(
        keys, tmp_path_factory.mktemp("thrifty"), http_requests_per_second=5, trusted_proxies="127.0.0.1", admin="on"
    ) as server:
        yield server


def head(path: str, host: str, more: str = "", method: str = "GET") -> bytes:
    """Return a request, as a proxy passes it on from this address."""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {host}\r\n{more}\r\n".encode()


def answers(server: Server, requests: bytes) -> list[bytes]:
    """Send requests over one connection, and return the answers once it is closed."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        sock.sendall(requests)
        received = b""
        while chunk := sock.recv(1_048_576):
            received += chunk
    return received.split(b"HTTP/1.1 ")[1:]


def status(server: Server, request: bytes) -> bytes:
    """Send one request, and return the status of its answer."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        sock.sendall(request)
        return sock.recv(65_536).split()[1]


def until_refused(server: Server, request: bytes) -> list[bytes]:
    """Send a request over one connection after the other, and return the statuses up to the first 429."""
    statuses = [status(server, request)]
    while statuses[-1] != b"429" and len(statuses) < 50 * BURST:
        statuses.append(status(server, request))
    return statuses


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/nothing", "/elsewhere/../nothing", "/docs/static/docs.js"]
)
def test_pipelined(path: str, thrifty: Server) -> None:
    """Of 1,000 requests in one go those in the budget are answered in order, then one 429 is, and that is the end."""
    host = f"192.0.2.{len(path)}"
    *served, refused = answers(thrifty, head(path, host) * 1000)
    assert BURST - 5 <= len(served) <= BURST + 5
    assert {answer[:3] for answer in served} <= {b"200", b"404"}
    assert refused.startswith(b"429 Too Many Requests\r\n")
    top, _, body = refused.partition(b"\r\n\r\n")
    assert re.search(rb"^retry-after: [1-9]\r?$", top, re.MULTILINE)
    assert set(json.loads(body)) == {"code", "message"}


def test_one_by_one(thrifty: Server) -> None:
    """Over connections of their own they are refused alike, each one counted; other addresses are served."""
    statuses = until_refused(thrifty, head("/nothing", "192.0.2.100"))
    assert set(statuses) == {b"404", b"429"}
    assert status(thrifty, head("/nothing", "192.0.2.101")) == b"404"
    metrics = thrifty.metrics()
    counted = re.search(r'^peersync_refusals_total{limit="http_requests"} (\S+)$', metrics, re.MULTILINE)
    assert counted
    assert float(counted[1]) >= 1


def test_what_is_dear_costs_more(thrifty: Server) -> None:
    """The overview costs as much as ten requests."""
    *served, refused = answers(thrifty, head("/api/v1/admin/overview", "192.0.2.110") * 100)
    assert BURST // 10 <= len(served) <= BURST // 10 + 1
    assert refused.startswith(b"429 ")


def test_a_token_for_each_of_many(thrifty: Server) -> None:
    """A development token costs no more than any request: a test suite asks for one for each of its users."""
    body = json.dumps({"userId": "a", "email": "a@b.c", "displayName": "a"})
    length = f"Content-Length: {len(body)}\r\n"
    request = head("/api/v1/auth/dev-token", "192.0.2.111", length, "POST") + body.encode()
    *served, refused = answers(thrifty, request * 100)
    assert BURST <= len(served) <= BURST + 2
    assert {answer[:3] for answer in served} == {b"200"}
    assert refused.startswith(b"429 ")


@pytest.mark.parametrize("path", PROBES)
def test_probes_are_always_answered(path: str, thrifty: Server) -> None:
    """Whatever else comes from its address, also as many probes, a probe is answered."""
    host = f"2001:db8:{len(path)}::1"
    answers(thrifty, head("/nothing", host) * 100)
    probes = answers(thrifty, head(path, host) * 200 + head(path, host, "Connection: close\r\n"))
    assert [answer[:3] for answer in probes] == [b"200"] * 201


def test_a_client_does_not_choose_its_address(keys: Keys, tmp_path: Path) -> None:
    """Without a proxy that is trusted X-Forwarded-For counts for nothing."""
    with serving(keys, tmp_path, http_requests_per_second=5) as server:
        requests = b"".join(head("/nothing", f"192.0.2.{number % 250}") for number in range(1000))
        *served, refused = answers(server, requests)
        assert len(served) <= BURST + 5
        assert refused.startswith(b"429 ")


async def test_sockets_and_neighbours(thrifty: Server) -> None:
    """Whose budget is used up may open a socket still, and a neighbour is heard while others flood."""
    async with client(thrifty) as ann:
        await ann.authenticate("ann")
        with ExitStack() as stack:
            floods = [stack.enter_context(socket.create_connection(("127.0.0.1", thrifty.port))) for _ in range(20)]
            for number, flood in enumerate(floods):
                flood.sendall(head("/metrics", f"198.51.100.{number}") * 500)
            assert await ann.is_heard()
        answers(thrifty, head("/nothing", "192.0.2.120") * 100)
        async with connect(thrifty.url, proxy=None, additional_headers={"X-Forwarded-For": "192.0.2.120"}):
            pass


def test_an_upgrade_elsewhere_is_a_request(thrifty: Server) -> None:
    """An upgrade of a path where no socket is costs what any request does."""
    more = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    )
    assert set(until_refused(thrifty, head("/nothing", "192.0.2.130", more))) == {b"404", b"429"}


def test_metrics_are_made_for_all_who_wait(server: Server) -> None:
    """Metrics are made once for all who ask within a second, so many scrapes cost as much as one or two."""
    with ExitStack() as stack:
        scrapes = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(40)]
        for scrape in scrapes:
            scrape.sendall(head("/metrics", "x", "Connection: close\r\n"))
        bodies = set()
        for scrape in scrapes:
            received = b""
            while chunk := scrape.recv(1_048_576):
                received += chunk
            bodies.add(received.partition(b"\r\n\r\n")[2])
    assert 1 <= len(bodies) <= 3
    assert all(body.endswith(b"\n") for body in bodies)


def test_documents_are_whole(server: Server) -> None:
    """What is encoded once is what it was: JSON, with the address under which it was asked for."""
    document = httpx2.get(f"{server.http}/asyncapi.json", headers={"Host": "ide.example.com"}).json()
    assert document["servers"]["here"]["host"] == "ide.example.com"
    assert document["asyncapi"].startswith("3.")
    assert "paths" in server.get("/openapi.json").json()
