"""The server that is soaked: a process of its own, and what can be seen of it from outside."""

import http
import http.client
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import click
import msgspec
from anyio.abc import Process
from msgspec import Struct
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from tests.load.soak.report import Sample

START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
HTTP_SECONDS = 10.0
PREFIX = "peersync_"
ROOT = Path(__file__).resolve().parents[3]


class LogLine(Struct, frozen=True):
    """A line of the server's log."""

    level: str = ""


class Server:
    """A server on this machine that runs until the context of `serving` ends."""

    def __init__(self, process: Process, port: int, log: Path) -> None:
        self._process = process
        self._port = port
        self._log = log
        self._collector = ProcessCollector(pid=lambda: process.pid, registry=None)

    @property
    def url(self) -> str:
        """Where the socket is."""
        return f"ws://127.0.0.1:{self._port}/ws"

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def sample(self, at: float) -> Sample | None:
        """Return what the system says of the process; None if it is gone, or the system has no `/proc`."""
        told = {family.name: family.samples[0].value for family in self._collector.collect()}
        try:
            return Sample(
                at,
                rss=told["process_resident_memory_bytes"],
                cpu=told["process_cpu_seconds"],
                files=int(told["process_open_fds"]),
            )
        except KeyError:
            return None

    async def gauges(self) -> dict[str, float]:
        """Return what the server holds now, by its own metrics; raises `OSError` if it does not answer."""
        text = await anyio.to_thread.run_sync(self._get, "/metrics")
        families = [family for family in text_string_to_metric_families(text) if family.type == "gauge"]
        samples = [sample for family in families for sample in family.samples if sample.name.startswith(PREFIX)]
        return {
            " ".join((sample.name.removeprefix(PREFIX), *sample.labels.values())): sample.value for sample in samples
        }

    def errors(self) -> list[str]:
        """Return the lines of the log that are errors, or no log lines at all."""
        return [line for line in self._log.read_text(encoding="utf-8").splitlines() if _is_error(line)]

    def stop_summary(self) -> str:
        """Return the last line of the log."""
        return (self._log.read_text(encoding="utf-8").splitlines() or ["without a word"])[-1]

    async def started(self) -> None:
        """Return once it takes sockets; raises `click.ClickException` if it ends before, or takes too long."""
        with anyio.move_on_after(START_SECONDS):
            while self._process.returncode is None:
                try:
                    await anyio.to_thread.run_sync(self._get, "/health/ready")
                except OSError:
                    await anyio.sleep(POLL_SECONDS)
                else:
                    return
        raise click.ClickException(f"the server did not start: {self.stop_summary()}")

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HTTP_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise ConnectionError(f"{path} answers {response.status}")
            return response.read().decode()
        finally:
            connection.close()


@asynccontextmanager
async def serving(folder: Path, environment: dict[str, str]) -> AsyncIterator[Server]:
    """Run a server in this environment on a port of its own, logging as JSON into the folder; end it afterwards."""
    port = free_port()
    place = {"PORT": str(port), "HOST": "127.0.0.1", "LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app", "serve"]
    with (folder / "server.log").open("wb") as out:
        process = await anyio.open_process(
            command,
            cwd=folder,
            env={**environment, **place},
            stdin=None,
            stdout=out,
            stderr=out,
            start_new_session=True,  # so that an interrupt from the keyboard is ours alone
        )
    server = Server(process, port, folder / "server.log")
    try:
        await server.started()
        yield server
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.terminate()
        with anyio.move_on_after(STOP_SECONDS):
            await process.wait()
            return
        process.kill()
        await process.wait()


def _is_error(line: str) -> bool:
    try:
        return msgspec.json.decode(line, type=LogLine).level in {"error", "critical"}
    except msgspec.MsgspecError:
        return bool(line.strip())


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
