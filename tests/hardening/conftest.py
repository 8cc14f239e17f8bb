"""Proof by numbers: a tenth of each count by default, all of it with `--full` (`bin/hardening --full`)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROWS = pytest.StashKey[list[str]]()

Scale = Callable[[int], int]
Report = Callable[[str, int, str], None]


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Scale:
    """What to make of a count: all of it, or a tenth."""
    is_full = request.config.getoption("--full")
    return lambda count: count if is_full else count // 10


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Take a row of the table: what, how many tried, what happened."""
    rows = request.config.stash.setdefault(ROWS, [])

    def add(what: str, count: int, outcome: str) -> None:
        path = request.path.relative_to(Path.cwd()) if request.path.is_relative_to(Path.cwd()) else request.path
        rows.append(f"| {what} | {count:,} | {outcome} | `bin/hardening --full {path}` |")

    return add


@pytest.fixture(autouse=True)
def _untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure servers as they are, without coverage, which makes them slower and larger."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _show(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Print the rows that a test adds, whether it passes or not."""
    rows = request.config.stash.setdefault(ROWS, [])
    before = len(rows)
    yield
    if request.config.getoption("--full"):
        with capsys.disabled():
            request.config.get_terminal_writer().write("".join(f"\n{row}\n" for row in rows[before:]))
