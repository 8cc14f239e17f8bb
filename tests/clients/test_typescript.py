"""The client in TypeScript: it compiles, its types hold, and its own tests pass against a server."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from app import VERSION
from tests.support.server import ROOT, Server, serving
from tests.support.tokens import Keys

CLIENT = ROOT / "clients/typescript"
README = (CLIENT / "README.md").read_text()
BUILT_IN_SINCE = 22  # Node's own WebSocket; before that it has to be asked for
PATIENCE = 120

pytestmark = pytest.mark.skipif(
    not (CLIENT / "node_modules").is_dir() and "CI" not in os.environ, reason="bin/_setup_node clients/typescript"
)


@pytest.fixture(scope="module")
def built() -> None:
    """The client as it is published: strict TypeScript, compiled."""
    shutil.rmtree(CLIENT / "dist", ignore_errors=True)
    compiled = run("node_modules/.bin/tsc")
    assert compiled.returncode == 0, compiled.stdout


@pytest.fixture(scope="module")
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with default settings."""
    with serving(keys, tmp_path_factory.mktemp("typescript")) as server:
        yield server


def test_types() -> None:
    """The types allow what they should, and nothing that they should not."""
    checked = run("node_modules/.bin/tsc", "--project", "tsconfig.test.json")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("file", sorted(path.name for path in CLIENT.glob("test/*.test.mjs")))
def test_under_node(file: str, server: Server, tmp_path: Path) -> None:
    """The tests that are written for Node pass, with its own WebSocket and that of `ws`."""
    tested = run(*node(), "--test", f"--test-timeout={PATIENCE * 500}", f"test/{file}", **around(server))
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"^# pass [1-9]", tested.stdout, re.MULTILINE), tested.stdout
    assert "\n# skipped 0\n" in tested.stdout


@pytest.mark.usefixtures("built")
async def test_program_of_the_readme(server: Server) -> None:
    """The program that the README begins with does what it says, run by two people."""
    with anyio.fail_after(PATIENCE):
        async with person("bob", "", server) as bob, person("ann", "bob", server) as ann:
            assert await anext(bob) == "ann: hello"
            assert await anext(ann) == "bob: hello"


@asynccontextmanager
async def person(name: str, other: str, server: Server) -> AsyncIterator[AsyncIterator[str]]:
    """Run the program as somebody, from when it is connected; give the lines that it prints."""
    program = re.findall(r"```js\n(.*?)\n```", README, re.DOTALL)[0]
    command = [*node(), "--input-type=module", "--eval", program]
    environment = {**around(server), "PEERSYNC_TOKEN": server.keys.token(name), "PEERSYNC_PEER": other}
    async with await anyio.open_process(command, cwd=CLIENT, env=environment, stderr=None) as process:
        assert process.stdout is not None
        printed = lines(TextReceiveStream(process.stdout))
        assert await anext(printed) == f"connected as {name}"
        yield printed
        process.kill()


async def lines(stream: TextReceiveStream) -> AsyncIterator[str]:
    """Give what comes line by line."""
    text = ""
    async for chunk in stream:
        *whole, text = (text + chunk).split("\n")
        for line in whole:
            yield line


def test_package() -> None:
    """It has the server's version, depends on nothing at run time, and its lock file names no address."""
    package = json.loads((CLIENT / "package.json").read_text())
    assert package["version"] == VERSION
    assert "dependencies" not in package
    assert "://" not in (CLIENT / "package-lock.json").read_text()


def node() -> list[str]:
    """Return the command that runs Node, with a WebSocket built in."""
    version = run("node", "--version").stdout
    major = int(version.removeprefix("v").split(".")[0])
    return ["node"] if major >= BUILT_IN_SINCE else ["node", "--experimental-websocket"]


def around(server: Server) -> dict[str, str]:
    """Return the environment in which Node's tests find a server, and can start others."""
    return {
        **os.environ,
        **server.keys.environment(),
        "PYTHONPATH": str(ROOT),
        "HOST": "127.0.0.1",
        "AUTH_FAILURES_PER_MINUTE": "0",
        "PEERSYNC_URL": server.url,
        "PEERSYNC_PYTHON": sys.executable,
    }


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=CLIENT,
        env=environment or None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
