"""Latencies in buckets that widen with what they hold: fixed memory, within 1.6 percent. No input or output here."""

import math
from itertools import accumulate

_BITS = 6  # each doubling is cut into 64 buckets
_LONGEST = (1 << 42) - 1  # more than an hour, in nanoseconds


def bucket(nanoseconds: int) -> int:
    """Return the number of the bucket that a latency belongs to; up to 127 ns each has its own."""
    shift = max(0, nanoseconds.bit_length() - _BITS - 1)
    return (shift << _BITS) + (nanoseconds >> shift)


def upper_end(number: int) -> int:
    """Return the longest latency of a bucket, in nanoseconds."""
    shift = max(0, (number >> _BITS) - 1)
    return ((number - (shift << _BITS) + 1) << shift) - 1


class Histogram:
    """How many latencies there were of about each length."""

    __slots__ = ("counts",)

    def __init__(self, counts: list[int] | None = None) -> None:
        self.counts = counts or [0] * (bucket(_LONGEST) + 1)

    def record(self, nanoseconds: int) -> None:
        """Count one more."""
        self.counts[bucket(min(max(nanoseconds, 0), _LONGEST))] += 1

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def copy(self) -> "Histogram":
        """Return the same counts, which then stay as they are."""
        return Histogram(self.counts.copy())

    def since(self, earlier: "Histogram") -> "Histogram":
        """Return what was counted after an earlier copy of this one."""
        return Histogram([now - then for now, then in zip(self.counts, earlier.counts, strict=True)])

    def percentile(self, fraction: float) -> float | None:
        """Return the milliseconds that this fraction (0 to 1) took at most; None if nothing was counted."""
        total = self.total
        if not total:
            return None
        rank = max(1, math.ceil(round(fraction * total, 6)))
        number = next(number for number, seen in enumerate(accumulate(self.counts)) if seen >= rank)
        return upper_end(number) / 1e6
