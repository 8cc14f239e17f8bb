"""Logs of a real process: one event a line, with who and what bound, and no secrets."""

import json
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app import VERSION
from tests.support.client import client, pair
from tests.support.server import ROOT, serving
from tests.support.tokens import Keys


async def _talk(keys: Keys, folder: Path, **settings: str) -> tuple[str, str]:
    """Let two people talk on a server with these settings; return its log, and their session's id."""
    with serving(keys, folder, **settings) as server:
        async with client(server) as ann, client(server) as bob:
            session_id = await pair(ann, bob)
            await ann.send("SEND_MESSAGE", sessionId=session_id, content="a secret between two")
            await bob.until("MESSAGE_RECEIVED")
            await ann.send("SEND_MESSAGE", sessionId="another", content="a secret between two", type=5)
            await ann.until("ERROR")
    return server.log.read_text(), session_id


async def test_json(keys: Keys, tmp_path: Path) -> None:
    """At debug level every event is a JSON line that binds socket, user, session and event name; and no secrets."""
    log, session_id = await _talk(keys, tmp_path, log_level="debug", log_format="json")
    lines = [json.loads(line) for line in log.splitlines()]
    (sent,) = [line for line in lines if line.get("event_name") == "SEND_MESSAGE"]
    assert {"event", "level", "timestamp", "socket_id", "user_id", "session_id", "event_name"} <= set(sent)
    assert (sent["user_id"], sent["session_id"]) == ("ann", session_id)
    _check_no_secrets(log, keys)


async def test_console(keys: Keys, tmp_path: Path) -> None:
    """For people, too, neither a token nor content is logged at debug level."""
    log, _ = await _talk(keys, tmp_path, log_level="debug", log_format="console")
    assert "SEND_MESSAGE" in log
    _check_no_secrets(log, keys)


def _check_no_secrets(log: str, keys: Keys) -> None:
    assert "secret between" not in log
    assert keys.token("ann").split(".")[0] not in log


async def test_level(keys: Keys, tmp_path: Path) -> None:
    """At warning level a good day leaves no line."""
    log, _ = await _talk(keys, tmp_path, log_level="warning", log_format="json")
    assert log == ""


@pytest.mark.parametrize(("reason", "is_there"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_start_and_stop(reason: signal.Signals, keys: Keys, tmp_path: Path, *, is_there: bool) -> None:
    """A line says what started where and with what; another why it stopped, with how many sockets, in what time."""
    with serving(keys, tmp_path, log_level="info") as server:
        async with AsyncExitStack() as stack:
            crowd = [await stack.enter_async_context(client(server)) for _ in range(is_there)]
            for ann in crowd:
                await ann.join("ann")
            server.process.send_signal(reason)
            for ann in crowd:
                await ann.expect_close_after_news(1012)
        server.process.wait(20)
    lines = {line["event"]: line for line in map(json.loads, server.log.read_text().splitlines())}
    started, draining, stopped = lines["started"], lines["draining"], lines["stopped"]
    assert (started["version"], started["address"]) == (VERSION, f"127.0.0.1:{server.port}")
    assert {"tls", "environment", "store", "keys", "dev_tokens", "admin", "audit_log", "plugins"} <= started.keys()
    assert (draining["reason"], draining["sockets"]) == (reason.name, is_there)
    assert (stopped["reason"], stopped["sockets_closed"], stopped["sockets_cut"]) == (reason.name, is_there, 0)
    assert 0 <= stopped["seconds"] < 30


def test_a_start_that_fails(keys: Keys, tmp_path: Path) -> None:
    """A server that cannot listen says so in a line: no last words about sockets, and no traceback."""
    with serving(keys, tmp_path) as first:
        again = {**os.environ, **keys.environment(), "PORT": str(first.port), "LOG_FORMAT": "json"}
        command = [sys.executable, "-m", "app", "serve"]
        env = {**again, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, check=False, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


async def test_what_others_chose(keys: Keys, tmp_path: Path) -> None:
    """A `sub` and a program's name with control characters let their user in, and reach no terminal raw."""
    with serving(keys, tmp_path, log_level="debug", log_format="console") as server:
        async with client(server) as ann:
            program = {"name": "vim\x1b[2J\x9b", "version": "1\n2"}
            await ann.send("AUTH", token=keys.token("ann\x1b]0;owned\x07\x9b2J\u202e"), client=program)
            assert (await ann.expect("AUTH_SUCCESS"))["userId"].startswith("ann\x1b")
    log = server.log.read_bytes().decode()
    assert not [char for char in log if not char.isprintable() and char != "\n"]
    assert "ann\\x1b]0;owned\\x07\\x9b2J\\u202e" in log


def test_misspelt_settings(keys: Keys, tmp_path: Path) -> None:
    """A variable that looks like a setting and is none is warned of at the start, without its value."""
    slips = {"jwt_isuer": "a secret value", "max_message_size": "5"}
    with serving(keys, tmp_path, log_level="warning", log_format="json", **slips) as server:
        pass
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {line["name"]: line["probably_meant"] for line in lines if line["event"] == "unknown setting"} == {
        "JWT_ISUER": "JWT_ISSUER",
        "MAX_MESSAGE_SIZE": "MAX_MESSAGE_BYTES",
    }
    assert "a secret value" not in server.log.read_text()
