"""Memory: returns freed buffers of slow or disconnected receivers to the operating system."""

import ctypes
from collections.abc import Callable

WORTHWHILE_BYTES = 33_554_432


class Trimmer:
    """Watches how many bytes are buffered; after a peak, has the allocator return free memory."""

    def __init__(self, held: Callable[[], int], trim: Callable[[], object]) -> None:
        self._held = held
        self._trim = trim
        self._peak = 0

    def check(self) -> None:
        """Trim if over half of the peak, and more than `WORTHWHILE_BYTES`, has been freed since the last trim."""
        held = self._held()
        self._peak = max(self._peak, held)
        if self._peak - held > WORTHWHILE_BYTES and held < self._peak / 2:
            self._peak = held
            self._trim()


def malloc_trim() -> None:
    """Have glibc return the free pages of its heap to the system; with another C library, do nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
