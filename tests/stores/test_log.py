"""What `stores.log` promises, kept by every engine."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from stores.log import RECENT_MESSAGES, RECENT_SECONDS, RESERVED_EVENTS, Appended, Bounds, MessageKey, Outcome
from stores.memory.stores import MemoryStores
from stores.model import Request, User
from stores.protocols import Stores
from tests.support.logs import Socket, append, counted, event, settled, tell
from tests.support.redis import RedisServer
from tests.support.stores import on_file, running

ANN, BOB, CAT = User("ann"), User("bob", "acme"), User("cat")
BOUNDS = Bounds(events=10, user_bytes=4000)
DELIVERED, QUEUED, FULL, OVERFLOWED, DROPPED = Outcome


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Empty stores of each kind, which keep little."""
    if request.param == "memory":
        yield MemoryStores(BOUNDS)
        return
    if request.param == "sqlite":
        async with on_file(tmp_path / "store.db", BOUNDS) as kept:
            yield kept
        return
    redis: RedisServer = request.getfixturevalue("redis")
    async with running(redis.namespace(uuid4().hex), "node", BOUNDS) as made:
        yield made


def key(message_id: str, *, sender: User = ANN, session_id: str = "ses_1", ago: float = 0) -> MessageKey:
    return MessageKey.of(session_id, sender, message_id, now() - int(ago * 1000))


def now() -> int:
    return int(time.time() * 1000)


async def test_offsets_and_order(stores: Stores) -> None:
    """Events have the offsets 1, 2, 3 ... in the order in which they were appended, whatever call they were in."""
    socket = await Socket(stores, BOB).come("t1")
    assert (socket.first, socket.taken) == (1, [])
    stores.log.append([event(BOB, "a"), event(BOB, "b")])
    stores.log.append([event(BOB, "c", "always")])
    assert await tell(stores, BOB, "d", "e") == [DELIVERED] * 2
    assert socket.taken == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d"), (5, b"e")]
    assert socket.pending == 0


async def test_done_once_for_each_event(stores: Stores) -> None:
    """Whoever appends is told of each event of each user, also of those that are not kept."""
    await Socket(stores, BOB).come("t1")
    await (await Socket(stores, ANN).come("t1")).go()
    told: list[tuple[User, Appended]] = []
    events = [event(BOB, "a"), event(ANN, "a"), event(CAT, "a"), event(BOB, "b")]
    stores.log.append(events, done=lambda user, appended: told.append((user, appended)))
    await tell(stores, BOB, "c")
    await tell(stores, ANN, "c")
    assert Counter(told) == {
        (BOB, Appended(DELIVERED)): 2,
        (ANN, Appended(QUEUED)): 1,
        (CAT, Appended(DROPPED)): 1,
    }


async def test_kept_for_the_return(stores: Stores) -> None:
    """What comes while the user is away is handed out on its return, before what comes then."""
    socket = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a", "b")
    await socket.go()
    assert await tell(stores, BOB, "c", "d") == [QUEUED] * 2
    later = Socket(stores, BOB)
    assert await later.resume("t1", 1, "t2")
    assert later.first == 2
    assert await tell(stores, BOB, "e") == [DELIVERED]
    assert later.taken == [(2, b"b"), (3, b"c"), (4, b"d"), (5, b"e")]
    assert socket.payloads == [b"a", b"b"]
    assert later.pending == 0


async def test_the_tokens_of_two_who_resume(stores: Stores) -> None:
    """A client that gave a socket up may have its token from either one: both are good."""
    await Socket(stores, BOB).come("t1")
    assert await Socket(stores, BOB).resume("t1", 0, "t2")
    assert await Socket(stores, BOB).resume("t1", 0, "t3")
    assert await Socket(stores, BOB).resume("t2", 0, "t4")
    stores.log.confirm(BOB)
    assert await Socket(stores, BOB).resume("t4", 0, "t5")
    assert not await Socket(stores, BOB).resume("t1", 0, "t6")


