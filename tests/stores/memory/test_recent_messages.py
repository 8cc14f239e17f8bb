"""By what messages are recognised that are sent again, and how much of it is remembered."""

import gc
import random
import tracemalloc
from hashlib import blake2b

from stores.log import DIGEST_BYTES, RECENT_MESSAGES, RECENT_SECONDS, MessageKey
from stores.memory.recent_messages import RecentMessages
from stores.model import User

ANN, BOB, CAT = User("ann"), User("bob"), User("cat")
NOW = 1_700_000_000_000
SPAN = int(RECENT_SECONDS * 1000)
MIB = 1_048_576
SESSIONS = 50
PARTICIPANTS = 50
EVENTS_PER_SECOND = 200


def key(message_id: object, *, session: object = "ses_1", sent_at: int = NOW) -> MessageKey:
    return MessageKey.of(f"{session}", ANN, f"{message_id}", sent_at)


def test_find() -> None:
    """Each receiver is known by itself, with the time of the first message."""
    recent = RecentMessages()
    recent.add(key("m"), [BOB])
    assert (recent.find(key("m"), BOB), recent.find(key("m"), CAT)) == (NOW, 0)
    later = key("m", sent_at=NOW + 1)
    recent.add(later, [CAT])
    assert (recent.find(later, BOB), recent.find(later, CAT)) == (NOW, NOW)
    for other in (key("n"), key("m", session="ses_2"), MessageKey.of("ses_1", BOB, "m", NOW)):
        assert recent.find(other, BOB) == 0
    assert len(recent) == 1


def test_for_how_long() -> None:
    """A message of `RECENT_SECONDS` ago is another one, and whoever had that one has not had it."""
    recent = RecentMessages()
    recent.add(key("m"), [BOB, CAT])
    assert recent.find(key("m", sent_at=NOW + SPAN - 1), BOB) == NOW
    late = key("m", sent_at=NOW + SPAN)
    assert recent.find(late, BOB) == 0
    recent.add(late, [BOB])
    assert (recent.find(late, BOB), recent.find(late, CAT)) == (late.sent_at, 0)
    assert len(recent) == 1


def test_forgetting_by_time() -> None:
    """Nothing is left of what is too old, whatever stream it was in."""
    recent = RecentMessages()
    for number in range(100):
        recent.add(key(number, session=number % 3, sent_at=NOW + number), [BOB])
    recent.forget_old((NOW + SPAN + 49) / 1000)
    assert len(recent) == 50
    assert recent.find(key(50, session=2), BOB)
    recent.forget_old((NOW + SPAN + 100) / 1000)
    assert len(recent) == 0
    assert not recent._streams


def test_forgetting_after_a_repetition() -> None:
    """A message that came anew after its time stands among the later ones; the others go before it."""
    recent = RecentMessages()
    recent.add(key("m"), [BOB])
    recent.add(key("n", sent_at=NOW + 1), [BOB])
    recent.add(key("m", sent_at=NOW + SPAN), [BOB])
    recent.forget_old((NOW + SPAN + 1) / 1000)
    assert len(recent) == 1
    assert recent.find(key("m", sent_at=NOW + SPAN), BOB)


def test_how_many_of_a_stream() -> None:
    """The last `RECENT_MESSAGES` are known, whatever comes in another stream."""
    recent = RecentMessages()
    for number in range(RECENT_MESSAGES + 1):
        recent.add(key(number), [BOB])
    for number in range(2 * RECENT_MESSAGES):
        recent.add(key(number, session="ses_2"), [BOB])
    assert [bool(recent.find(key(number), BOB)) for number in (0, 1, RECENT_MESSAGES)] == [False, True, True]
    assert len(recent) == 2 * RECENT_MESSAGES


def test_how_many_in_all() -> None:
    """Beyond the bound those go whose stream has had no message for longest."""
    recent = RecentMessages(most=30)
    recent.add(key("first", session="idle"), [BOB])
    recent.add(key("first", session="busy"), [BOB])
    for number in range(100):
        recent.add(key(number, session=number), [BOB])
        recent.add(key(number, session="busy"), [BOB])
        assert len(recent) <= 30
    assert not recent.find(key("first", session="idle"), BOB)
    assert recent.find(key(99, session="busy"), BOB)


def test_receivers_that_come_and_go() -> None:
    """Each is known for as long as the message that it had, however many there were."""
    recent = RecentMessages()
    dice = random.Random(1)
    had: dict[int, set[User]] = {}
    for number in range(3 * RECENT_MESSAGES):
        users = {User(f"user {number // 7 + dice.randrange(20)}") for _ in range(dice.randrange(1, 9))}
        had[number] = users
        recent.add(key(number), users)
        if number % 3 == 0:
            again = dice.randrange(max(0, number - RECENT_MESSAGES + 1), number + 1)
            late = User(f"late {dice.randrange(50)}")
            had[again].add(late)
            recent.add(key(again), [late])
    everybody = set().union(*had.values())
    for number in range(2 * RECENT_MESSAGES, 3 * RECENT_MESSAGES, 50):
        assert {user for user in everybody if recent.find(key(number), user)} == had[number]


def remembered(recent: RecentMessages, dice: random.Random) -> int:
    """Return how many bytes it takes that one token sends as much as it may, to as many as it may, however chosen."""
    users = [User(f"user {number}") for number in range(PARTICIPANTS)]
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(int(EVENTS_PER_SECOND * RECENT_SECONDS) * 2):
            sent_at = NOW + number * 1000 // EVENTS_PER_SECOND
            stream, digest = (
                blake2b(b"%d" % each, digest_size=DIGEST_BYTES).digest() for each in (number % SESSIONS, number)
            )
            recent.add(MessageKey(stream, digest, sent_at), dice.sample(users, dice.randrange(1, PARTICIPANTS)))
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_what_one_token_can_have_remembered() -> None:
    """However many sessions, messages and receivers it talks to: 8 MiB."""
    recent = RecentMessages()
    size = remembered(recent, random.Random(1))
    assert len(recent) == SESSIONS * RECENT_MESSAGES
    assert size <= 8 * MIB, f"{size / MIB:.1f} MiB"
