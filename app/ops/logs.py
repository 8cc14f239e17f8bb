"""Logs: one event a line, for people or as JSON, by structlog. Never a token, never content."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import FilteringBoundLogger, Processor

from app.settings import Settings

_NUMBERS = logging.getLevelNamesMapping()


def make_logger(settings: Settings, stream: TextIO | None = None) -> FilteringBoundLogger:
    """Return a logger of its own; nothing global is configured."""
    out = sys.stderr if stream is None else stream
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[*_shared(), _exceptions(settings), _renderer(settings, out)],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[settings.log_level.upper()]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def route_standard_logging(settings: Settings) -> None:
    """Make the process's standard logging (uvicorn's) look the same; for `serve` alone, since it is global."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                ProcessorFormatter.remove_processors_meta,
                _exceptions(settings),
                _renderer(settings, sys.stderr),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


def _shared() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _exceptions(settings: Settings) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.format_exc_info
    return structlog.processors.StackInfoRenderer()


def _renderer(settings: Settings, out: TextIO) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer()
    formatter = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=formatter)
