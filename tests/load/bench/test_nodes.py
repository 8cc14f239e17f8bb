"""What it costs to talk across nodes: the table, and a short run against nodes and a Redis of its own."""

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

from tests.load.bench import nodes as bench_nodes
from tests.load.bench.nodes import CAPABILITIES, Bed, Row, table
from tests.load.bench.report import Figures, Plan, Report
from tests.support.redis import REDIS_SERVER
from tests.support.server import PATH

PATIENCE = 120
OPTIONS = ("--pairs", "2", "--window", "2", "--seconds", "0.3", "--rounds", "1")
ALONE = Row("plain", "one node", nodes=20, redis=0, publishes=0, p50=0.5, p99=1.25)
APART = Row("plain", "two nodes", nodes=25, redis=4.96, publishes=120.4, p50=None, p99=12)


PLAN = Plan("ws://first", pairs=2, window=2, size=100, seconds=1, ramp=1, rounds=1)


class Worker:
    """A node that has worked a second more each time that it is asked, or a Redis that has worked and published."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.publishes = 500

    def sample(self, _at: float) -> SimpleNamespace:
        self.seconds += 1
        return SimpleNamespace(cpu=self.seconds)

    async def info(self, section: str) -> dict[str, Any]:
        if section == "cpu":
            self.seconds += 2
            return {"used_cpu_user": self.seconds / 2, "used_cpu_sys": self.seconds / 2}
        self.publishes += 300
        return {"cmdstat_publish": {"calls": self.publishes}}


async def measure(monkeypatch: pytest.MonkeyPatch, where: str, errors: int = 0) -> Row:
    """Measure a run of 1,000 messages, before and after which, and three times within, is looked how far all are."""

    class Bench:
        trouble = "the server said no"

        def __init__(self, plan: Plan, tokens: object, meter: Callable[[], Awaitable[float]]) -> None:
            all_of = Figures(1000, 1000, 0.5, 0.75, 1.25, 2, 3, None, errors)
            self.report = Report(plan, 4, [all_of], all_of)
            self._meter = meter

        async def run(self) -> None:
            for _ in range(5):
                await self._meter()

    monkeypatch.setattr(bench_nodes, "Bench", Bench)
    monkeypatch.setattr(bench_nodes, "_tokens", lambda *_: ())
    bed = cast("Bed", SimpleNamespace(alone=Worker(10), nodes=(Worker(20), Worker(30)), redis=Worker(40)))
    return await bench_nodes._measure("plain", where, PLAN, bed, Path())


async def test_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What those that take part did between the first look and the last, by message; a node alone has no Redis."""
    assert await measure(monkeypatch, "two nodes") == Row("plain", "two nodes", 8000, 8000, 1200, 0.5, 1.25)
    assert await measure(monkeypatch, "one node") == Row("plain", "one node", 4000, 0, 0, 0.5, 1.25)


async def test_a_run_with_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures would mean nothing: it is told what went wrong."""
    with pytest.raises(click.ClickException, match="the server said no"):
        await measure(monkeypatch, "two nodes", errors=1)


def test_the_median_of_rounds() -> None:
    """It is a row as it was measured, by what a message costs in all."""
    rows = [Row("plain", "two nodes", nodes, 10 - nodes / 2, 0, 1, 1) for nodes in (3, 1, 7, 2, 4)]
    assert bench_nodes._median(rows) == rows[0]


def run(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    command = [sys.executable, "-m", "tests.load", "bench-nodes", *options]
    environment = {**os.environ, "PYTHONPATH": PATH, **environment}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_table() -> None:
    """A line for each row, in columns, each against one node alone; of what was not measured a dash."""
    assert table([ALONE, APART]).splitlines() == [
        "           where  nodes us  redis us  all us  against one node  publishes/1000  p50 ms  p99 ms",
        "plain   one node      20.0       0.0    20.0              1.00               0    0.50    1.25",
        "plain  two nodes      25.0       5.0    30.0              1.50             120       -   12.00",
    ]


def test_ratios_are_to_the_same_talk() -> None:
    """What speaks `resume` is held against what speaks it over one node."""
    rows = [Row("dear", "one node", 40, 0, 0, 1, 1), ALONE, Row("dear", "two nodes", 50, 10, 0, 1, 1), APART]
    assert [line.split()[-4] for line in table(rows).splitlines()[1:]] == ["1.00", "1.00", "1.50", "1.50"]


@pytest.mark.skipif(REDIS_SERVER is None and "CI" not in os.environ, reason="redis-server was not found")
def test_run() -> None:
    """All is measured once, and told as a table."""
    done = run(*OPTIONS)
    assert done.returncode == 0, done.stderr
    title, *lines = done.stdout.splitlines()
    assert title.split()[:3] == ["where", "nodes", "us"]
    places = ("one node", "one of two", "two nodes")
    expected = [(what, where) for what in CAPABILITIES for where in places]
    assert len(lines) == len(expected)
    for line, (what, where) in zip(lines, expected, strict=True):
        name, _, figures = line.strip().partition(f"  {where} ")
        nodes, redis, both, ratio, publishes, p50, p99 = map(float, figures.split())
        assert name.strip() == what
        assert nodes > 0
        assert both == pytest.approx(nodes + redis, abs=0.2)
        assert (ratio == 1) if where == "one node" else ratio > 0
        assert (publishes > 0) == (where == "two nodes")
        assert (redis > 1) == (where == "two nodes" or (what, where) == ("resume and acks", "one of two"))
        assert 0 < p50 <= p99


def test_without_a_redis(tmp_path: Path) -> None:
    """It says what is missing."""
    done = run(*OPTIONS, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: redis-server: not found. Install Redis")
