"""Logs: one event per line, as text or JSON, by structlog. They never have a token or message content.

The text format escapes text that others chose (a `sub`, a name, a program) in every line.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from io import StringIO
from typing import TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor

from app.ops.printable import printable, printable_lines
from app.settings import Settings

_MULTILINE = frozenset({"exception", "stack"})
QUIET_SECONDS = 1.0
THROTTLED = frozenset({"uvicorn", "asyncio"})
_NUMBERS = logging.getLevelNamesMapping()


def make_logger(settings: Settings, stream: TextIO | None = None) -> FilteringBoundLogger:
    """Return an independent logger; this configures nothing global."""
    out = sys.stderr if stream is None else stream
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[*_shared(), *_rendering(settings, out)],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[settings.log_level.upper()]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def route_standard_logging(settings: Settings) -> None:
    """Format the process's standard logging (uvicorn's) the same way. This is global, so only `serve` calls it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[ProcessorFormatter.remove_processors_meta, *_rendering(settings, sys.stderr)],
        )
    )
    handler.addFilter(RecordThrottle(time.monotonic))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


class RecordThrottle(logging.Filter):
    """Passes one record per second from each source line in uvicorn or asyncio, because clients can trigger them.

    The next record that passes says how many were suppressed.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._quiet_until: dict[tuple[str, int], float] = {}
        self._suppressed: Counter[tuple[str, int]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        if record.name.partition(".")[0] not in THROTTLED:
            return True
        place, now = (record.pathname, record.lineno), self._monotonic()
        if now < self._quiet_until.get(place, now):
            self._suppressed[place] += 1
            return False
        self._quiet_until[place] = now + QUIET_SECONDS
        if suppressed := self._suppressed.pop(place, 0):
            record.msg = f"{record.getMessage()} ({suppressed} more suppressed)"
            record.args = ()
        return True


def _shared() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _rendering(settings: Settings, out: TextIO) -> list[Processor]:
    """Return the processors that render an event as a line; the JSON renderer needs no extra escaping."""
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=_write_traceback)
    return [structlog.processors.StackInfoRenderer(), _escape, renderer]


def _escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape anything in an event that could control a terminal."""
    return {name: value if name == "exc_info" else _escaped(name, value) for name, value in event.items()}


def _escaped(name: str, value: object) -> object:
    if name in _MULTILINE:
        return printable_lines(str(value))
    shown = value if isinstance(value, str) else repr(value)
    return value if shown.isprintable() else printable(shown)


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """Write an exception's traceback, escaped, because its message may contain what a client sent."""
    buffer = StringIO()
    structlog.dev.plain_traceback(buffer, exc_info)
    out.write("\n" + printable_lines(buffer.getvalue().removeprefix("\n")))
