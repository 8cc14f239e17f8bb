"""The audit log: who connected, joined whom and was disconnected, one JSON line each. It never has message content.

Writing a line takes a valid token, so an unauthenticated client cannot fill the disk. `note` buffers a line in memory
and returns at once; a thread writes the buffer. A write usually takes microseconds, but a busy disk, a network file
system or a pipe without a reader can block it for seconds. Then only the thread waits.
The file is opened for each write, in append mode, so log rotation may rename or truncate it at any time.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from structlog.typing import FilteringBoundLogger

from app.admission.addresses import logged
from app.logger import Logger
from app.settings import SettingsError
from handlers.ports import AuditDetail, Audited
from stores.model import User

STDOUT = frozenset({"-", "stdout"})
MOST_LINES = 100_000
RETRY_SECONDS = 1.0

Append = Callable[[bytes], None]


class AuditLog:
    """See `handlers.ports.Audit`. If a write fails, keeps the lines and retries; drops lines beyond `most`."""

    def __init__(self, append: Append, log: Logger, most: int = MOST_LINES) -> None:
        self._append = append
        self._log = log
        self._most = most
        self._lines: list[str] = []
        self._has_lines = anyio.Event()
        self._logger = _logger(self._buffer)
        self._unreported = 0
        self.lost = 0

    def note(self, event: Audited, user: User, **details: AuditDetail) -> None:
        """See `Audit`."""
        if len(self._lines) >= self._most:
            self.lost += 1
            self._unreported += 1
            return
        self._logger.info(event, user_id=user.id, org=user.org, **details)
        self._has_lines.set()

    async def run(self) -> None:
        """Write lines as they come, until cancelled."""
        while True:
            await self._has_lines.wait()
            self._has_lines = anyio.Event()
            if not await self.flush():
                self._has_lines.set()
                await anyio.sleep(RETRY_SECONDS)

    async def flush(self) -> bool:
        """Write all buffered lines. If that fails, log a warning in the server's log and return False."""
        if self._unreported:
            self._logger.warning("lost", lines=self._unreported)
            self._unreported = 0
        lines, self._lines = self._lines, []
        if not lines:
            return True
        try:
            await anyio.to_thread.run_sync(self._append, "".join(lines).encode(errors="replace"))
        except OSError as error:
            self._lines = lines + self._lines
            self._log.warning("audit log cannot be written", reason=str(error), lines=len(self._lines))
            return False
        return True

    def _buffer(self, line: str) -> None:
        self._lines.append(f"{line}\n")


class NoAudit:
    """See `handlers.ports.Audit`. Used without an audit log."""

    lost = 0

    def note(self, event: Audited, user: User, **details: AuditDetail) -> None:
        """Do nothing."""

    async def run(self) -> None:
        """Do nothing."""

    async def flush(self) -> bool:
        """Do nothing."""
        return True


def open_audit_log(where: str) -> Append | None:
    """Return a function that appends to the log named by `AUDIT_LOG`; None if the setting is empty.

    Raises `SettingsError` if the file is not writable.
    """
    if not where:
        return None
    if where in STDOUT:
        return _print
    append = _appender(Path(where))
    try:
        append(b"")
    except OSError as error:
        what = "it must be empty, - for standard output, or a file that can be written to"
        raise SettingsError(f"AUDIT_LOG is {where!r}; {what} ({error.strerror})") from None
    return append


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _appender(path: Path) -> Append:
    def append(data: bytes) -> None:
        with open(path, "ab", opener=_open_private) as file:
            file.write(data)

    return append


def _open_private(path: str, flags: int) -> int:
    """Open a file; if this creates it, only its owner can read it."""
    return os.open(path, flags, 0o600)


def _logger(write: Callable[[str], None]) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(write),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _format,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


class _Lines:
    """The logger to which structlog passes rendered lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.info = self.warning = write


def _format(_logger: object, _method: str, details: Mapping[str, object]) -> dict[str, object]:
    """Put time and event first, omit values that are None, and shorten address hashes as the server's log does."""
    ordered = {"timestamp": details["timestamp"], "event": details["event"], **details}
    known = {name: value for name, value in ordered.items() if value is not None}
    return {name: logged(value) if isinstance(value, bytes) else value for name, value in known.items()}
