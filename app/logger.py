"""The logger that modules are given."""

from typing import Protocol


class Logger(Protocol):
    """The part of a structlog logger that is used here."""

    def debug(self, event: str, **values: object) -> object:
        """Log for those who look closely."""

    def info(self, event: str, **values: object) -> object:
        """Log what an operator follows."""

    def warning(self, event: str, **values: object) -> object:
        """Log what somebody may have to look at."""

    def exception(self, event: str, **values: object) -> object:
        """Log the exception being handled, with its traceback."""
