"""The rate limit of one socket (docs/protocol.md section 4, ERR_5004)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admission.limiter import Limiter, Rate, RateLimitResult

RATE = Rate(per_second=8, burst=16)


@pytest.fixture
def limiter() -> Limiter:
    return Limiter(RATE)


def spent(limiter: Limiter, now: float = 100.0) -> RateLimitResult:
    """Use the burst up, and return the first refusal."""
    while (verdict := limiter.admit(now)) is None:
        pass
    return verdict


def test_burst(limiter: Limiter) -> None:
    """A burst passes at once, however long nothing came; then events are refused."""
    for now in (100.0, 1000.0):
        assert [limiter.admit(now) is None for _ in range(17)] == [True] * 16 + [False]


def test_steady(limiter: Limiter) -> None:
    """Events at the rate pass for ever."""
    assert all(limiter.admit(100 + number / 8) is None for number in range(1000))


def test_said_once_a_second(limiter: Limiter) -> None:
    """A refusal is said at most once a second, the first at once, even near the start of the clock."""
    assert spent(limiter).is_due
    dues = [verdict.is_due for step in range(1, 31) if (verdict := limiter.admit(100 + step / 20)) is not None]
    assert dues == [step % 20 == 0 for step in range(1, 31)]
    assert spent(Limiter(RATE), 0.0).is_due


def test_the_wait_suffices(limiter: Limiter) -> None:
    """Who waits as long as told is heard again, however much it sent before."""
    for extra in (0, 1, 100):
        verdict = spent(limiter)
        for _ in range(extra):
            refusal = limiter.admit(100.0)
            assert refusal is not None
            verdict = refusal
        assert limiter.admit(100 + verdict.retry_after + 0.001) is None
        limiter = Limiter(RATE)


def test_patience(limiter: Limiter) -> None:
    """Ten seconds of nothing but rejections are final; an event that passes starts them anew."""
    spent(limiter)
    verdicts = [limiter.admit(100 + step / 20) for step in range(1, 201)]
    assert [verdict is not None and verdict.is_final for verdict in verdicts] == [False] * 199 + [True]
    assert limiter.admit(120) is None
    assert not spent(limiter, 120).is_final


@given(st.lists(st.floats(0, 0.5), max_size=200))
def test_never_more_than_the_rate(pauses: list[float]) -> None:
    """Whatever the pauses, no more pass than burst and rate allow."""
    limiter = Limiter(RATE)
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        passed += limiter.admit(now) is None
    assert passed <= RATE.burst + now * RATE.per_second + 1e-6


def test_a_price(limiter: Limiter) -> None:
    """A price is taken from the same budget as events."""
    assert limiter.charge(100.0, 10)
    assert [limiter.admit(100.0) is None for _ in range(7)] == [True] * 6 + [False]


def test_a_price_beyond_the_burst(limiter: Limiter) -> None:
    """What the burst does not cover is a debt: events are refused until it is paid, which the refusal says."""
    assert not limiter.charge(100.0, 15 + 40)
    verdict = limiter.admit(100.0)
    assert verdict is not None
    assert verdict.retry_after == pytest.approx(5.05)
    assert limiter.admit(104.9) is not None
    assert limiter.admit(105.1) is None


def test_a_refusal_never_lowers_a_debt(limiter: Limiter) -> None:
    """Whoever goes on sending into a debt pays it no sooner."""
    limiter.charge(100.0, 15 + 80)
    for _ in range(100):
        limiter.admit(100.0)
    assert limiter.used_until == pytest.approx(100 + 95 / 8)


def test_an_ordinary_debt_lets_a_user_register_again(limiter: Limiter) -> None:
    """A new socket owes what the last one owed, but for a few events, unless that is more than events alone can owe."""
    spent(limiter)
    again = Limiter(RATE)
    again.take_over(100.0, limiter.used_until)
    assert [again.admit(100.0) is None for _ in range(10)] == [True] * 9 + [False]
    deep = Limiter(RATE)
    deep.take_over(100.0, 200.0)
    assert deep.admit(100.0) is not None
    fresh = Limiter(RATE)
    fresh.take_over(100.0, 0.0)
    assert [fresh.admit(100.0) is None for _ in range(17)] == [True] * 16 + [False]
