"""Pauses before coming back, with chance in hand."""

import pytest

from peersync.backoff import FINAL, Backoff


def pauses(backoff: Backoff, *codes: int) -> list[float]:
    return [backoff.pause(code) for code in codes]


@pytest.mark.parametrize(
    ("chance", "expected"), [(1.0, [1, 2, 4, 8, 15, 15]), (0.0, [0.5, 1, 2, 4, 7.5, 7.5]), (0.5, [0.75, 1.5, 3, 6])]
)
def test_pauses_double_up_to_a_bound_with_jitter(chance: float, expected: list[float]) -> None:
    """Nobody hammers a server that restarts, nor do all come at once."""
    assert pauses(Backoff(random=lambda: chance), *[1012] * len(expected)) == expected


def test_chance_is_taken_each_time() -> None:
    chances = iter([0.0, 1.0])
    assert pauses(Backoff(random=lambda: next(chances)), 1006, 1006) == [0.5, 2]


def test_the_bound_holds_for_ever() -> None:
    assert pauses(Backoff(random=lambda: 1.0), *[1006] * 5000)[-1] == 15


def test_a_success_begins_anew() -> None:
    backoff = Backoff(first=0.1, longest=0.3, random=lambda: 1.0)
    assert pauses(backoff, 1006, 1006, 1006) == [0.1, 0.2, 0.3]
    backoff.reset()
    assert backoff.pause(1006) == 0.1


def test_who_sent_too_much_waits_longest() -> None:
    """Which is no failure to connect: the next pause is as it would have been."""
    assert pauses(Backoff(random=lambda: 1.0), 4029, 1006, 4029, 1006) == [15, 1, 15, 2]


def test_the_systems_chance() -> None:
    assert all(0.5 <= Backoff().pause(1006) <= 1 for _ in range(100))


def test_final_closes() -> None:
    """As docs/protocol.md section 5 has them; 4001 is not among them, since another token may help."""
    assert set(FINAL) == {1000, 1002, 1007, 1009, 4002}
