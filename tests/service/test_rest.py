"""Probes, metrics and errors over HTTP (docs/protocol.md section 6)."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import read_settings
from tests.support.client import client, pair
from tests.support.server import Server, serving
from tests.support.tokens import Keys


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/api/v1/health", "/api/v1/health/ready"])
def test_probes(path: str, server: Server) -> None:
    """Every probe of a healthy server answers 200."""
    assert httpx2.get(server.http + path).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/health/live", 405)])
def test_errors_are_json(method: str, path: str, status: int, server: Server) -> None:
    """What Starlette refuses is JSON with a code and a message."""
    response = httpx2.request(method, server.http + path)
    assert response.status_code == status
    assert set(response.json()) == {"code", "message"}


async def test_metrics(server: Server) -> None:
    """Metrics count sockets by state, and what was delivered."""
    async with client(server) as ann, client(server) as bob:
        await pair(ann, bob)
        lines = server.metrics().splitlines()
    assert 'peersync_sockets{state="registered"} 2.0' in lines
    assert any(line.startswith('peersync_events_total{event="PEER_REGISTER",outcome="handled"}') for line in lines)


@pytest.mark.parametrize(
    ("settings", "is_there"),
    [({}, True), ({"app_env": "production"}, False), ({"dev_tokens": "off"}, False)],
)
def test_where_dev_tokens_exist(settings: dict[str, str], is_there: bool, keys: Keys, tmp_path: Path) -> None:
    """Development tokens exist in development on loopback only, unless DEV_TOKENS says otherwise."""
    with serving(keys, tmp_path, **settings) as server:
        response = httpx2.post(f"{server.http}/api/v1/auth/dev-token", json={})
        assert (response.status_code, set(response.json())) == (400 if is_there else 404, {"code", "message"})


def test_cross_origin(keys: Keys, tmp_path: Path) -> None:
    """A browser of an origin named by CORS_ORIGIN may ask, others may not."""
    with serving(keys, tmp_path, cors_origin="https://IDE.example.com/, https://*.example.org") as server:
        for origin in ("https://ide.example.com", "https://ide.example.org"):
            response = httpx2.get(f"{server.http}/health/live", headers={"Origin": origin})
            assert response.headers.get("access-control-allow-origin") == origin
        for origin in ("https://evil.test", "https://example.org"):
            response = httpx2.get(f"{server.http}/health/live", headers={"Origin": origin})
            assert "access-control-allow-origin" not in response.headers


def ask_for_token(server: Server, host: str, origin: str | None) -> httpx2.Response:
    """Ask for a development token as a browser or an editor does."""
    headers = {"Host": host.format(port=server.port)}
    if origin is not None:
        headers["Origin"] = origin.format(port=server.port)
    whom = {"userId": "ann", "email": "ann@example.com", "displayName": "Ann"}
    return httpx2.post(f"{server.http}/api/v1/auth/dev-token", json=whom, headers=headers, trust_env=False)


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", None, 200),
        ("LocalHost", None, 200),
        ("[::1]:{port}", None, 200),
        ("localhost:{port}", "http://localhost:{port}", 200),
        ("127.0.0.1:{port}", "HTTP://127.0.0.1:{port}", 200),
        ("localhost:{port}", "https://ide.example.com", 200),
        ("evil.test:{port}", None, 403),
        ("evil.test:{port}", "http://evil.test:{port}", 403),
        ("localhost.evil.test", None, 403),
        ("127.0.0.1.evil.test", None, 403),
        ("evil_name.test:{port}", None, 403),
        ("-evil.test", None, 403),
        ("ann@localhost", None, 403),
        ("192.0.2.1", None, 403),
        ("[::1", None, 403),
        ("", None, 403),
        ("localhost:{port}", "http://localhost:5173", 403),
        ("localhost:{port}", "https://evil.test", 403),
        ("localhost:{port}", "http://[", 403),
        ("localhost:{port}", "null", 403),
        ("localhost:{port}", "", 403),
        ("localhost:{port}", "vscode-webview://abc", 403),
    ],
)
def test_who_gets_development_tokens(host: str, origin: str | None, status: int, listing: Server) -> None:
    """Whoever asks this machine by its name; no page of elsewhere, also not by a name that leads here."""
    response = ask_for_token(listing, host, origin)
    assert response.status_code == status
    assert set(response.json()) == ({"token", "expiresIn"} if status == 200 else {"code", "message"})


@pytest.fixture(scope="module")
def listing(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that one page of elsewhere may ask, and in words every page."""
    with serving(keys, tmp_path_factory.mktemp("listing"), cors_origin="*,https://ide.example.com") as server:
        yield server


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.0.2.1:3000", 200), ("[2001:db8::1]", 200), ("server:3000", 200), ("localhost", 200), ("evil.test", 403)],
)
def test_development_tokens_in_public(host: str, status: int, keys: Keys) -> None:
    """With `DEV_TOKENS=on` in public the server is asked by an address, or by a name that nobody can register."""
    settings = read_settings({"DEV_TOKENS": "on", "HOST": "0.0.0.0", **keys.environment()}, None)
    whom = {"userId": "ann", "email": "ann@example.com", "displayName": "Ann"}
    with TestClient(create_app(settings), base_url="http://localhost") as asker:
        assert asker.post("/api/v1/auth/dev-token", json=whom, headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 426),
        ("GET", {"Connection": "Upgrade", "Upgrade": "h2c"}, 426),
        ("GET", {"Connection": "keep-alive", "Upgrade": "websocket"}, 426),
        ("GET", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8"}, 426),
        ("GET", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}, 400),
        ("POST", {}, 405),
    ],
)
def test_no_upgrade(method: str, headers: dict[str, str], status: int, servers: dict[str, Server]) -> None:
    """Where the socket is, a request without a handshake is told in JSON what it lacks."""
    response = httpx2.request(method, f"{servers['peersync'].http}/ws", headers=headers, trust_env=False)
    assert response.status_code == status
    assert set(response.json()) == {"code", "message"}
    if "Sec-WebSocket-Version" not in headers and status == 426:
        assert response.headers["Upgrade"] == "websocket"


@pytest.mark.parametrize("path", ["/", "/socket.io/?EIO=4&transport=polling", "/wss", "/api/v1"])
def test_nothing_there(path: str, server: Server) -> None:
    """Where nothing is, the answer is 404 in JSON."""
    response = server.get(path)
    assert (response.status_code, set(response.json())) == (404, {"code", "message"})
