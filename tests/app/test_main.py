"""The application through Starlette's test client, that is the plain ASGI path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.main import create_app
from app.settings import MEMORY, Settings, SettingsError
from schemas.prices import LATEST_SECONDS, STRANGER_SOCKETS
from stores.memory.stores import MemoryStores
from stores.protocols import StoreUnreachableError
from tests.support.server import PATH
from tests.support.tokens import Keys


class UnreachableStores(MemoryStores):
    """Stores whose server is away."""

    async def ping(self) -> None:
        """Fail."""
        raise StoreUnreachableError("connection refused")


def settings(keys: Keys) -> Settings:
    """Return settings that use these keys."""
    return Settings(
        store_url=MEMORY,
        jwt_public_key_path=keys.public_path,
        jwt_private_key_path=keys.private_path,
        log_level="error",
        host="127.0.0.1",
    )


def test_two_apps_share_nothing(keys: Keys) -> None:
    """Peers of two applications in one process do not see each other."""
    with (
        TestClient(create_app(settings(keys))) as one,
        TestClient(create_app(settings(keys))) as two,
        one.websocket_connect("/ws") as ann,
        two.websocket_connect("/ws") as bob,
    ):
        for socket, user in ((ann, "ann"), (bob, "bob")):
            socket.send_json({"event": "AUTH", "data": {"token": keys.token(user)}})
            assert socket.receive_json()["event"] == "AUTH_SUCCESS"
            socket.send_json({"event": "PEER_REGISTER"})
            assert socket.receive_json()["event"] == "PEER_REGISTERED"
        ann.send_json({"event": "DISCOVER_PEERS"})
        assert ann.receive_json() == {"event": "PEERS_LIST", "data": {"peers": []}}


def test_an_address_of_strangers_is_let_in_late(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that end before they authenticate make the next one of their address wait; who authenticates does not."""
    app = create_app(settings(keys))
    with TestClient(app) as client:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(app.state.runtime.admission.delay, "_sleep", sleep)
        for _ in range(STRANGER_SOCKETS):
            with client.websocket_connect("/ws") as ann:
                ann.send_json({"event": "AUTH", "data": {"token": keys.token("ann")}})
                assert ann.receive_json()["event"] == "AUTH_SUCCESS"
        assert slept == []
        for _ in range(STRANGER_SOCKETS + 50):
            with client.websocket_connect("/ws"):
                pass
        assert slept
        assert max(slept) <= LATEST_SECONDS


def test_what_memory_does_not_need(keys: Keys) -> None:
    """With `memory://` the client for Redis is not even imported."""
    program = "import sys; from app.main import create_app; create_app(); sys.exit('redis' in sys.modules)"
    environment = {**os.environ, **keys.environment(), "STORE_URL": MEMORY, "PYTHONPATH": PATH}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_binary_that_is_no_text(keys: Keys) -> None:
    """A binary frame that is no UTF-8 closes with 1007."""
    with TestClient(create_app(settings(keys))) as client, client.websocket_connect("/ws") as ann:
        ann.send_bytes(b"\xff")
        with pytest.raises(WebSocketDisconnect) as closed:
            ann.receive_json()
        assert closed.value.code == 1007


def test_readiness_says_why_not(keys: Keys) -> None:
    """With its store away the service lives, but is not ready, and says why."""
    with TestClient(create_app(settings(keys), UnreachableStores())) as client:
        assert client.get("/health/live").status_code == 200
        response = client.get("/health/ready")
        assert response.status_code == 503
        assert response.json()["reasons"] == ["store unreachable: connection refused"]
        assert {"code", "message"} <= set(response.json())


def test_no_key(tmp_path: Path) -> None:
    """Without a public key the start stops with a line that says what to do."""
    with pytest.raises(SettingsError, match="bin/genkeys"):
        create_app(Settings(jwt_public_key_path=tmp_path / "none.pem"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@h:x/0",
        "redis://:secret/s@h/0",
        "redis://:secret@h/0?no_such=1",
        "redis://:secret@h/0?decode_responses=true",
        "redis://:secret@h/0?protocol=3",
        "redis://:secret@h/abc",
        "redis://:secret@h/-1",
        "redis://:secret@h/0/1",
        "redis://:secret@h?namespace=",
        "redis://:secret@h?ssl_ca_certs=x",
        "rediss://:secret@h?ssl_cert_reqs=x",
        "redis://user:12#secret@h/0",
        "redis://user:12/secret@h/0",
        "redis://user:12?secret@h/0",
        "redis://user:12?secret=x@h/0",
        "redis://h/0?sentinel_password=secret",
        "redis+sentinel://h:x/main",
        "redis+sentinel://h,h2:x/main",
        "redis+sentinel://user:secret/s@h/main",
        "redis+sentinel://:secret@h",
        "redis+sentinel://:secret@h/main/x",
        "redis+sentinel://h/main?sentinel_username=secret",
        "redis+sentinel://h/main?sentinel_passwort=x",
        "redis+sentinel://h/main?sentinel_password=secret&socket_timeout=x",
    ],
)
def test_a_store_url_that_cannot_be_understood(keys: Keys, url: str) -> None:
    """It stops the start, and the password in it is not shown."""
    with pytest.raises(SettingsError, match=r"STORE_URL is .*it must be sqlite:///PATH, memory://, ") as refused:
        create_app(replace(settings(keys), store_url=url))
    assert "secret" not in str(refused.value)
