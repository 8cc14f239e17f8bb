"""Giving memory back after a peak."""

from app.ops.memory import WORTHWHILE_BYTES, Trimmer, malloc_trim


def test_after_a_peak() -> None:
    """When most of a peak is let go, the allocator is asked once to give back what is free."""
    held, trims = 0, 0

    def trim() -> None:
        nonlocal trims
        trims += 1

    trimmer = Trimmer(lambda: held, trim)
    for held, expected in (
        (WORTHWHILE_BYTES, 0),
        (0, 0),
        (3 * WORTHWHILE_BYTES, 0),
        (2 * WORTHWHILE_BYTES, 0),
        (WORTHWHILE_BYTES, 1),
        (0, 1),
        (2 * WORTHWHILE_BYTES, 1),
        (0, 2),
    ):
        trimmer.look()
        assert trims == expected, held


def test_trim() -> None:
    """Trimming works wherever this runs, or does nothing."""
    malloc_trim()
