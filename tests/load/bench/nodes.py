"""What it costs to talk across nodes: two nodes and a Redis of its own on this machine, against one node alone.

Each round measures all of it in turn, so that what slows the machine down slows all alike.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import anyio
import click
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.auth.keys import make_keys
from app.settings import read_settings
from tests.load.bench.report import Plan
from tests.load.bench.run import Bench
from tests.load.bench.tokens import make_tokens
from tests.load.soak.server import Server, free_port, serving

SETTINGS = {"LOG_LEVEL": "warning", "RATE_LIMIT_EVENTS_PER_SECOND": "1000000", "AUTH_FAILURES_PER_MINUTE": "0"}
OWN = dict.fromkeys(("JWT_PUBLIC_KEY", "JWT_PRIVATE_KEY", "TLS_CERT_PATH", "TLS_KEY_PATH", "AUDIT_LOG"), "")
REDIS_SERVERS = ("redis-server", "valkey-server")
REDIS_SECONDS = 10.0
CAPABILITIES: dict[str, tuple[str, ...]] = {"plain": (), "resume and acks": ("resume", "acks")}
_COLUMNS = ("", "where", "nodes us", "redis us", "all us", "against one node", "publishes/1000", "p50 ms", "p99 ms")


class Reading(Struct, frozen=True):
    """What nodes and Redis have done so far: seconds on a processor, and publishes."""

    nodes: float
    redis: float
    publishes: int


class Row(Struct, frozen=True):
    """What was measured of one way to talk: microseconds a message, publishes a thousand messages, milliseconds."""

    what: str
    where: str
    nodes: float
    redis: float
    publishes: float
    p50: float | None
    p99: float | None

    @property
    def all(self) -> float:
        """What a message costs, nodes and Redis together."""
        return self.nodes + self.redis


class Bed(Struct, frozen=True):
    """What is measured: a node that is alone, two nodes, and their Redis, whose process is `redis_pid`."""

    alone: Server
    nodes: tuple[Server, Server]
    redis: "Redis"


def run(plan: Plan) -> None:
    """Measure, and print a table."""
    rows = anyio.run(_run, plan, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    click.echo(table(rows))


def table(rows: Sequence[Row]) -> str:
    """Return a line for each way to talk; the ratio is to the same over one node without Redis, of this run."""
    alone = {row.what: row.all for row in rows if row.where == "one node"}
    lines = [_COLUMNS, *(_line(row, row.all / alone[row.what]) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _line(row: Row, ratio: float) -> tuple[str, ...]:
    times = ("-" if each is None else f"{each:.2f}" for each in (row.p50, row.p99))
    costs = (f"{row.nodes:.1f}", f"{row.redis:.1f}", f"{row.all:.1f}", f"{ratio:.2f}", f"{row.publishes:.0f}")
    return row.what, row.where, *costs, *times


async def _run(plan: Plan) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with _bed(Path(name)) as bed:
            measured = [await _measure_all(plan, bed, Path(name)) for _ in range(plan.rounds)]
    return [_median(rows) for rows in zip(*measured, strict=True)]


async def _measure_all(plan: Plan, bed: Bed, folder: Path) -> list[Row]:
    first, second = (node.url for node in bed.nodes)
    places = {"one node": (bed.alone.url, None), "one of two": (first, None), "two nodes": (first, second)}
    rows = []
    for what, capabilities in CAPABILITIES.items():
        for where, (url, receivers_url) in places.items():
            click.echo(f"{what}, {where}", err=True)
            here = replace(plan, url=url, receivers_url=receivers_url, capabilities=capabilities, rounds=1)
            rows.append(await _measure(what, where, here, bed, folder))
    return rows


async def _measure(what: str, where: str, plan: Plan, bed: Bed, folder: Path) -> Row:
    readings: list[Reading] = []

    async def meter() -> float:
        readings.append(await _read(bed, is_alone=where == "one node"))
        return readings[-1].nodes + readings[-1].redis

    bench = Bench(plan, _tokens(folder, 2 * plan.pairs), meter=meter)
    await bench.run()
    whole, (begin, *_, end) = bench.report.all, readings
    if whole.errors:
        raise click.ClickException(bench.trouble)
    count = whole.messages or 1
    return Row(
        what,
        where,
        nodes=(end.nodes - begin.nodes) / count * 1e6,
        redis=(end.redis - begin.redis) / count * 1e6,
        publishes=(end.publishes - begin.publishes) / count * 1e3,
        p50=whole.p50,
        p99=whole.p99,
    )


async def _read(bed: Bed, *, is_alone: bool) -> Reading:
    """Return what those that are measured have done so far."""
    samples = [node.sample(0) for node in ((bed.alone,) if is_alone else bed.nodes)]
    nodes = sum(sample.cpu for sample in samples if sample is not None)
    if is_alone:
        return Reading(nodes, 0, 0)
    told = await bed.redis.info("cpu")
    commands = await bed.redis.info("commandstats")
    publish = commands.get("cmdstat_publish", {"calls": 0})
    return Reading(nodes, told["used_cpu_user"] + told["used_cpu_sys"], int(publish["calls"]))


def _median(rows: Sequence[Row]) -> Row:
    """Return the row of the median cost."""
    middle = median(row.all for row in rows)
    return min(rows, key=lambda row: abs(row.all - middle))


@asynccontextmanager
async def _bed(folder: Path) -> AsyncIterator[Bed]:
    """Run everything; raises `click.ClickException` if there is no Redis to be had."""
    keys = {"JWT_PRIVATE_KEY_PATH": str(folder / "private.pem"), "JWT_PUBLIC_KEY_PATH": str(folder / "public.pem")}
    make_keys(folder / "private.pem", folder / "public.pem")
    environment = {**os.environ, **SETTINGS, **keys, **OWN}
    click.echo("Starting a Redis and three nodes", err=True)
    async with AsyncExitStack() as running:
        redis = await running.enter_async_context(_redis(folder))
        urls = ["memory://", *[f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"] * 2]
        servers = []
        for number, url in enumerate(urls):
            place = folder / str(number)
            place.mkdir()
            servers.append(await running.enter_async_context(serving(place, {**environment, "STORE_URL": url})))
        yield Bed(servers[0], (servers[1], servers[2]), redis)


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator["Redis"]:
    """Run a Redis that writes nothing to disk, on a port of its own."""
    command = next(filter(None, map(shutil.which, REDIS_SERVERS)), None)
    if command is None:
        raise click.ClickException("redis-server: not found. Install Redis; on Debian: apt-get install redis-server")
    port = free_port()
    words = [command, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = await anyio.open_process(
        words, cwd=folder, stdin=None, stdout=subprocess.DEVNULL, stderr=None, start_new_session=True
    )
    redis = Redis(host="127.0.0.1", port=port)
    try:
        await _answers(redis)
        yield redis
    finally:
        with anyio.CancelScope(shield=True):
            await redis.aclose()
            process.kill()
            await process.wait()


async def _answers(redis: "Redis") -> None:
    with anyio.move_on_after(REDIS_SECONDS):
        while True:
            try:
                await redis.ping()
            except RedisError:
                await anyio.sleep(0.05)
            else:
                return
    raise click.ClickException("redis-server was started, but does not answer")


def _tokens(folder: Path, count: int) -> list[str]:
    return make_tokens(read_settings({"JWT_PRIVATE_KEY_PATH": str(folder / "private.pem")}, None), count)
