"""The audit log: who came, met whom and was shown out, a JSON line each, by structlog. Never what was said.

A line costs a good token, so no stranger can fill the disk with lines. `note` puts the line into memory and returns;
a thread writes what has gathered. A write of a few hundred bytes mostly takes microseconds, but a disk that is busy,
a network file system, or a pipe that nobody reads can hold it up for seconds, and then only the thread waits.
The file is opened for each write, and appended to: whoever rotates it may rename it or truncate it at any time.
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
    """See `handlers.ports.Audit`. What cannot be written is kept and tried again; beyond `most` lines, it is lost."""

    def __init__(self, append: Append, log: Logger, most: int = MOST_LINES) -> None:
        self._append = append
        self._log = log
        self._most = most
        self._lines: list[str] = []
        self._is_there_more = anyio.Event()
        self._logger = _logger(self._keep)
        self._untold = 0
        self.lost = 0

    def note(self, event: Audited, user: User, **details: AuditDetail) -> None:
        """See `Audit`."""
        if len(self._lines) >= self._most:
            self.lost += 1
            self._untold += 1
            return
        self._logger.info(event, user_id=user.id, org=user.org, **details)
        self._is_there_more.set()

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        while True:
            await self._is_there_more.wait()
            self._is_there_more = anyio.Event()
            if not await self.flush():
                self._is_there_more.set()
                await anyio.sleep(RETRY_SECONDS)

    async def flush(self) -> bool:
        """Write what was noted until now; False, and a line in the other log, if that cannot be."""
        if self._untold:
            self._logger.warning("lost", lines=self._untold)
            self._untold = 0
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

    def _keep(self, line: str) -> None:
        self._lines.append(f"{line}\n")


class NoAudit:
    """See `handlers.ports.Audit`: where no log is wanted."""

    lost = 0

    def note(self, event: Audited, user: User, **details: AuditDetail) -> None:
        """Do nothing."""

    async def run(self) -> None:
        """Do nothing."""

    async def flush(self) -> bool:
        """Do nothing."""
        return True


def opened(where: str) -> Append | None:
    """Return what appends to the log at this place, `AUDIT_LOG`, None if there is to be none.

    Raises `SettingsError` if it cannot be written to.
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
    """Open a file; one that is not there yet is made readable for its owner only."""
    return os.open(path, flags, 0o600)


def _logger(keep: Callable[[str], None]) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(keep),
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), _shown, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


class _Lines:
    """What structlog hands its lines to."""

    def __init__(self, keep: Callable[[str], None]) -> None:
        self.info = self.warning = keep


def _shown(_logger: object, _method: str, details: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is not known, shorten addresses, which are salted hashes, as the other log does; time first."""
    ordered = {"timestamp": details["timestamp"], "event": details["event"], **details}
    known = {name: value for name, value in ordered.items() if value is not None}
    return {name: logged(value) if isinstance(value, bytes) else value for name, value in known.items()}
