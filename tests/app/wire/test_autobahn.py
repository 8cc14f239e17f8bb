"""The Autobahn cases against our WebSocket protocol (RFC 6455), compression left out since we do not negotiate it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.server import ROOT, free_port

CASES = 301
STRICTLY_OK = 298


@pytest.fixture
def echo_url() -> Iterator[str]:
    """Run an echo server."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.support.echo", str(port)], cwd=ROOT)
    try:
        _await_http(port)
        yield f"ws://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


def test_autobahn(echo_url: str, tmp_path: Path) -> None:
    """No case fails, and all but the three informational ones are strictly OK."""
    kosoku = Path(sys.executable).with_name("kosoku")
    command = [str(kosoku), "-x", "12.*", "-x", "13.*", "-p", "2", "-o", str(tmp_path), echo_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    results = next(iter(json.loads((tmp_path / "index.json").read_text()).values()))
    failed = {case: each for case, each in results.items() if "FAILED" in {each["behavior"], each["behaviorClose"]}}
    ok = [case for case, each in results.items() if (each["behavior"], each["behaviorClose"]) == ("OK", "OK")]
    assert not failed, done.stdout[-2000:]
    assert (len(results), len(ok)) == (CASES, STRICTLY_OK)


def _await_http(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/")
        except httpx2.TransportError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the echo server did not start")
