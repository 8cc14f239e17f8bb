"""Changes that are made, and told, together."""

from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import pytest
from msgspec.structs import replace

from schemas.peers import Profile
from stores.base import Holder, Peer, StoreUnreachableError, User
from stores.bus import Home
from stores.redis.changes import Change, changes_of
from stores.redis.stores import RedisStores
from tests.support.redis import RedisServer
from tests.support.stores import running

COUNT = 20
MANY = 9500


@pytest.fixture
async def stores(redis: RedisServer) -> AsyncIterator[RedisStores]:
    """The stores of a node."""
    async with running(redis.namespace(uuid4().hex), "node") as made:
        yield made


def peer(number: int) -> Peer:
    return Peer(User(f"user-{number}"), Profile("x", "guest", "vim"), "online", b"a")


async def test_told_together(stores: RedisStores) -> None:
    """What many do in one turn is told to all nodes by one publish, in order, and each gets its own answer."""
    answers: dict[int, bool] = {}

    async def register(number: int) -> None:
        holder = Holder("node", number if number % 2 else 0)
        answers[number] = await stores.peers.register(peer(number), holder)

    for number in range(COUNT):
        await stores.peers.claim(User(f"user-{number}"), Holder("node", number))
    async with stores.client.subscribed(stores.client.space.changes) as messages, anyio.create_task_group() as tasks:
        await stores.client.redis.publish(stores.client.space.changes, "[]")  # by now it listens
        assert (await anext(messages))[1] == b"[]"
        for number in range(COUNT):
            tasks.start_soon(register, number)
        told = changes_of((await anext(messages))[1])
    assert answers == {number: number % 2 == 1 or number == 0 for number in range(COUNT)}
    assert all(isinstance(change, Change) for change in told)
    names = [change.about[1].user.id for change in told if isinstance(change, Change)]
    assert names == [f"user-{number}" for number in range(COUNT) if answers[number]]
    assert stores.directory.sizes().peers == len(names)


async def test_many(stores: RedisStores) -> None:
    """However many changes are made in one turn, they are made in order, and each gets its own answer."""
    answers: dict[int, bool] = {}

    async def adopt(number: int, home: Home) -> None:
        answers[number] = await stores.bus.adopt(User(f"user-{number}"), home)

    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(stores.peers.claim, User(f"user-{number}"), Holder("node", number + 1))
    homes = [stores.bus.home(User(f"user-{number}")) for number in range(MANY)]
    async with anyio.create_task_group() as tasks:
        for number, home in enumerate(homes):
            assert home is not None
            assert home.fence == number + 1
            tasks.start_soon(adopt, number, replace(home, fence=home.fence - number % 2))
    assert answers == {number: number % 2 == 0 for number in range(MANY)}
    adopted = [home for _, home in stores.replica.homes() if not home.socket]
    assert [home.fence for home in adopted] == list(range(MANY + 1, MANY + 1 + len(adopted)))


@pytest.mark.parametrize("version", ["0", "2000000"])
async def test_a_store_that_is_not_as_it_was(stores: RedisStores, version: str) -> None:
    """Nothing is changed where changes were lost, or where others have filled the store again since."""
    await stores.peers.claim(User("ann"), Holder("node", 1))
    await stores.client.redis.set(f"{stores.client.space.org(None)}version", version)
    with pytest.raises(StoreUnreachableError, match="lost what it had told"):
        await stores.peers.claim(User("bob"), Holder("node", 2))
    assert await stores.client.redis.hkeys(f"{stores.client.space.org(None)}holders") == [b"ann"]


async def test_all_are_told_when_it_fails(redis: RedisServer) -> None:
    """Who wants a change together with others while the store is away is told so, like the first of them."""
    made, refused = RedisStores(redis.namespace(uuid4().hex), "node", patience=0.1), list[int]()

    async def put(number: int) -> None:
        with pytest.raises(StoreUnreachableError):
            await made.peers.put(peer(number))
        refused.append(number)

    with redis.frozen():
        async with anyio.create_task_group() as tasks:
            for number in range(COUNT):
                tasks.start_soon(put, number)
    await made.client.close()
    assert sorted(refused) == list(range(COUNT))
