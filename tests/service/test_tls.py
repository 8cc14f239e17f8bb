"""A real server with a certificate: wss, https, and the commands that find it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import loops
from app.cli.doctor import examine
from tests.support.certificates import make_certificate, paths
from tests.support.client import client, pair
from tests.support.server import PATH, Server, serving
from tests.support.tokens import Keys

HASTY = """
from app.cli import loops
from handlers.table import HandlerTable

loops.HANDSHAKE_SECONDS = 0.3
table = HandlerTable()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificate is."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def server(keys: Keys, folder: Path) -> Iterator[Server]:
    """A server with it."""
    with serving(keys, folder, rate_limit_events_per_second=10**6, rate_limit_burst=10**6, **paths(folder)) as running:
        yield running


def environment(server: Server, folder: Path) -> dict[str, str]:
    """Return the settings of the server, for commands beside it."""
    tls = {name.upper(): str(path) for name, path in paths(folder).items()}
    return {**os.environ, **server.keys.environment(), **tls, "PORT": str(server.port), "PYTHONPATH": PATH}


def test_https(server: Server) -> None:
    """Its probes and metrics answer over https, which is where it says it is."""
    assert server.http.startswith("https:")
    assert server.is_alive()
    assert "peersync_sockets" in server.metrics()


def test_plain_http(server: Server) -> None:
    """Who speaks HTTP without TLS gets nothing, and disturbs nobody."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger:
        stranger.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not stranger.recv(1000).startswith(b"HTTP")
    assert server.is_alive()


async def test_wss(server: Server) -> None:
    """Two clients of a real library talk, in messages large and small, and leave."""
    async with client(server) as ann, client(server) as bob:
        assert ann.server.url.startswith("wss:")
        session_id = await pair(ann, bob)
        for size in (10, 500_000):
            await ann.send("SEND_MESSAGE", sessionId=session_id, content="x" * size)
            assert len((await bob.until("MESSAGE_RECEIVED"))["content"]) == size
    assert server.is_alive()


def test_bench(server: Server, folder: Path) -> None:
    """A command finds the server of its settings, and trusts its certificate, though the system does not."""
    options = ("--pairs", "2", "--window", "1", "--seconds", "1.1", "--json")
    command = [sys.executable, "-m", "tests.load", "bench", *options]
    done = subprocess.run(
        command, check=False, env=environment(server, folder), cwd=folder, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["plan"]["url"] == server.url
    assert report["all"]["cpu"] is not None


def test_doctor(server: Server, folder: Path) -> None:
    """The doctor sees that it runs, and until when its certificate is good."""
    found = {finding.subject: finding for finding in examine(environment(server, folder), Path("none"))}
    assert "a server already answers" in found["port"].text
    assert "expires in 89 days" in found["tls"].text
    assert not found["tls"].is_wrong


@pytest.mark.parametrize(("days", "advice"), [(-1, "expired at"), (5, "expires in 4 days")])
def test_a_certificate_to_replace(days: int, advice: str, keys: Keys, tmp_path: Path) -> None:
    """The doctor warns two weeks ahead."""
    make_certificate(tmp_path, days=days)
    tls = {name.upper(): str(path) for name, path in paths(tmp_path).items()}
    (finding,) = [each for each in examine({**keys.environment(), **tls}, Path("none")) if each.subject == "tls"]
    assert finding.is_wrong
    assert advice in finding.text


def test_a_wrong_pair(keys: Keys, tmp_path: Path) -> None:
    """What cannot be served with stops the start, in one line; the doctor says the same."""
    make_certificate(tmp_path)
    (tmp_path / "key.pem").write_bytes(keys.private_path.read_bytes())
    tls = {name.upper(): str(path) for name, path in paths(tmp_path).items()}
    env = {**os.environ, **keys.environment(), **tls, "PYTHONPATH": PATH, "PORT": "0"}
    command = [sys.executable, "-m", "app", "serve"]
    done = subprocess.run(command, check=False, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "must be the private key of TLS_CERT_PATH" in done.stderr
    (finding,) = [each for each in examine(env, Path("none")) if each.subject == "tls"]
    assert "must be the private key of TLS_CERT_PATH" in finding.text


def test_half_a_handshake(keys: Keys, folder: Path) -> None:
    """Who connects and says nothing is cut even before TLS stands; the ten seconds for that are made short here."""
    assert loops.HANDSHAKE_SECONDS == 10
    (folder / "hasty.py").write_text(HASTY)
    with serving(keys, folder, plugins="hasty", **paths(folder)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger:
            assert stranger.recv(1) == b""
        assert server.is_alive()
