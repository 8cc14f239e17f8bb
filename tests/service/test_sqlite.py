"""A server that keeps what it knows in a file: killed, cut off from power, and started anew (docs/deploy.md)."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import anyio
import pytest

from tests.cluster.talker import Talker, talking
from tests.support.server import PATH, Server, free_port, started
from tests.support.tokens import Keys

BACK_SECONDS = 5.0
TALKING_SECONDS = 20.0
SOME = 50
CUTS = 10


class Home:
    """A server that is started again and again, on one port and one file."""

    def __init__(self, keys: Keys, folder: Path, running: ExitStack, query: str = "") -> None:
        self.file = folder / "data" / "peersync.db"
        self._keys = keys
        self._folder = folder
        self._running = running
        self._query = query
        self._port = free_port()
        self.server = self.start()

    def start(self) -> Server:
        """Start it."""
        url = f"sqlite:///{self.file}{self._query}"
        settings = {
            "port": self._port,
            "store_url": url,
            "rate_limit_events_per_second": 10**6,
            "rate_limit_burst": 10**6,
        }
        self.server = self._running.enter_context(started(self._keys, self._folder, settings))
        self.server.await_start()
        return self.server

    def kill(self) -> None:
        """End it by `kill -9`."""
        self.server.process.kill()
        self.server.process.wait()

    def cut_power(self) -> None:
        """End it, with that on the disk which is there while it stands still in the middle of something."""
        self.server.process.send_signal(signal.SIGSTOP)
        names = [name for name in (self.file, Path(f"{self.file}-wal")) if name.exists()]
        for name in names:
            shutil.copy(name, f"{name}.copy")
        self.kill()
        for name in self.file.parent.iterdir():
            if not name.name.endswith(".copy"):
                name.unlink()
        for name in names:
            Path(f"{name}.copy").rename(name)


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def _break(home: Home, breaking: str, times: int) -> None:
    """Have ann and bob talk both ways while the server goes again and again; then nothing is lost, and all in order."""
    ann, bob = Talker("ann", [home.server]), Talker("bob", [home.server])
    async with talking(ann, bob):
        said = {"ann": 0, "bob": 0}
        is_over = anyio.Event()

        async def talk(who: Talker, name: str) -> None:
            while not is_over.is_set():
                await who.say([said[name]])
                said[name] += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk, ann, "ann")
            tasks.start_soon(talk, bob, "bob")
            for _ in range(times):
                before = dict(said)
                with anyio.fail_after(TALKING_SECONDS):
                    while any(said[name] < before[name] + SOME for name in said):  # noqa: ASYNC110 - they talk meanwhile
                        await anyio.sleep(0.01)
                await anyio.sleep(random.uniform(0, 0.5))
                getattr(home, breaking)()
                with anyio.fail_after(BACK_SECONDS):
                    await anyio.to_thread.run_sync(home.start)
            is_over.set()
        for who, other in ((ann, "bob"), (bob, "ann")):
            assert await who.has_heard(said[other]) == list(range(said[other]))
            assert (who.starts, who.over) == (1, [])


async def test_killed(keys: Keys, tmp_path: Path, running: ExitStack) -> None:
    """By `kill -9` under load nothing is lost, nothing comes twice or out of order, and nobody starts over."""
    await _break(Home(keys, tmp_path, running), "kill", 1)


@pytest.mark.long
async def test_killed_again_and_again(keys: Keys, tmp_path: Path, running: ExitStack) -> None:
    """Nor by 30 of them."""
    await _break(Home(keys, tmp_path, running), "kill", 30)


async def test_power_cut(keys: Keys, tmp_path: Path, running: ExitStack) -> None:
    """What was written by any moment is enough. That `sync=full` has it on the disk by then is for SQLite to see to."""
    await _break(Home(keys, tmp_path, running, "?sync=full"), "cut_power", 1)


@pytest.mark.long
async def test_power_cut_again_and_again(keys: Keys, tmp_path: Path, running: ExitStack) -> None:
    """At any of ten moments."""
    await _break(Home(keys, tmp_path, running, "?sync=full"), "cut_power", CUTS)


async def test_a_full_disk(keys: Keys, tmp_path: Path, running: ExitStack) -> None:
    """Meanwhile the server is unready and acknowledges nothing; then it goes on, and nothing is lost."""
    home = Home(keys, tmp_path, running)
    process = home.server.process.pid
    ann, bob = Talker("ann", [home.server]), Talker("bob", [home.server])
    async with talking(ann, bob):
        await ann.say(range(10))
        resource.prlimit(process, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ann.say, range(10, 20))
            await _answers(home.server, 503)
            assert "cannot be written to" in home.server.get("/health/ready").text
            assert len(bob.heard) == 10
            assert home.server.is_alive()
            resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await _answers(home.server, 200)
        assert await bob.has_heard(20) == list(range(20))
        assert (ann.starts, bob.starts, ann.over) == (1, 1, [])


async def _answers(server: Server, status: int) -> None:
    with anyio.fail_after(10):
        while server.get("/health/ready").status_code != status:  # noqa: ASYNC110 - a process brings it about
            await anyio.sleep(0.1)


def test_one_line_for_each_trouble(keys: Keys, tmp_path: Path, running: ExitStack) -> None:
    """A second process, and a damaged file, stop with one line and the exit code 1."""
    home = Home(keys, tmp_path, running)
    assert "is used by another process" in _refused(home, keys)
    home.kill()
    Path(f"{home.file}-wal").unlink(missing_ok=True)
    home.file.write_bytes(b"damaged" * 1000)
    for options in ((), ("--reload",)):
        assert "is damaged" in _refused(home, keys, *options)
    home.file.unlink()
    with closing(sqlite3.connect(home.file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "newer server" in _refused(home, keys)


def test_reload(keys: Keys, tmp_path: Path) -> None:
    """The process that watches the sources looks into the file, and leaves it to the one that serves."""
    port = free_port()
    own = {"STORE_URL": f"sqlite:///{tmp_path}/peersync.db", "PORT": str(port), "HOST": "127.0.0.1", "PYTHONPATH": PATH}
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--reload"],
            env={**os.environ, **keys.environment(), **own},
            cwd=tmp_path,
            stdout=out,
            stderr=out,
        )
    try:
        Server(process, port, keys, log).await_start()
    finally:
        process.terminate()
        process.wait(20)


def _refused(home: Home, keys: Keys, *options: str) -> str:
    """Return the one line that a server with the same file ends with."""
    own = {"STORE_URL": f"sqlite:///{home.file}", "PORT": str(free_port()), "HOST": "127.0.0.1", "PYTHONPATH": PATH}
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve", *options],
        env={**os.environ, **keys.environment(), **own},
        cwd=home.file.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line
