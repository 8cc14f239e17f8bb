"""The logger protocol that modules depend on."""

from typing import Protocol


class Logger(Protocol):
    """The part of structlog's logger that we use."""

    def debug(self, event: str, **values: object) -> object:
        """Log details for debugging."""

    def info(self, event: str, **values: object) -> object:
        """Log normal operation."""

    def warning(self, event: str, **values: object) -> object:
        """Log what may need an operator's attention."""

    def exception(self, event: str, **values: object) -> object:
        """Log the exception being handled, with its traceback."""
