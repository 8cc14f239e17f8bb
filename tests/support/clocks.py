"""Clocks that are wrong: processes that take another time for now."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(
    LIBRARY is None and "CI" not in os.environ, reason="no libfaketime; bin/_setup_debian installs Debian's"
)


class WrongClock:
    """A clock that is so many seconds ahead, until it is set; how fast time passes is known as everywhere."""

    def __init__(self, folder: Path, ahead: int) -> None:
        self._file = folder / f"clock-{uuid4().hex}"
        self.set(ahead)

    def set(self, ahead: int) -> None:
        """Have it be so far ahead from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}s\n")
        new.replace(self._file)

    def environment(self) -> dict[str, object]:
        """Return what has a process go by it."""
        return {
            "ld_preload": LIBRARY,
            "faketime_timestamp_file": self._file,
            "faketime_no_cache": 1,
            "faketime_dont_fake_monotonic": 1,
        }
