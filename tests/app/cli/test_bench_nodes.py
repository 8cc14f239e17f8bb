"""What it costs to talk across nodes: the table, and a short run against nodes and a Redis of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.bench_nodes import CAPABILITIES, Row, table
from tests.support.redis import REDIS_SERVER
from tests.support.server import PATH

PATIENCE = 120
OPTIONS = ("--pairs", "2", "--window", "2", "--seconds", "0.3", "--rounds", "1")
ALONE = Row("plain", "one node", nodes=20, redis=0, publishes=0, p50=0.5, p99=1.25)
APART = Row("plain", "two nodes", nodes=25, redis=4.96, publishes=120.4, p50=None, p99=12)


def run(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    command = [sys.executable, "-m", "app", "bench-nodes", *options]
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
        assert 0 < p50 <= p99


def test_without_a_redis(tmp_path: Path) -> None:
    """It says what is missing."""
    done = run(*OPTIONS, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: redis-server was not found")
