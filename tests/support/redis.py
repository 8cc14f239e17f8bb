"""A real Redis for tests."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 20
REDIS_SERVER = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """One `redis-server` on 127.0.0.1, which keeps nothing on disk."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self.process = self._launch()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def namespace(self, name: object) -> str:
        """Return a URL under which nothing is kept yet, if nobody used the name."""
        return f"{self.url}?namespace={name}"

    def restart(self) -> None:
        """Kill it, which loses all it had, and start it anew on the same port."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """Kill it, which loses all it had."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start it anew on the same port."""
        self.process = self._launch()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it answer nobody for a while."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _launch(self) -> "subprocess.Popen[bytes]":
        where = ["--port", str(self.port), "--bind", "127.0.0.1"]
        command = [REDIS_SERVER or "", *where, "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return process
            time.sleep(0.02)
        process.kill()
        raise RuntimeError("redis-server does not listen")


@contextmanager
def redis_server(port: int, folder: Path) -> Iterator[RedisServer]:
    """Run a Redis on this port, and end it afterwards."""
    server = RedisServer(port, folder)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
