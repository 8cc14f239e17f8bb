"""What the logs of a single process do beyond the contract: the bound for all users together, and what was sent."""

import pytest

from stores.log import Bounds, Outcome
from stores.memory.log import MOST_TOLD
from stores.memory.stores import MemoryStores
from stores.model import User
from tests.support.logs import Socket, append, event, tell

SIZE = 100
TOTAL = 10 * SIZE
PAYLOAD = "x" * SIZE
FEW = [PAYLOAD] * 4
QUEUED, FULL, DROPPED = Outcome.QUEUED, Outcome.FULL, Outcome.DROPPED


@pytest.fixture
def stores() -> MemoryStores:
    """Stores that keep little for all users together."""
    return MemoryStores(Bounds(total_bytes=TOTAL))


async def away(stores: MemoryStores, name: str) -> User:
    """Return a user with a log who is away."""
    user = User(name)
    await (await Socket(stores, user).come(f"token of {name}")).go()
    return user


def test_bytes_are_counted(stores: MemoryStores) -> None:
    """An empty engine has none."""
    assert stores.log.stats() == {"logs": 0, "log_bytes": 0, "message_keys": 0}


async def test_all_that_is_kept(stores: MemoryStores) -> None:
    """Messages for users who are away find no room once all logs together are full; none loses what it has."""
    users = [await away(stores, name) for name in ("ann", "bob", "cat")]
    outcomes = [await tell(stores, user, *FEW) for user in users]
    assert outcomes == [[QUEUED] * 4, [QUEUED] * 4, [QUEUED, QUEUED, FULL, FULL]]
    assert stores.log.stats()["log_bytes"] == TOTAL
    stores.log.forget(users[0])
    assert await tell(stores, users[2], *FEW) == [QUEUED] * 4
    assert stores.log.stats()["log_bytes"] == TOTAL


async def test_the_largest_of_those_who_are_there(stores: MemoryStores) -> None:
    """They make room: what is kept for them they have got."""
    small, large = await Socket(stores, User("small")).come("t1"), await Socket(stores, User("large")).come("t1")
    kept = await away(stores, "kept")
    await tell(stores, small.user, PAYLOAD)
    await tell(stores, large.user, *FEW, *FEW)
    assert await tell(stores, kept, PAYLOAD, PAYLOAD, kept="always") == [QUEUED] * 2
    assert [await stores.log.count(user) for user in (small.user, large.user, kept)] == [1, 0, 2]
    assert len(large.taken) == 8
    assert stores.log.stats()["log_bytes"] == 3 * SIZE


async def test_twice_of_all(stores: MemoryStores) -> None:
    """What has to be kept may take up twice the bytes, of all users together; then a log breaks."""
    users = [await away(stores, f"user {number}") for number in range(6)]
    outcomes = [await tell(stores, user, *FEW, kept="always") for user in users]
    assert outcomes == [[QUEUED] * 4] * 5 + [[DROPPED] * 4]
    assert stores.log.stats()["log_bytes"] == 2 * TOTAL
    assert not await Socket(stores, users[-1]).resume("token of user 5", 0, "t2")


async def test_bytes_that_are_gone(stores: MemoryStores) -> None:
    """However a log ends or shrinks, its bytes are free again."""
    ann, bob, cat, dan = [await away(stores, name) for name in ("ann", "bob", "cat", "dan")]
    for user in (ann, bob, cat, dan):
        await tell(stores, user, PAYLOAD, PAYLOAD)
    stores.log.trim(ann, 1)
    await Socket(stores, bob).come("t2")
    await Socket(stores, cat).come()
    stores.log.forget(dan)
    assert stores.log.stats()["log_bytes"] == SIZE
    stores.log.trim(ann, 5)
    assert stores.log.stats() == {"logs": 2, "log_bytes": 0, "message_keys": 0}


async def test_requests_that_ended(stores: MemoryStores) -> None:
    """That a user was told of them is forgotten after some more, so that it takes no memory that grows."""
    user = (await Socket(stores, User("ann")).come("t1")).user
    for number in range(MOST_TOLD + 1):
        await append(stores, event(user, "", "while_pending", f"req_{number}"))
    ends = [event(user, "", "if_told", f"req_{number}") for number in range(2)]
    assert [each.outcome for each in await append(stores, *ends)] == [DROPPED, Outcome.DELIVERED]


async def test_an_offset_that_was_never_sent(stores: MemoryStores) -> None:
    """A client cannot have what no socket of its user was handed."""
    user = await away(stores, "ann")
    await tell(stores, user, PAYLOAD)
    socket = Socket(stores, user)
    assert not await socket.resume("token of ann", 1, "t2")
    assert await socket.resume("token of ann", 0, "t2")
    assert len(socket.taken) == 1
