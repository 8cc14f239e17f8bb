"""REST by its own contract: schemathesis asks whatever the OpenAPI document lets it think of."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.auth.tokens import sign
from app.rest.admin import SCOPE
from tests.support.server import serving
from tests.support.tokens import Keys

FULL = 500
UNKNOWN_TO_THE_DOCUMENT = "positive_data_acceptance"
"""What fits its schema may still be refused with 400: which fields go together a schema here does not say."""


@pytest.mark.parametrize("admin", ["off", "on"])
def test_rest(
    admin: str, keys: Keys, tmp_path: Path, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """No answer is 5xx, and none is of a status, type or shape that the document does not tell of."""
    operator = sign(keys.key, {**keys.claims("operator"), "scope": SCOPE})
    authorization = ["--header", f"Authorization: Bearer {operator}"] if admin == "on" else []
    with serving(keys, tmp_path, admin=admin) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.http}/openapi.json", "--no-color"),
                *("--seed", "1", "--max-examples", str(scale(FULL)), "--phases", "examples,coverage,fuzzing"),
                *("--exclude-checks", UNKNOWN_TO_THE_DOCUMENT, "--suppress-health-check", "all", *authorization),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert server.is_alive()
        assert "Traceback" not in server.log.read_text()
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases, done.stdout
    assert int(cases[1]) > scale(FULL)
    report(
        f"REST from the OpenAPI document, ADMIN={admin}",
        int(cases[1]),
        "0 answers of 5xx, 0 undocumented" if not done.returncode else "see the log",
    )
    assert done.returncode == 0, done.stdout
