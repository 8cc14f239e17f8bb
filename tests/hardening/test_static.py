"""What looks insecure in the code, by bandit; ruff's rules of the kind (S) are checked with all others of its rules."""

import json
import re
import subprocess
import sys
from collections.abc import Callable

from tests.support.server import ROOT

FOLDERS = ("app", "handlers", "stores", "schemas", "bin")


def test_bandit(report: Callable[[str, int, str], None]) -> None:
    """Nothing is found, but for lines that say why not."""
    command = [sys.executable, "-m", "bandit", "--quiet", "--format", "json", "--recursive", *FOLDERS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    totals = found["metrics"]["_totals"]
    report("bandit: lines of code", totals["loc"], f"0 findings; {totals['skipped_tests']} skipped, each with a reason")
    assert totals["loc"] > 10_000
    assert (found["results"], found["errors"], done.returncode) == ([], [], 0)


def test_reasons() -> None:
    """Whoever skips a rule names it and says why, before it."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    lines = [line for path in paths for line in path.read_text().splitlines() if "# nosec" in line]
    assert lines
    assert [line for line in lines if not re.search(r"# .*\w{3}.*  # nosec B\d{3}$", line)] == []
