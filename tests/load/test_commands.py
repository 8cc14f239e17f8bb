"""The load tools, as a person starts them."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.load.commands import main
from tests.support.server import PATH


@pytest.mark.parametrize("name", ["bench", "bench-nodes", "soak"])
def test_without_their_requirements(name: str) -> None:
    """It is one line, which says what to install."""
    program = f"import sys; sys.modules['picows'] = None; from tests.load.commands import main; main(['{name}'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: picows was not found; install requirements/bench.txt, as bin/{name} does\n"


def test_commands() -> None:
    """Each has a script in bin/, and says what it does."""
    done = CliRunner().invoke(main, ["--help"])
    listed = [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()]
    assert listed == ["bench", "bench-nodes", "soak"]
