"""Who may open a socket."""

from http import HTTPStatus

import pytest
from structlog.testing import CapturingLogger

from app.admission.rejections import RejectionLog
from app.admission.upgrade_policy import Origins, UpgradePolicy
from app.settings import read_settings
from schemas.errors import Limit

HERE, THERE = b"here", b"there"
DEVELOPMENT = {"APP_ENV": "development"}
PRODUCTION = {"APP_ENV": "production"}
WILD = {"ALLOWED_ORIGINS": "https://*.Example.com, vscode-webview://*, http://*:8080, https://*.test:8443/"}
LISTED = {"ALLOWED_ORIGINS": "https://IDE.example.com/, vscode-webview://abc"}


@pytest.mark.parametrize(
    ("environ", "origin", "is_allowed"),
    [
        (PRODUCTION, None, True),
        (PRODUCTION, "", False),
        (PRODUCTION, "http://localhost:5173", False),
        (PRODUCTION, "null", False),
        (DEVELOPMENT, "http://localhost:5173", True),
        (DEVELOPMENT, "https://127.0.0.1", True),
        (DEVELOPMENT, "http://[::1]:80", True),
        (DEVELOPMENT, "http://localhost.evil.test", False),
        (DEVELOPMENT, "http://[", False),
        (DEVELOPMENT, "null", False),
        (LISTED, None, True),
        (LISTED, "https://ide.example.com", True),
        (LISTED, "vscode-webview://abc", True),
        (LISTED, "https://ide.example.com:8443", False),
        (LISTED, "http://localhost", False),
        (PRODUCTION | {"CORS_ORIGIN": "https://ide.example.com"}, "https://ide.example.com", True),
        (PRODUCTION | {"CORS_ORIGIN": "https://ide.example.com"}, "https://evil.test", False),
        (LISTED | {"CORS_ORIGIN": "https://other.example.com"}, "https://other.example.com", False),
        (PRODUCTION | {"CORS_ORIGIN": "*"}, "https://evil.test", True),
        (PRODUCTION | {"ALLOWED_ORIGINS": "*"}, "null", True),
        (LISTED, "https://ide.example.com:443", True),
        (LISTED, "HTTPS://IDE.example.com", True),
        (LISTED, "https://ide-example.com", False),
        (WILD, "https://ide.example.com", True),
        (WILD, "https://IDE.example.com:443", True),
        (WILD, "https://example.com", False),
        (WILD, "https://.example.com", False),
        (WILD, "https://a.b.example.com", False),
        (WILD, "https://ide.example.com.evil.test", False),
        (WILD, "https://ide.example.com:8443", False),
        (WILD, "http://ide.example.com", False),
        (WILD, "https://evil.test/.example.com", False),
        (WILD, "https://evil.test:1@ide.example.com", False),
        (WILD, "vscode-webview://1f2e3d-4c5b", True),
        (WILD, "vscode-webview://", False),
        (WILD, "vscode-webview://a/b", False),
        (WILD, "http://a.b.c:8080", True),
        (WILD, "http://[::1]:8080", True),
        (WILD, "http://a.b.c", False),
        (WILD, "https://a.test:8443", True),
        (WILD, "null", False),
        (WILD, None, True),
        (PRODUCTION | {"CORS_ORIGIN": "https://*.example.com/"}, "https://ide.example.com", True),
    ],
)
def test_origins(environ: dict[str, str], origin: str | None, *, is_allowed: bool) -> None:
    """Editors pass; browsers where their origin is listed, shares CORS_ORIGIN, or is loopback in development."""
    assert Origins(read_settings(environ, None)).allow(origin) is is_allowed


def test_limits() -> None:
    """Past MAX_CONNECTIONS_PER_ADDRESS the answer is 429, past MAX_CONNECTIONS 503, each counted."""
    settings = read_settings({"MAX_CONNECTIONS": "3", "MAX_CONNECTIONS_PER_ADDRESS": "2"}, None)
    sockets: list[bytes] = []
    by_address: dict[bytes, int] = {}
    rejections = RejectionLog(CapturingLogger(), lambda: 0.0)
    door = UpgradePolicy(settings, sockets, by_address, rejections)

    def knock(address: bytes) -> HTTPStatus | None:
        refused = door.refuse(None, address)
        if refused is not None:
            assert refused.retry_after == 10
            return refused.status
        sockets.append(address)
        by_address[address] = sockets.count(address)
        return None

    answers = [knock(HERE) for _ in range(3)] + [knock(THERE) for _ in range(2)]
    assert answers == [None, None, HTTPStatus.TOO_MANY_REQUESTS, None, HTTPStatus.SERVICE_UNAVAILABLE]
    assert (rejections.counts[Limit.CONNECTIONS], rejections.counts[Limit.CONNECTIONS_PER_ADDRESS]) == (1, 1)
