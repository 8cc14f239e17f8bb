"""Requests that are odd, broken off or offer another protocol: what they get, and what the log says of them."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import client
from tests.support.server import Server, serving
from tests.support.tokens import Keys

BODY = b'{"userId":"ann","email":"ann@example.com","displayName":"Ann"}'
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
JAVA = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
WEBSOCKET = f"Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY}"
DEV_TOKEN = "/api/v1/auth/dev-token"
HANG_UPS = 100


@pytest.fixture(scope="module", params=["peersync", "websockets-sansio"])
def talkative(request: pytest.FixtureRequest, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that logs all that people usually want to know."""
    folder = tmp_path_factory.mktemp("talkative")
    with serving(keys, folder, log_level="info", ws_implementation=request.param) as server:
        yield server


def head(method: str, path: str, headers: str = "") -> bytes:
    """Return a request's head."""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def post(headers: str, *, is_chunked: bool = False) -> bytes:
    """Return a request for a token."""
    if is_chunked:
        framed = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (5, BODY[:5], len(BODY) - 5, BODY[5:])
        return head("POST", DEV_TOKEN, headers + "Transfer-Encoding: chunked\r\n") + framed
    return head("POST", DEV_TOKEN, headers + f"Content-Length: {len(BODY)}\r\n") + BODY


def ask(server: Server, *parts: bytes) -> bytes:
    """Send a request in these parts, then one that closes; return all that is answered."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (*parts, head("GET", "/last", "Connection: close\r\n")):
            sock.sendall(part)
        received = b""
        while chunk := sock.recv(65_536):
            received += chunk
    return received


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of several answers."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    "headers",
    ["", JAVA, WEBSOCKET, "Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/3.0\r\n", "Upgrade: websocket\r\n"],
    ids=["plain", "h2c", "websocket", "others", "no connection"],
)
def test_an_upgrade_is_ignored(headers: str, is_chunked: bool, talkative: Server) -> None:
    """A request that offers another protocol is answered as if it did not, body and all, and so is the next one."""
    request = post(headers, is_chunked=is_chunked)
    assert statuses(ask(talkative, request)) == [200, 404]
    assert statuses(ask(talkative, request, request * 3)) == [200, 200, 200, 200, 404]
    assert statuses(ask(talkative, *(request[at : at + 1] for at in range(len(request))))) == [200, 404]


@pytest.mark.parametrize(
    "offers", ["websocket", "WebSocket", "h2c, websocket", "websocket, h2c", "h2c\r\nUpgrade: websocket"]
)
def test_a_socket_among_offers(offers: str, talkative: Server) -> None:
    """Whoever offers WebSocket among others, in any case of letters, gets it."""
    request = head("GET", "/ws", f"Connection: keep-alive, Upgrade\r\nUpgrade: {offers}\r\n{KEY}")
    with socket.create_connection(("127.0.0.1", talkative.port), 20) as sock:
        sock.sendall(request)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 101 ")


def test_a_get_with_h2c(talkative: Server) -> None:
    """A GET that offers h2c is answered, many in one go likewise."""
    assert statuses(ask(talkative, head("GET", "/health/live", JAVA) * 300)) == [200] * 300 + [404]


def test_connect(talkative: Server) -> None:
    """The server is no proxy."""
    with socket.create_connection(("127.0.0.1", talkative.port), 20) as sock:
        sock.sendall(head("CONNECT", "localhost:22"))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_expect(talkative: Server) -> None:
    """A client that waits for 100 before it sends a body gets it."""
    request = post("Expect: 100-continue\r\n" + JAVA)
    with socket.create_connection(("127.0.0.1", talkative.port), 20) as sock:
        sock.sendall(request.removesuffix(BODY))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(BODY)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        head("POST", DEV_TOKEN, "Content-Length: 500\r\n") + b"{",
        head("GET", "/docs/static/docs.js") * 30,
        head("GET", "/docs") * 30,
        head("GET", "/asyncapi.json") * 30,
        head("GET", "/metrics") * 3,
    ],
    ids=["body", "static", "page", "document", "metrics"],
)
async def test_hanging_up(request_: bytes, keys: Keys, tmp_path: Path) -> None:
    """Clients that hang up before they are answered leave a line a second at most, and no traceback."""
    with serving(keys, tmp_path, log_level="info") as server:
        for number in range(HANG_UPS):
            with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(request_)
        async with client(server) as ann:
            await ann.join("ann")
        assert server.is_alive()
        log = server.log.read_text()
    assert "Traceback" not in log
    assert "rror" not in log
    assert log.count("hung up") < HANG_UPS / 4


@pytest.mark.parametrize(
    "request_",
    [
        head("GET", "/docs/static/%00"),
        head("GET", "/docs/static/%ff%fe"),
        head("GET", "/docs/static/%2e%2e/%2e%2e/settings.py"),
        head("GET", "/docs/static/" + "a/" * 2000),
        head("GET", "/schemas/%0d%0aX:1.json"),
        head("GET", "http://elsewhere.test/health/live"),
        head("GET", "http://["),
        head("GET", "/\xff"),
        head("GET", "/ws\xff", WEBSOCKET),
        head("GET", "http://localhost/ws%zz", WEBSOCKET),
        head("GET", "/docs/static/docs.js", "Range: bytes=" + "0-0," * 2000 + "\r\n"),
        head("GET", "/docs/static/docs.js", "If-Modified-Since: Wed, 21 Oct 99999 07:28:00 GMT\r\n"),
        head("POST", DEV_TOKEN, "Content-Length: 5\r\nContent-Length: 6\r\n") + b"hello",
        head("POST", DEV_TOKEN, "Transfer-Encoding: chunked\r\n") + b"zz\r\n",
        head("OPTIONS", "*"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /asyncapi.json HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET /asyncapi.json HTTP/1.1\r\nHost: a:b:c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_odd_requests(request_: bytes, talkative: Server) -> None:
    """What is odd gets an answer that is no 5xx, and nothing in the log but a line of a limit."""
    before = len(talkative.log.read_text())
    answered = statuses(ask(talkative, request_))
    assert answered
    assert max(answered) < 500
    log = talkative.log.read_text()[before:]
    assert "Traceback" not in log
    assert log.count("\n") <= 3


def test_a_broken_body(talkative: Server) -> None:
    """A body that breaks off in its framing is answered 400, in JSON."""
    answer = ask(talkative, head("POST", DEV_TOKEN, "Transfer-Encoding: chunked\r\n") + b"zz\r\n")
    assert statuses(answer) == [400]
    assert answer.endswith(b'{"code":"BAD_REQUEST","message":"This is not an HTTP request"}')


def test_a_socket_by_its_whole_url(talkative: Server) -> None:
    """A request line may have the whole URL (RFC 9112 section 3.2.2)."""
    with socket.create_connection(("127.0.0.1", talkative.port), 20) as sock:
        sock.sendall(head("GET", f"http://localhost:{talkative.port}/ws?a=b", WEBSOCKET))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 101 ")
