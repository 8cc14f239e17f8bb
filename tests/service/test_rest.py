"""Probes, metrics and errors over HTTP (docs/protocol.md section 6)."""

from pathlib import Path

import httpx2
import pytest

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
        lines = server.get("/metrics").text.splitlines()
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
    with serving(keys, tmp_path, cors_origin="https://ide.example.com") as server:
        for origin, allowed in (("https://ide.example.com", "https://ide.example.com"), ("https://evil.test", None)):
            response = httpx2.get(f"{server.http}/health/live", headers={"Origin": origin})
            assert response.headers.get("access-control-allow-origin") == allowed