async def test_a_used_token_is_good_until_the_next_is_confirmed(stores: Stores) -> None:
    """A client that did not get the next token comes back with the one it has."""
    socket = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a")
    for token in ("t2", "t3"):
        await socket.go()
        socket = Socket(stores, BOB)
        assert await socket.resume("t1", 0, token)
        assert socket.taken == [(1, b"a")]
    await socket.go()
    socket = Socket(stores, BOB)
    assert await socket.resume("t3", 0, "t5")
    stores.log.confirm(BOB)
    await tell(stores, BOB, "b")
    await socket.go()
    assert not await Socket(stores, BOB).resume("t3", 0, "t6")
    assert await Socket(stores, BOB).resume("t5", 0, "t7")


async def test_resume_is_refused(stores: Stores) -> None:
    """... where it could not be whole; that changes nothing."""
    assert not await Socket(stores, BOB).resume("t1", 0, "t2")
    socket = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a", "b", "c")
    stores.log.trim(BOB, 2)
    await counted(stores, BOB, 1)
    await socket.go()
    other = Socket(stores, BOB)
    assert not await stores.log.resume(BOB, other.holder, "t1", 2, "t2"), "it has no claim"
    assert not await other.resume("t1", 1, "t2"), "it was let go of"
    assert not await other.resume("t1", 4, "t2"), "it never came as far"
    assert not await other.resume("t0", 2, "t2"), "it is another token"
    assert not await other.resume("", 2, "t2"), "it is no token"
    assert await other.resume("t1", 2, "t2")
    assert other.taken == [(3, b"c")]


async def test_starting_over(stores: Stores) -> None:
    """Offsets begin at 1 again, and what was kept is gone, as are the tokens."""
    await (await Socket(stores, BOB).come("t1")).go()
    await tell(stores, BOB, "a")
    socket = await Socket(stores, BOB).come("t2")
    assert socket.taken == []
    await tell(stores, BOB, "b")
    assert socket.taken == [(1, b"b")]
    await socket.go()
    assert not await Socket(stores, BOB).resume("t1", 0, "t3")
    assert not await stores.log.start(BOB, socket.holder, "t4"), "its claim is over"
    other = Socket(stores, BOB)
    assert await other.resume("t2", 0, "t3")
    assert other.payloads == [b"b"]


async def test_version_1_after_a_token(stores: Stores) -> None:
    """What was kept with a token is gone for a socket without one; and the other way round."""
    await (await Socket(stores, BOB).come("t1")).go()
    await tell(stores, BOB, "a")
    socket = await Socket(stores, BOB).come()
    assert socket.taken == []
    await socket.go()
    await tell(stores, BOB, "b")
    assert (await Socket(stores, BOB).come("t2")).taken == []
    await counted(stores, BOB, 0)


async def test_version_1_gets_what_was_kept_once(stores: Stores) -> None:
    """It is kept but while the user is away."""
    socket = await Socket(stores, BOB).come()
    assert await tell(stores, BOB, "a") == [DELIVERED]
    await counted(stores, BOB, 0)
    await socket.go()
    assert await tell(stores, BOB, "b", "c") == [QUEUED] * 2
    await counted(stores, BOB, 2)
    later = await Socket(stores, BOB).come()
    assert later.payloads == [b"b", b"c"]
    await tell(stores, BOB, "d")
    await later.go()
    last = await Socket(stores, BOB).come()
    await tell(stores, BOB, "e")
    assert [each.payloads for each in (socket, later, last)] == [[b"a"], [b"b", b"c", b"d"], [b"e"]]
    assert last.pending == 0


async def test_version_1_comes_twice(stores: Stores) -> None:
    """What was kept is there for whichever socket follows, though another had the claim for a moment."""
    await (await Socket(stores, BOB).come()).go()
    await tell(stores, BOB, "a")
    hasty = Socket(stores, BOB, is_version_1=True)
    await hasty.claim()
    assert await stores.log.start(BOB, hasty.holder, None)
    assert (await Socket(stores, BOB).come()).payloads == [b"a"]
    assert (await Socket(stores, BOB).come()).payloads == []


async def test_follow_is_refused(stores: Stores) -> None:
    """... to a socket without the claim, and where some of it was let go of."""
    socket = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a", "b")
    stores.log.trim(BOB, 1)
    await counted(stores, BOB, 1)
    other = Socket(stores, BOB)
    await stores.log.follow(BOB, other.holder, 1, other)
    assert not await stores.log.follow(BOB, socket.holder, 0, other)
    assert other.first is None


