"""A load run against a server of the protocol: it connects, warms up, measures, and reports."""

import gc
import ipaddress
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLContext
from time import perf_counter
from urllib.parse import urlsplit

import anyio
import click
import httpx2
from anyio import CancelScope
from anyio.lowlevel import checkpoint
from picows import WSError
from prometheus_client.parser import text_string_to_metric_families

from tests.load.bench.latency import Histogram
from tests.load.bench.peers import Load, Pair
from tests.load.bench.report import Figures, Plan, Report, as_json, closing, figures, plot, progress_line, table

WARM_UP_SECONDS = 1.0
DRAIN_SECONDS = 5.0
LEAVE_SECONDS = 5.0
METRICS_AGE_SECONDS = 1.0
METRICS_SECONDS = 2.0
PAIRS_AT_ONCE = 100  # that connect; a server limits how many sockets wait for authentication
PAIRS_BETWEEN_BREATHS = 50
SOCKETS_PER_ADDRESS = 20_000  # a system has some 28,000 ports for connections from one address to one other
SPARE_FILES = 64

Meter = Callable[[], Awaitable[float | None]]
"""Returns for how many seconds what is measured has worked on a processor so far; None if that is not known."""


def run(
    plan: Plan,
    make_tokens: Callable[[], Sequence[str]],
    *,
    json: bool,
    picture: Path | None,
    tls: SSLContext | None = None,
) -> None:
    """Carry out the plan and print the report. Raises `click.ClickException` if anything went wrong."""
    _allow_files(2 * plan.pairs + SPARE_FILES)
    logging.getLogger("picows").addHandler(logging.NullHandler())  # what goes wrong is told in our words
    bench = anyio.run(_run, plan, make_tokens(), tls, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    report = bench.report
    click.echo(as_json(report) if json else table(report))
    if picture is not None:
        title = f"{plan.pairs} pairs, {plan.window} messages of {plan.size} bytes in flight in each"
        picture.write_bytes(plot(title, bench.series))
    if report.all.errors:
        raise click.ClickException(bench.trouble)


def host_of(url: str) -> str:
    """Return the host of a URL. Raises `click.ClickException` if it is not the URL of a WebSocket."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise click.ClickException(
            f"--url is {url!r}; it must be ws://HOST:PORT/PATH or wss://HOST:PORT/PATH ({error})"
        ) from None
    if parts.scheme not in {"ws", "wss"} or not host:
        raise click.ClickException(f"--url is {url!r}; it must be ws://HOST:PORT/PATH or wss://HOST:PORT/PATH")
    return host


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine for certain."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def source_address(host: str, pair: int) -> tuple[str, int] | None:
    """Return the address a pair connects from, since one has too few ports; None leaves it to the system."""
    block = 2 * pair // SOCKETS_PER_ADDRESS
    if not block or sys.platform != "linux" or not host.startswith(("127.", "localhost")):
        return None
    return f"127.0.0.{1 + block}", 0


class Bench:
    """One run; its results are there once `run` has returned."""

    def __init__(
        self, plan: Plan, tokens: Sequence[str], tls: SSLContext | None = None, meter: Meter | None = None
    ) -> None:
        self._plan = plan
        self._meter = meter or partial(cpu_seconds, plan.urls, tls)
        self._least_seconds = 0.0 if meter else METRICS_AGE_SECONDS
        self._tokens = tokens
        self._scope = CancelScope()
        self._load = Load(plan, self._scope.cancel, tls)
        self._pairs = [Pair(self._load) for _ in range(plan.pairs)]
        self._limit = anyio.Semaphore(PAIRS_AT_ONCE)
        self._connects_per_second = 0.0
        self._rounds: list[Figures] = []
        self._total: Figures | None = None
        self.series: list[tuple[str, Histogram]] = []

    @property
    def report(self) -> Report:
        """What was measured. Raises `click.ClickException` if the run was aborted."""
        if self._total is None:
            raise click.ClickException(self._load.failure or "the run ended early")
        return Report(self._plan, self._connects_per_second, self._rounds, self._total)

    @property
    def trouble(self) -> str:
        """What went wrong in a run that was completed."""
        load = self._load
        parts = [closing(load.closed)] if load.closed else []
        if load.in_flight:
            parts.append(f"{load.in_flight} messages did not arrive within {DRAIN_SECONDS:.0f} seconds")
        return "; ".join(parts)

    async def run(self) -> None:
        """Connect, measure and leave."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._show_progress)
                    await self._connect()
                    await self._measure()
                    group.cancel_scope.cancel()
        finally:
            self._load.is_leaving = True
            with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                async with anyio.create_task_group() as group:
                    for pair in self._pairs:
                        group.start_soon(pair.leave)

    async def _connect(self) -> None:
        begin = perf_counter()
        async with anyio.create_task_group() as group:
            for number, pair in enumerate(self._pairs):
                due = begin + self._plan.ramp * number / self._plan.pairs
                await anyio.sleep(max(0.0, due - perf_counter()))
                await self._limit.acquire()
                group.start_soon(self._connect_pair, number, pair)
        self._connects_per_second = 2 * self._plan.pairs / (perf_counter() - begin)

    async def _connect_pair(self, number: int, pair: Pair) -> None:
        urls = self._plan.urls
        tokens = self._tokens[2 * number], self._tokens[2 * number + 1]
        try:
            await pair.connect(urls, tokens, source_address(host_of(urls[0]), number))
        except (OSError, WSError) as error:
            self._load.fail(f"cannot connect to {' or '.join(urls)}: {described(error)}")
        finally:
            self._limit.release()

    async def _measure(self) -> None:
        load, plan = self._load, self._plan
        gc.collect()
        gc.freeze()
        gc.disable()  # a pause of ours would count as the server's, and nothing here is in reference cycles
        load.has_begun = load.is_sending = True
        for number, pair in enumerate(self._pairs):
            pair.fill()
            if number % PAIRS_BETWEEN_BREATHS == 0:
                await checkpoint()
        await anyio.sleep(min(WARM_UP_SECONDS, plan.seconds))
        first, begin, worked = load.latencies.copy(), perf_counter(), await self._meter()
        for number in range(plan.rounds):
            await self._measure_round(str(number + 1) if plan.rounds > 1 else "all")
        everything, seconds = load.latencies.since(first), perf_counter() - begin
        cpu = self._worked(worked, await self._meter(), seconds)
        await self._drain()
        self._total = figures(everything, seconds, load.closed.total() + load.in_flight, cpu)
        if plan.rounds > 1:
            self.series.append(("all", everything))

    async def _measure_round(self, name: str) -> None:
        load = self._load
        worked = await self._meter()
        before, closed_before, begin = load.latencies.copy(), load.closed.total(), perf_counter()
        await anyio.sleep(self._plan.seconds)
        latencies, seconds = load.latencies.since(before), perf_counter() - begin
        cpu = self._worked(worked, await self._meter(), seconds)
        self._rounds.append(figures(latencies, seconds, load.closed.total() - closed_before, cpu))
        self.series.append((name, latencies))

    def _worked(self, before: float | None, after: float | None, seconds: float) -> float | None:
        """Return the difference; None if it is not known, as over a time that is too short for the meter."""
        return None if before is None or after is None or seconds < self._least_seconds else after - before

    async def _drain(self) -> None:
        """Wait for messages in flight, so that lost ones can be counted."""
        self._load.is_sending = False
        if self._load.in_flight:
            with anyio.move_on_after(DRAIN_SECONDS):
                await self._load.has_drained.wait()

    async def _show_progress(self) -> None:
        """Print the progress every second: on one line of a terminal, otherwise a line each."""
        is_terminal = sys.stderr.isatty()
        before, begin = self._load.latencies.copy(), perf_counter()
        try:
            while True:
                await anyio.sleep(1)
                now, end = self._load.latencies.copy(), perf_counter()
                line = progress_line(self._load.connected, 2 * self._plan.pairs, now.since(before), end - begin)
                before, begin = now, end
                click.echo(f"\r\x1b[K{line}" if is_terminal else line, nl=not is_terminal, err=True)
        finally:
            if is_terminal:
                click.echo("\r\x1b[K", nl=False, err=True)


def described(error: Exception) -> str:
    """Return what went wrong, for a person."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is bin/serve running?"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


async def cpu_seconds(urls: Sequence[str], tls: SSLContext | None = None) -> float | None:
    """Return how long these servers have worked on a processor, by their metrics; None if one does not tell."""
    told = [await _cpu_seconds(url, tls) for url in urls]
    return None if None in told else sum(filter(None, told))


async def _cpu_seconds(url: str, tls: SSLContext | None) -> float | None:
    parts = urlsplit(url)
    metrics = parts._replace(scheme="https" if parts.scheme == "wss" else "http", path="/metrics").geturl()
    try:
        async with httpx2.AsyncClient(timeout=METRICS_SECONDS, verify=tls or True) as client:
            text = (await client.get(metrics)).raise_for_status().text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return float(families["process_cpu_seconds"].samples[0].value)
    except (httpx2.HTTPError, KeyError, ValueError):
        return None


async def _run(plan: Plan, tokens: Sequence[str], tls: SSLContext | None) -> Bench:
    bench = Bench(plan, tokens, tls)
    await bench.run()
    return bench


def _allow_files(needed: int) -> None:
    """Raise the limit of open files as far as needed; raises `click.ClickException` if that is not allowed."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise click.ClickException(
            f"--pairs needs {needed} open files, but {hard} are allowed; raise the limit (ulimit -Hn) or use fewer"
        ) from None
