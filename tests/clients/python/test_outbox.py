"""The pace of what is sent, by a clock in hand."""

from peersync.outbox import Pace


def test_a_burst_goes_at_once_and_then_one_by_one() -> None:
    pace = Pace(per_second=10, burst=3, now=0.0)
    assert [round(pace.wait(0.0), 6) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]


def test_a_rest_gives_a_burst_again_and_no_more() -> None:
    pace = Pace(per_second=10, burst=3, now=0.0)
    for _ in range(3):
        pace.wait(0.0)
    assert [round(pace.wait(60.0), 6) for _ in range(4)] == [0, 0, 0, 0.1]


def test_never_faster_than_the_rate() -> None:
    """Whoever waits as told sends at the rate in the long run."""
    pace, now = Pace(per_second=100, burst=5, now=0.0), 0.0
    for _ in range(1000):
        now += pace.wait(now)
    assert round(now, 6) == 9.95