async def test_following_again_while_events_are_on_their_way(stores: Stores) -> None:
    """Each event reaches one of two readers, or both if the second asks for it again; none is left pending."""
    first = await Socket(stores, BOB).come("t1")
    stores.log.append([event(BOB, "a"), event(BOB, "b")])
    second = Socket(stores, BOB)
    assert await stores.log.follow(BOB, first.holder, 0, second)
    stores.log.append([event(BOB, "c")])
    await tell(stores, BOB, "d")
    await settled(second)
    assert second.taken == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")]
    assert first.payloads in ([], [b"a", b"b"])


async def test_returning_while_events_are_on_their_way(stores: Stores) -> None:
    """They come after what was kept, once each."""
    await (await Socket(stores, BOB).come("t1")).go()
    stores.log.append([event(BOB, "a"), event(BOB, "b")])
    bob = Socket(stores, BOB)
    await bob.claim()
    stores.log.append([event(BOB, "c")])
    assert await stores.log.resume(BOB, bob.holder, "t1", 0, "t2")
    stores.log.append([event(BOB, "d")])
    assert await stores.log.follow(BOB, bob.holder, 0, bob)
    stores.log.append([event(BOB, "e")])
    await tell(stores, BOB, "f")
    await settled(bob)
    assert bob.taken == list(enumerate([b"a", b"b", b"c", b"d", b"e", b"f"], 1))


async def test_version_1_returns_while_more_is_on_its_way_than_is_kept(stores: Stores) -> None:
    """What there is room for comes once and in order, and then what is new."""
    await (await Socket(stores, BOB).come()).go()
    bob = Socket(stores, BOB, is_version_1=True)
    await bob.claim()
    assert await stores.log.start(BOB, bob.holder, None)
    stores.log.append([event(BOB, "first")])
    assert await stores.log.follow(BOB, bob.holder, None, bob)
    stores.log.append([event(BOB, f"{number:02}") for number in range(BOUNDS.events + 5)])
    again = Socket(stores, BOB, is_version_1=True)
    assert await stores.log.follow(BOB, bob.holder, None, again)
    await tell(stores, BOB, "last")
    await settled(again)
    heard = [payload for payload in bob.payloads + again.payloads if payload not in {b"first", b"last"}]
    assert heard == sorted(set(heard))
    assert again.payloads[-1] == b"last"


async def test_version_1_moves_while_events_are_on_their_way(stores: Stores) -> None:
    """What one socket has not got is there for the next, in order, be it new or handed out again."""
    sockets = [await Socket(stores, BOB).come()]
    outcomes: list[Outcome] = []
    for number in range(4):
        for letter in "ab":
            made = [event(BOB, f"{number}{letter}")]
            stores.log.append(made, key(f"{number}{letter}"), lambda _, appended: outcomes.append(appended.outcome))
        hasty = Socket(stores, BOB, is_version_1=True)
        await hasty.claim()
        stores.log.append([event(BOB, f"{number}c")])
        assert await stores.log.start(BOB, hasty.holder, None)
        assert await stores.log.follow(BOB, hasty.holder, None, hasty)
        sockets.append(hasty)
    await tell(stores, BOB, "last")
    await settled(sockets[-1])
    heard = [payload for socket in sockets for payload in socket.payloads]
    assert heard == [b"%d%c" % (number, letter) for number in range(4) for letter in b"abc"] + [b"last"]
    assert set(outcomes) <= {DELIVERED, QUEUED}
    assert not any(socket.pending for socket in sockets)


async def test_following_again(stores: Stores) -> None:
    """Another reader takes over; the first gets nothing any more."""
    first = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a", "b")
    second = Socket(stores, BOB)
    assert await stores.log.follow(BOB, first.holder, 1, second)
    await tell(stores, BOB, "c")
    assert first.payloads == [b"a", b"b"]
    assert second.taken == [(2, b"b"), (3, b"c")]
    stores.log.unfollow(BOB)
    await tell(stores, BOB, "d")
    assert second.payloads == [b"b", b"c"]
    third = Socket(stores, BOB)
    assert await stores.log.follow(BOB, first.holder, 3, third)
    assert third.taken == [(4, b"d")]
    assert [each.pending for each in (second, third)] == [0, 0]


