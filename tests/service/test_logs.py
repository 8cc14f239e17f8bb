"""Logs of a real process: one event a line, with who and what bound, and no secrets."""

import json
from pathlib import Path

from tests.support.client import client, pair
from tests.support.server import serving
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
