"""The real clock and the real ids."""

import re
import time
from datetime import UTC, datetime

import pytest

from app.clock import SystemClock, iso, random_id


def test_timestamp() -> None:
    """A timestamp is ISO 8601 in UTC with milliseconds, 24 characters, and tells the time."""
    clock = SystemClock()
    before = clock.now()
    stamp = clock.timestamp()
    after = clock.now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    told = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
    assert before - 0.002 <= told <= after


def test_iso() -> None:
    """Any time is written in the same way."""
    assert iso(1_700_000_000) == "2023-11-14T22:13:20.000Z"
    assert iso(1_700_000_000.0625) == "2023-11-14T22:13:20.062Z"
    assert SystemClock().timestamp_of(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"


def test_timestamps_go_on() -> None:
    """Timestamps do not stand still."""
    clock = SystemClock()
    first = clock.timestamp()
    while clock.timestamp() == first:
        pass
    assert clock.timestamp() > first


def test_following(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that follows another one does not go by the time of day here."""
    clock = SystemClock()
    clock.follow(1_700_000_000 - time.monotonic())
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= clock.now() - 1_700_000_000 < 100
    assert clock.timestamp().startswith("2023-11-14T22:1")


def test_ids() -> None:
    """An id has its prefix and 128 random bits."""
    assert re.fullmatch(r"req_[A-Za-z0-9_-]{22}", random_id("req_"))
    assert random_id("") != random_id("")
