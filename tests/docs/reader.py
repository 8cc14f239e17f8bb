"""A reader who types what the documentation shows, in a copy of the checkout, with a server of their own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx2

from tests.docs.blocks import ROOT, Block
from tests.support.server import free_port

PATIENCE = 10.0
OFTEN = 0.02
NOT_COPIED = {"bin", "pyproject.toml", "keys", "data", "site", ".env", ".venv", ".git"}
PROMPT = "$ "


class Reader:
    """One who goes through a page from its beginning to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._started: list[tuple[Block, subprocess.Popen[bytes], Path]] = []
        _check_out(folder)
        self.environment = {name: value for name, value in os.environ.items() if name != "VENV"} | {
            "PORT": str(self.port),
            "HOST": "127.0.0.1",
            "ADMIN": "on",
            "CURL_HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            **_node_options(),
        }

    def follow(self, block: Block) -> None:
        """Do what a block says; raises `AssertionError` if it fails, or does not say what the page does."""
        if block.title is not None:
            (self.folder / block.title).write_text(self._here(block.text))
        elif block.language == "sh":
            self._shell(block)
        elif block.language == "console":
            self._console(block)
        elif block.language == "python":
            self._succeed(block, [sys.executable, "-c", self._here(block.text)])
        elif block.language == "js":
            self._succeed(block, ["node", "-e", self._here(block.text)])

    def serve(self) -> None:
        """Start a server, for a page that takes one for granted, and have the tokens that such a page names."""
        self._start(Block("", 0, "sh", None, "runs on", "bin/serve\n"), "bin/serve")
        for name, options in (("TOKEN", "ann"), ("OPERATOR", "olga --scope peersync:admin")):
            self.environment[name] = self._run(["sh", "-euc", f"bin/devtoken {options}"])[1].strip()

    def see_the_rest(self) -> None:
        """Wait until what was left running has said all that the page shows."""
        for block, _, output in self._started:
            if block.language == "console":
                _wait(partial(self._is_shown, block, output), block, output)

    def stop(self) -> None:
        """End what was left running."""
        for _, process, _ in reversed(self._started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)

    def _shell(self, block: Block) -> None:
        if block.runs_on:
            self._start(block, self._here(block.text))
        else:
            self._succeed(block, ["sh", "-euc", self._here(block.text)])

    def _console(self, block: Block) -> None:
        if block.runs_on:
            self._start(block, _commands(self._here(block.text))[0][0])
            return
        for command, expected in _commands(self._here(block.text)):
            if _can_run(command):
                _, output = self._run(["sh", "-uc", command])
                assert _pattern(expected).fullmatch(output), f"{block}: {command}\n{output}"

    def _succeed(self, block: Block, command: list[str]) -> None:
        if _can_run(command[0]):
            code, output = self._run(command)
            assert code == 0, f"{block} ended with {code}: {output}"

    def _run(self, command: list[str]) -> tuple[int, str]:
        """Return the exit code of a command that ends by itself, and what it said."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def _start(self, block: Block, command: str) -> None:
        """Start what the reader leaves running; returns when it serves, or has said its first line."""
        output = self.folder / f"output-{len(self._started)}"
        with output.open("wb") as out:
            process = subprocess.Popen(
                ["sh", "-euc", command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._started.append((block, process, output))
        if "bin/serve" in command:
            _wait(self._is_ready, block, output)
        elif block.language == "console":
            first = next(line for line in _commands(self._here(block.text))[0][1].splitlines() if line != "…")
            _wait(lambda: _pattern(first).search(output.read_text()) is not None, block, output)

    def _is_ready(self) -> bool:
        with suppress(httpx2.TransportError):
            return httpx2.get(f"http://127.0.0.1:{self.port}/health/ready").status_code == 200
        return False

    def _is_shown(self, block: Block, output: Path) -> bool:
        (_, expected), *_ = _commands(self._here(block.text))
        return _pattern(expected).fullmatch(output.read_text()) is not None

    def _here(self, text: str) -> str:
        return re.sub(r"(localhost|127\.0\.0\.1):3000\b", rf"127.0.0.1:{self.port}", text)


@contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    """Have a reader in a copy of the checkout, and end what they left running."""
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.stop()


def _check_out(folder: Path) -> None:
    """Make a copy of the checkout that is set up already: links, but for what a command would write or install."""
    for path in ROOT.iterdir():
        if path.name not in NOT_COPIED:
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "bin", folder / "bin")
    shutil.copy(ROOT / "pyproject.toml", folder)  # pytest takes for its root the folder where this really is
    (folder / "bin" / "_setup").write_text("#!/bin/sh\n")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".curlrc").write_text("fail-with-body\nshow-error\n")


def _node_options() -> dict[str, str]:
    """Return what lets a Node.js before 22 have a WebSocket, as the documentation says."""
    if shutil.which("node") is None:
        return {}
    has = subprocess.run(["node", "-p", "typeof WebSocket"], capture_output=True, check=True, timeout=PATIENCE)
    return {} if has.stdout.strip() == b"function" else {"NODE_OPTIONS": "--experimental-websocket --no-warnings"}


def _can_run(command: str) -> bool:
    """Whether the program is there: node and curl may be missing."""
    program = command.split(maxsplit=1)[0]
    return program not in {"node", "curl"} or shutil.which(program) is not None


def _commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console with what each is answered."""
    parts = re.split(rf"^{re.escape(PROMPT)}", text, flags=re.MULTILINE)[1:]
    return [(command, expected) for command, _, expected in (part.partition("\n") for part in parts)]


def _pattern(expected: str) -> re.Pattern[str]:
    """Return a pattern of an output: `…` is any text, on a line of its own any number of lines."""
    lines = [r"(?:.*\n)*?" if line == "…" else _line(line) for line in expected.rstrip("\n").split("\n")]
    return re.compile("".join(lines) + r"\n?")


def _line(line: str) -> str:
    return ".*?".join(re.escape(part) for part in line.split("…")) + r"(?:\n|$)"


def _wait(is_done: Callable[[], bool], block: Block, output: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not is_done():
        assert time.monotonic() < end, f"{block} does not say what the page shows:\n{output.read_text()}"
        time.sleep(OFTEN)
