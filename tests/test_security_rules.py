"""What tools that look for insecure code say of ours: nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ["app", "handlers", "stores", "schemas", "bin", "clients/python"]
INSECURE = "import pickle\n\npickle.loads(b'')\n"


def bandit(*paths: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_bandit() -> None:
    """Bandit finds nothing but what pyproject.toml skips, and says why."""
    done = bandit(*SOURCES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bandit_finds(tmp_path: Path) -> None:
    """Its configuration lets it find something."""
    (tmp_path / "insecure.py").write_text(INSECURE)
    assert bandit(str(tmp_path)).returncode == 1


@pytest.mark.parametrize("folder", ["app", "handlers", "stores", "schemas"])
def test_ruff(folder: str) -> None:
    """Ruff's security rules are on for all that is served."""
    command = [sys.executable, "-m", "ruff", "check", "--show-settings", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "suspicious-pickle-usage (S301)" in done.stdout