async def test_a_claim_that_moves(stores: Stores) -> None:
    """Another socket of the user goes on with the log; the one before gets nothing any more."""
    first = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a")
    second = Socket(stores, BOB)
    await second.claim()
    await tell(stores, BOB, "b")
    assert first.payloads == [b"a"]
    assert not await stores.log.resume(BOB, first.holder, "t1", 1, "t2")
    assert await stores.log.resume(BOB, second.holder, "t1", 1, "t2")
    assert await stores.log.follow(BOB, second.holder, 1, second)
    assert second.taken == [(2, b"b")]
    assert not await stores.peers.release(BOB, first.holder)
    assert await tell(stores, BOB, "c") == [DELIVERED]
    assert second.payloads == [b"b", b"c"]


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_full_log(stores: Stores, size: int) -> None:
    """A message finds no room; what has to be kept does. With room again messages are kept, too."""
    most = min(BOUNDS.events, BOUNDS.user_bytes // size)
    socket = await Socket(stores, BOB).come("t1")
    await socket.go()
    payload = "x" * size
    assert await tell(stores, BOB, *[payload] * most) == [QUEUED] * most
    assert await tell(stores, BOB, payload) == [FULL]
    assert await tell(stores, BOB, payload, kept="always") == [QUEUED]
    await counted(stores, BOB, most + 1)
    again = Socket(stores, BOB)
    assert await again.resume("t1", 0, "t2")
    assert len(again.taken) == most + 1
    stores.log.trim(BOB, 2)
    await counted(stores, BOB, most - 1)
    await again.go()
    assert await tell(stores, BOB, payload, payload) == [QUEUED, FULL]


async def test_room_beyond_the_bounds(stores: Stores) -> None:
    """Past that the log is broken: nothing is kept any more, and it cannot be resumed, but started over."""
    await (await Socket(stores, BOB).come("t1")).go()
    most = BOUNDS.events + RESERVED_EVENTS
    assert await tell(stores, BOB, *["x"] * most, kept="always") == [QUEUED] * most
    assert await tell(stores, BOB, "y", "z", kept="always") == [DROPPED] * 2
    assert await tell(stores, BOB, "z") == [DROPPED]
    assert await stores.log.count(BOB) == 0
    socket = Socket(stores, BOB)
    for offset in (0, most):
        assert not await socket.resume("t1", offset, "t2")
    await socket.come("t2")
    assert await tell(stores, BOB, "z") == [DELIVERED]
    assert socket.taken == [(1, b"z")]


async def test_twice_the_bytes(stores: Stores) -> None:
    """What has to be kept may take up twice the bytes."""
    await (await Socket(stores, BOB).come("t1")).go()
    half = "x" * (BOUNDS.user_bytes // 2)
    assert await tell(stores, BOB, *[half] * 4, kept="always") == [QUEUED] * 4
    assert await tell(stores, BOB, "y", kept="always") == [DROPPED]


@pytest.mark.parametrize("kept", ["if_room", "always"])
async def test_version_1_overflows(stores: Stores, kept: str) -> None:
    """... as soon as there is no room, whatever it is."""
    await (await Socket(stores, BOB).come()).go()
    await tell(stores, BOB, *["x"] * BOUNDS.events)
    (overflowed,) = await append(stores, event(BOB, "y", "always" if kept == "always" else "if_room"))
    assert overflowed.outcome is OVERFLOWED


@pytest.mark.parametrize("size", [1, 1000])
async def test_the_oldest_of_a_user_who_is_there(stores: Stores, size: int) -> None:
    """... are let go of; it has got them, but cannot go on from before them."""
    most = min(BOUNDS.events, BOUNDS.user_bytes // size)
    socket = await Socket(stores, BOB).come("t1")
    assert await tell(stores, BOB, *["x" * size] * (most + 3)) == [DELIVERED] * (most + 3)
    assert len(socket.taken) == most + 3
    await counted(stores, BOB, most)
    await socket.go()
    assert not await Socket(stores, BOB).resume("t1", 2, "t2")
    again = Socket(stores, BOB)
    assert await again.resume("t1", 3, "t2")
    assert len(again.taken) == most


async def test_users_do_not_share_their_room(stores: Stores) -> None:
    """One for whom there is no room keeps nothing from the others."""
    await (await Socket(stores, BOB).come("t1")).go()
    await tell(stores, BOB, *["x"] * BOUNDS.events)
    await Socket(stores, ANN).come("t1")
    answers = await append(stores, event(BOB, "y"), event(ANN, "y"))
    assert [each.outcome for each in answers] == [FULL, DELIVERED]


async def test_many_that_are_pending(stores: Stores) -> None:
    """However many requests wait for a user, it is told of each once, and when one ends."""
    socket = await Socket(stores, BOB).come("t1")
    names = [f"req_{number}" for number in range(150)]
    for name in names:
        await stores.requests.add(Request(name, CAT, BOB, now() / 1000 + 60))
    for _ in range(2):
        await append(stores, *(event(BOB, name, "while_pending", name) for name in names))
    assert socket.payloads == [name.encode() for name in names]
    await stores.requests.take(names[0])
    assert await append(stores, event(BOB, "gone", "if_told", names[0])) == [Appended(DELIVERED)]


async def test_what_is_pending(stores: Stores) -> None:
    """A user who is away is not told of a request, but on its return; and once, whoever does it."""
    socket = await Socket(stores, BOB).come("t1")
    await socket.go()
    asked, cancelled = event(BOB, "asked", "while_pending", "req_1"), event(BOB, "gone", "if_told", "req_1")
    assert await append(stores, asked) == [Appended(QUEUED)]
    assert await append(stores, cancelled) == [Appended(DROPPED)]
    await counted(stores, BOB, 0)
    socket = Socket(stores, BOB)
    assert await socket.resume("t1", 0, "t2")
    for _ in range(2):
        (told,) = await append(stores, asked)
        assert told.outcome is DELIVERED
    assert socket.payloads == [b"asked"]
    await socket.go()
    assert await append(stores, event(BOB, "gone", "if_told", "req_2")) == [Appended(DROPPED)]
    assert await append(stores, cancelled, cancelled) == [Appended(QUEUED), Appended(DROPPED)]
    later = Socket(stores, BOB)
    assert await later.resume("t2", 1, "t3")
    assert later.payloads == [b"gone"]


async def test_a_message_that_is_sent_again(stores: Stores) -> None:
    """It is not appended again, wherever the user is by then; its sender learns when it was sent first."""
    socket = await Socket(stores, BOB).come("t1")
    first, again = key("m", ago=2), key("m", ago=1)
    assert await append(stores, event(BOB, "a"), key=first) == [Appended(DELIVERED)]
    assert await append(stores, event(BOB, "a"), key=again) == [Appended(DELIVERED, first.sent_at)]
    await socket.go()
    assert await append(stores, event(BOB, "a"), key=again) == [Appended(QUEUED, first.sent_at)]
    assert socket.payloads == [b"a"]
    await counted(stores, BOB, 1)


async def test_a_message_that_is_sent_again_at_once(stores: Stores) -> None:
    """It is no less sent again for being so in the same millisecond, be it in one turn of the loop."""
    socket = await Socket(stores, BOB).come("t1")
    first = key("m")
    found: list[Appended] = []
    for _ in range(2):
        stores.log.append([event(BOB, "a")], first, lambda _, appended: found.append(appended))
    assert await append(stores, event(BOB, "a"), key=first) == [Appended(DELIVERED, first.sent_at)]
    assert found == [Appended(DELIVERED), Appended(DELIVERED, first.sent_at)]
    assert socket.payloads == [b"a"]


async def test_a_message_for_which_there_was_no_room(stores: Stores) -> None:
    """It does not count as sent to that user, but to the others."""
    await (await Socket(stores, BOB).come("t1")).go()
    ann = await Socket(stores, ANN).come("t1")
    await tell(stores, BOB, *["x"] * BOUNDS.events)
    first = key("m", sender=CAT, ago=1)
    both = event(BOB, "a"), event(ANN, "a")
    assert [each.outcome for each in await append(stores, *both, key=first)] == [FULL, DELIVERED]
    bob = Socket(stores, BOB)
    assert await bob.resume("t1", 0, "t2")
    bob.taken.clear()
    answers = await append(stores, *both, key=key("m", sender=CAT))
    assert answers == [Appended(DELIVERED), Appended(DELIVERED, first.sent_at)]
    assert (bob.payloads, ann.payloads) == ([b"a"], [b"a"])


async def test_a_message_that_is_full_again(stores: Stores) -> None:
    """It stays to be sent, as often as there is no room, and is kept once as soon as there is."""
    await (await Socket(stores, BOB).come("t1")).go()
    await tell(stores, BOB, *["x"] * BOUNDS.events)
    for _ in range(3):
        assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(FULL)]
    bob = Socket(stores, BOB)
    assert await bob.resume("t1", 0, "t2")
    bob.taken.clear()
    first = key("m", ago=1)
    assert await append(stores, event(BOB, "a"), key=first) == [Appended(DELIVERED)]
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DELIVERED, first.sent_at)]
    assert bob.payloads == [b"a"]


