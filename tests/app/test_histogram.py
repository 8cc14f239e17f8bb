"""Counting by upper bounds."""

from app.histogram import Histogram


def test_buckets() -> None:
    """A bound counts what is at most as much; the last bucket has all, and the sum is exact."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 8.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert histogram.sum == 11
