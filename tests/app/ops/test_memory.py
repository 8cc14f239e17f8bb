"""Giving memory back after a peak."""

import ctypes
from types import SimpleNamespace

import pytest

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
        trimmer.check()
        assert trims == expected, held


def test_trim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Glibc is asked to give back all that it can."""
    asked: list[int] = []
    libc = SimpleNamespace(malloc_trim=asked.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    malloc_trim()
    assert asked == [0]


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_nothing_to_trim_with(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such function, or no such library, nothing happens."""

    def fail(_: object) -> object:
        asked.append(error)
        raise error

    asked: list[object] = []
    monkeypatch.setattr(ctypes, "CDLL", fail)
    malloc_trim()
    assert asked == [error]
