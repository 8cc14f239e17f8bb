"""Memory: what was held for slow or absent receivers goes back to the system once it is let go."""

import ctypes
from collections.abc import Callable

WORTHWHILE_BYTES = 33_554_432


class Trimmer:
    """Looks at how much is held, and after a peak has the allocator give back what is free."""

    def __init__(self, held: Callable[[], int], trim: Callable[[], object]) -> None:
        self._held = held
        self._trim = trim
        self._peak = 0

    def look(self) -> None:
        """Trim if most of what was held is let go since the last time."""
        held = self._held()
        self._peak = max(self._peak, held)
        if self._peak - held > WORTHWHILE_BYTES and held < self._peak / 2:
            self._peak = held
            self._trim()


def malloc_trim() -> None:
    """Have glibc give back the free pages of its heap; elsewhere do nothing."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
