"""Logs for people: what others chose reaches no terminal raw."""

import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from app.ops.audit import AuditLog
from app.ops.logs import make_logger, route_standard_logging
from app.ops.printable import printable
from app.settings import Settings
from stores.model import User

EVIL = {
    "ESC": "a\x1b[2Jb",
    "ESC and a space": "a \x1b]0;title\x07 b",
    "C1": "a\x9b2Jb",
    "next line": "a\x85b",
    "newline": "a\n2026-01-01T00:00:00Z [info] socket authenticated user_id=root",
    "carriage return": "a\rb",
    "line separator": "a\u2028b",
    "turned around": "a\u202eb",
    "no width": "a\u200bb",
    "backspace": "a\bb",
    "delete": "a\x7fb",
    "half a surrogate pair": "a\ud83db",
}


class Odd:
    """Shows itself as it likes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def raw(text: str) -> set[str]:
    """Return what would do something to a terminal."""
    return {char for char in text if not char.isprintable() and char != "\n"}


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_console(evil: str) -> None:
    """Whatever an event holds, and of whatever type, is one line without a control character."""
    out = StringIO()
    log = make_logger(Settings(), out)
    log.info("said", user_id=evil, org=Odd(evil), names=[evil], by={evil: (evil,)}, error=ValueError(evil))
    log.warning(evil, level_name=evil)
    assert raw(out.getvalue()) == set()
    assert out.getvalue().count("\n") == 2
    assert "a" in out.getvalue()


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_tracebacks(evil: str) -> None:
    """The lines of a traceback are indented, so that no message passes for a line of the log."""
    out = StringIO()
    log = make_logger(Settings(), out)
    error = KeyError("inner")
    error.add_note(evil)
    try:
        try:
            raise error
        except KeyError:
            raise RuntimeError(evil) from error
    except RuntimeError:
        log.exception("handler failed", user_id=evil)
    log.info("where", stack_info=True, stack=None)
    first, *rest = out.getvalue().splitlines()
    assert raw(out.getvalue()) == set()
    assert "handler failed" in first
    assert any("RuntimeError: a" in line for line in rest)
    assert all(line.startswith("  ") or not line or line.endswith("stack=None") or "where" in line for line in rest)


@pytest.fixture
def standard(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Route the standard logging, and put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield capsys
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_standard_logging(evil: str, standard: pytest.CaptureFixture[str]) -> None:
    """What libraries log, such as uvicorn, is escaped as well."""
    route_standard_logging(Settings())
    logging.getLogger("uvicorn.access").info('%s - "GET %s HTTP/1.1" 200', evil, evil)
    logging.getLogger("uvicorn.error").warning("a path %s", evil, stack_info=True)
    logging.getLogger("asyncio").error("failed: %s", evil, exc_info=ValueError(evil))
    said = standard.readouterr().err
    assert raw(said) == set()
    assert "a path a" in said
    assert not [line for line in said.splitlines() if line.startswith("2026-01-01")]


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
async def test_for_machines(evil: str) -> None:
    """In JSON, and in the audit log, it is escaped by the format, and comes out as it was."""
    out, written = StringIO(), bytearray()
    log = make_logger(Settings(log_format="json"), out)
    log.info("said", user_id=evil)
    assert json.loads(out.getvalue())["user_id"] == evil
    audit = AuditLog(written.extend, structlog.testing.CapturingLogger())
    audit.note("authenticated", User(evil, evil), client=evil)
    assert await audit.flush()
    line = written.decode()
    assert json.loads(line)["client"] == evil
    for text in (out.getvalue(), line):
        assert raw(text) <= {"\x7f"}
        assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ann", "ann"),
        ("花子 ✓ 🎉", "花子 ✓ 🎉"),
        ("a\\b", "a\\b"),
        ("\x1b\x9b\n\t", "\\x1b\\x9b\\n\\t"),
        ("\u202e\u200b\U000e0001", "\\u202e\\u200b\\U000e0001"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """Visible text of any language stays as it is."""
    assert printable(text) == shown