async def test_a_message_that_is_sent_again_to_others(stores: Stores) -> None:
    """Whoever was not among its receivers the first time gets it now."""
    bob, ann = await Socket(stores, BOB).come("t1"), await Socket(stores, ANN).come()
    first = key("m", sender=CAT, ago=1)
    assert await append(stores, event(BOB, "a"), key=first) == [Appended(DELIVERED)]
    answers = await append(stores, event(BOB, "a"), event(ANN, "a"), key=key("m", sender=CAT))
    assert answers == [Appended(DELIVERED, first.sent_at), Appended(DELIVERED)]
    assert (bob.payloads, ann.payloads) == ([b"a"], [b"a"])


async def test_a_message_that_was_dropped(stores: Stores) -> None:
    """It does not count as sent to a user of whom nothing is kept, until there is one."""
    for _ in range(2):
        assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DROPPED)]
    bob = await Socket(stores, BOB).come("t1")
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DELIVERED)]
    assert bob.payloads == [b"a"]


async def test_a_message_to_a_broken_log(stores: Stores) -> None:
    """It reaches the user who has started over, if it is sent again."""
    await (await Socket(stores, BOB).come("t1")).go()
    await tell(stores, BOB, *["x"] * (BOUNDS.events + RESERVED_EVENTS + 1), kept="always")
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DROPPED)]
    bob = await Socket(stores, BOB).come("t2")
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DELIVERED)]
    assert bob.payloads == [b"a"]


