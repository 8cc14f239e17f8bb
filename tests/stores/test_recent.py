"""Which messages are recognised that are sent again, and how much memory that takes."""

import tracemalloc
from collections.abc import Iterable

import pytest

from stores.base import User
from stores.log import RECENT_MESSAGES, RECENT_SECONDS, MessageKey
from stores.recent import RecentMessages

ANN = User("ann")
START = 1_700_000_000_000
SESSIONS, PER_SECOND, PARTICIPANTS = 50, 200, 30
MOST_BYTES = 8_388_608


def key(message: int, sent_at: int = START, session: int = 0) -> MessageKey:
    return MessageKey.of(f"ses_{session}", ANN, f"m{message}", sent_at)


def known(recent: RecentMessages, keys: Iterable[MessageKey]) -> list[bool]:
    return [bool(recent.find(each)) for each in keys]


def test_the_last_of_each_stream() -> None:
    """More of one stream push its oldest out, and none of another."""
    recent = RecentMessages()
    recent.add(key(0, session=1), ())
    for number in range(RECENT_MESSAGES + 2):
        recent.add(key(number), ())
    assert known(recent, map(key, range(4))) == [False, False, True, True]
    assert recent.find(key(0, session=1)) == START
    assert len(recent) == RECENT_MESSAGES + 1


def test_most_in_all() -> None:
    """Beyond that the stream that is known longest loses its oldest, and goes once it has none."""
    recent = RecentMessages(most=3)
    for session in range(5):
        recent.add(key(session, session=session), ())
    assert len(recent) == 3
    assert known(recent, (key(each, session=each) for each in range(5))) == [False, False, True, True, True]


def test_time() -> None:
    """A message is recognised for a while, from its first time on; then it is another one, and the latest."""
    recent = RecentMessages()
    late = START + int(RECENT_SECONDS * 1000)
    recent.add(key(1), ())
    recent.add(key(1, START + 5), ())
    recent.add(key(2, START + 5), ())
    assert recent.find(key(1, late - 1)) == START
    assert recent.find(key(1, late)) == 0
    recent.add(key(1, late), ())
    assert recent.find(key(1, late + 1)) == late
    assert len(recent) == 2
    recent.forget_old((START + 5) / 1000 + RECENT_SECONDS)
    assert known(recent, [key(1, late), key(2, START + 5)]) == [True, False]
    recent.forget_old(late / 1000 + RECENT_SECONDS)
    assert len(recent) == 0
    recent.forget_old(late / 1000 + RECENT_SECONDS)


def test_who_missed_it() -> None:
    """Those for whom there was no room are known until there is, or the message is forgotten."""
    recent = RecentMessages()
    bob, cat = User("bob"), User("cat", "acme")
    assert recent.missed(key(1)) == ()
    recent.add(key(1), [bob])
    recent.add(key(2), [cat, bob])
    recent.add(key(3), ())
    assert [set(recent.missed(key(each))) for each in range(4)] == [set(), {bob}, {bob, cat}, set()]
    recent.add(key(2, START + 7), [cat])
    assert (recent.missed(key(2)), recent.find(key(2))) == ([cat], START)
    recent.add(key(2), ())
    assert recent.missed(key(2)) == []
    recent.forget_old(START / 1000 + RECENT_SECONDS)
    assert recent.missed(key(1)) == ()


@pytest.mark.parametrize("is_missed", [False, True])
def test_memory_of_one_token(*, is_missed: bool) -> None:
    """A token that sends as much as it may, in as many sessions as it may, cannot have more remembered than this.

    The receivers whose logs are full are others each time.
    """
    recent = RecentMessages()
    users = [User(f"user {number}") for number in range(PARTICIPANTS)]
    seconds, made = int(RECENT_SECONDS), SESSIONS * RECENT_MESSAGES
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(seconds * PER_SECOND):
            chosen = number * 2_654_435_761
            missed = [user for at, user in enumerate(users) if is_missed and chosen >> at & 1]
            recent.add(key(number, START + number * 1000 // PER_SECOND, number % SESSIONS), missed)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(recent) == made
    assert after - before <= MOST_BYTES
