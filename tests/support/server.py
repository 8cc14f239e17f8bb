"""A real server process for tests."""

import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx2

from app.settings import MEMORY
from tests.support.tokens import Keys

ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])
METRICS_SECONDS = 1.0
START_SECONDS = 30
LISTENING = range(11_000, 32_768)


class Server:
    """One `python -m app serve` on 127.0.0.1."""

    tls: ssl.SSLContext | None = None
    """What makes its certificate trusted, if it has one."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, keys: Keys, log: Path) -> None:
        self.process = process
        self.port = port
        self.keys = keys
        self.log = log
        self._scraped_at = 0.0

    @property
    def http(self) -> str:
        """Where REST is."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where the socket is."""
        return f"ws{'s' if self.tls else ''}://127.0.0.1:{self.port}/ws"

    def get(self, path: str) -> httpx2.Response:
        """Ask over HTTP, without loading all certificates that the system trusts, which takes longer than the rest."""
        return httpx2.get(self.http + path, verify=self.tls or False, trust_env=False)

    def metrics(self) -> str:
        """Return the metrics as they are now; the server makes them once a second at most."""
        time.sleep(max(0.0, self._scraped_at + METRICS_SECONDS - time.monotonic()))
        text = self.get("/metrics").text
        self._scraped_at = time.monotonic()
        return text

    def is_alive(self) -> bool:
        """Whether the process runs and answers."""
        return self.process.poll() is None and self.get("/health/live").status_code == 200

    def await_start(self, probe: str = "/health/ready") -> None:
        """Wait until this probe answers 200; raises `RuntimeError` if the server ends before, or it takes too long."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server did not start: {self.log.read_text()}")
            with suppress(httpx2.TransportError):
                if self.get(probe).status_code == 200:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the server is not ready: {self.log.read_text()}")


def serving(keys: Keys, folder: Path, **settings: object) -> AbstractContextManager[Server]:
    """Run a server with these settings, on a port that is free if they name none, and kill it afterwards."""
    return launched(keys, folder, "/health/ready", settings)


@contextmanager
def launched(keys: Keys, folder: Path, probe: str, settings: Mapping[str, object]) -> Iterator[Server]:
    """Run a server with these settings, from when this probe answers 200, and kill it afterwards."""
    with started(keys, folder, settings) as server:
        server.await_start(probe)
        yield server


@contextmanager
def started(keys: Keys, folder: Path, settings: Mapping[str, object], *, is_covered: bool = False) -> Iterator[Server]:
    """Start a server with these settings, and kill it afterwards.

    One whose coverage is measured starts slower, and is told to stop instead, since it writes that down as it ends.
    """
    port = int(str(settings.get("port", 0))) or free_port()
    log = folder / f"server-{port}.log"
    environment = {
        **os.environ,
        **keys.environment(),
        "STORE_URL": MEMORY,
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "warning",
        "AUTH_FAILURES_PER_MINUTE": "0",
        "HTTP_REQUESTS_PER_SECOND": "0",
        "PYTHONPATH": PATH,
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    if not is_covered:
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
    command = [sys.executable, "-m", "app", "serve"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)
    try:
        server = Server(process, port, keys, log)
        if "tls_cert_path" in settings:
            server.tls = ssl.create_default_context(cafile=str(settings["tls_cert_path"]))
        yield server
    finally:
        if is_covered:
            process.terminate()
        else:
            process.kill()
        process.wait(20)


def free_port() -> int:
    """Return a port that nobody listens on; none of those that the system gives to whoever asks for any."""
    while True:
        port = secrets.choice(LISTENING)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
