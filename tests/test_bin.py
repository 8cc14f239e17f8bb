"""What bin/test says of tests that fail: all of them at the end, also of those that pass when they are tried again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

HEAD = "Failed at the first try:"
STEADY = """
def test_steady():
    assert 1
"""
FLAKY = """
from pathlib import Path
def test_flaky():
    seen = Path("seen")
    was_seen, _ = seen.exists(), seen.touch()
    assert was_seen
"""
BROKEN = """
def test_broken():
    assert 0
"""
PYTHON = f"""#!/bin/sh
# Stands in for what bin/test calls: of linters, types and coverage only pytest is run.
case "$3 $5" in
  "run pytest") shift 5; exec "{sys.executable}" -m pytest -p xdist.plugin "$@" -n 0 ;;
  report*) echo TOTAL ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that bin/test is run in."""
    for name, text in (
        ("bin/_setup", "#!/bin/sh\n"),
        ("bin/_setup_node", "#!/bin/sh\n"),
        ("venv/bin/python", PYTHON),
        ("venv/bin/lint-imports", "#!/bin/sh\n"),
        ("test_steady.py", STEADY),
        ("pytest.ini", "[pytest]\naddopts = -q\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / "bin" / "test", tmp_path / "bin")
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run bin/test; return its exit code and the lines of its output."""
    environment = {**os.environ, "VENV": str(project / "venv"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [project / "bin" / "test", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_none(project: Path) -> None:
    code, lines = run(project)
    assert (code, lines[-2:]) == (0, ["TOTAL", f"{HEAD} none"])


def test_passed_when_tried_again(project: Path) -> None:
    (project / "test_flaky.py").write_text(FLAKY)
    code, lines = run(project)
    assert (code, lines[-3:]) == (0, ["TOTAL", HEAD, "  test_flaky.py::test_flaky"])


def test_failed_twice(project: Path) -> None:
    """What failed on another day and is not asked for is not listed."""
    stale = project / ".pytest_cache" / "v" / "cache" / "lastfailed"
    stale.parent.mkdir(parents=True)
    stale.write_text('{\n  "test_steady.py::test_steady": true\n}')
    (project / "test_flaky.py").write_text(FLAKY)
    (project / "test_broken.py").write_text(BROKEN)
    code, lines = run(project, "test_broken.py", "test_flaky.py")
    assert (code, lines[-3:]) == (1, [HEAD, "  test_broken.py::test_broken", "  test_flaky.py::test_flaky"])


def test_no_test_was_run(project: Path) -> None:
    """An option that pytest does not know is an error, and is not called a pass."""
    code, lines = run(project, "--unknown")
    assert code != 0
    assert lines[-1].startswith(f"{HEAD} unknown")