async def test_a_message_that_overflowed(stores: Stores) -> None:
    """It does not count as sent."""
    await (await Socket(stores, BOB).come()).go()
    await tell(stores, BOB, *["x"] * BOUNDS.events)
    (overflowed,) = await append(stores, event(BOB, "a"), key=key("m"))
    assert overflowed == Appended(OVERFLOWED)
    await stores.peers.remove(BOB)
    stores.log.forget(BOB)
    bob = await Socket(stores, BOB).come()
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DELIVERED)]
    assert bob.payloads == [b"a"]


async def test_a_message_before_starting_over(stores: Stores) -> None:
    """It is recognised by a log that started over, and by one whose user was forgotten and is back."""
    first = key("m", ago=1)
    bob = await Socket(stores, BOB).come("t1")
    assert await append(stores, event(BOB, "a"), key=first) == [Appended(DELIVERED)]
    again = await Socket(stores, BOB).come("t2")
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DELIVERED, first.sent_at)]
    await again.go()
    await stores.peers.remove(BOB)
    stores.log.forget(BOB)
    (forgotten,) = await append(stores, event(BOB, "a"), key=key("m"))
    assert forgotten.outcome is DROPPED
    last = await Socket(stores, BOB).come()
    assert await append(stores, event(BOB, "a"), key=key("m")) == [Appended(DELIVERED, first.sent_at)]
    assert [each.payloads for each in (bob, again, last)] == [[b"a"], [], []]


async def test_a_message_of_which_each_gets_its_own(stores: Stores) -> None:
    """One message to several users in one call is one message to each of them; not two to one of them."""
    bob, ann = await Socket(stores, BOB).come("t1"), await Socket(stores, ANN).come("t1")
    await append(stores, event(BOB, "for bob"), event(ANN, "for ann"), key=key("m", sender=CAT))
    assert (bob.payloads, ann.payloads) == ([b"for bob"], [b"for ann"])


async def test_no_key_is_no_repetition(stores: Stores) -> None:
    """Equal events without a key are several events."""
    bob = await Socket(stores, BOB).come("t1")
    assert await tell(stores, BOB, "a", "a", "a") == [DELIVERED] * 3
    assert bob.payloads == [b"a"] * 3


async def test_other_messages(stores: Stores) -> None:
    """Ids of other senders and sessions are other ids, however they are put together."""
    socket = await Socket(stores, BOB).come("t1")
    keys = [
        key("c", sender=User("b"), session_id="a"),
        key("bc", sender=User(""), session_id="a"),
        key("c", sender=User("", "b"), session_id="a"),
        key("c", sender=User(""), session_id="ab"),
        key("c", sender=User("ab"), session_id=""),
        key("", sender=User("bc"), session_id="a"),
        key("\ud800", sender=User("b"), session_id="a"),
        key("c\x00", sender=User("b"), session_id="a"),
        key("smith m-1", session_id="s"),
        key("m-1", sender=User("ann smith"), session_id="s"),
        key("m-1", sender=User("ann", "smith"), session_id="s"),
        key("ann m-1", sender=User("smith"), session_id="s"),
        key("m-1", sender=User("smith"), session_id="s ann"),
        key("m-1", sender=User("ann\x00\x00\x00\x03smith"), session_id="s"),
    ]
    for number, each in enumerate(keys):
        assert await append(stores, event(BOB, f"{number}"), key=each) == [Appended(DELIVERED)]
    assert len(socket.taken) == len(keys)


async def test_how_long_a_message_is_recognised(stores: Stores) -> None:
    """... for `RECENT_SECONDS`; then it is another one."""
    socket = await Socket(stores, BOB).come("t1")
    for number, ago in enumerate([2 * RECENT_SECONDS, RECENT_SECONDS - 30, 0]):
        stores.log.forget_old(time.time())
        (appended,) = await append(stores, event(BOB, f"{number}"), key=key("m", ago=ago))
        assert bool(appended.first_sent_at) == (number == 2)
    assert socket.payloads == [b"0", b"1"]


async def test_how_many_messages_are_recognised(stores: Stores) -> None:
    """... of each stream the last `RECENT_MESSAGES`, whatever comes in another."""
    socket = await Socket(stores, BOB).come("t1")
    await append(stores, event(BOB, "a"), key=key("m"))
    for number in range(RECENT_MESSAGES - 1):
        stores.log.append([event(BOB, "x")], key(f"{number}"))
    for number in range(11 * RECENT_MESSAGES):
        stores.log.append([event(BOB, "y")], key(f"{number}", sender=CAT, session_id=f"{number % 11}"))
    await tell(stores, BOB, "z")
    (again,) = await append(stores, event(BOB, "a"), key=key("m", ago=-1))
    assert again.first_sent_at
    assert socket.payloads.count(b"a") == 1
    await append(stores, event(BOB, "x"), key=key("n"))
    assert await append(stores, event(BOB, "a"), key=key("m", ago=-1)) == [Appended(DELIVERED)]


async def test_forgetting(stores: Stores) -> None:
    """Of a user who is forgotten nothing is kept; one who is back by then keeps what it has."""
    socket = await Socket(stores, BOB).come("t1")
    await tell(stores, BOB, "a")
    stores.log.forget(BOB)
    assert await tell(stores, BOB, "b") == [DELIVERED]
    assert socket.payloads == [b"a", b"b"]
    await socket.go()
    await tell(stores, BOB, "c")
    await stores.peers.remove(BOB)
    stores.log.forget(BOB)
    assert await tell(stores, BOB, "d") == [DROPPED]
    assert await stores.log.count(BOB) == 0
    assert not await Socket(stores, BOB).resume("t1", 0, "t2")


async def test_nobody(stores: Stores) -> None:
    """Nothing is kept for a user who never came; what else is done for one does no harm."""
    assert await tell(stores, BOB, "a") == [DROPPED]
    stores.log.trim(BOB, 1)
    stores.log.confirm(BOB)
    stores.log.unfollow(BOB)
    stores.log.forget(BOB)
    assert await stores.log.count(BOB) == 0
    assert {"logs", "log_bytes", "message_keys"} <= stores.log.stats().keys()
