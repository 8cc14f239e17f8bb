"""Nodes whose clocks are minutes apart, and wrong: both go by the clock of the store, which is the tests' own."""

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.cluster.conftest import Nodes, nodes
from tests.cluster.test_nodes import meet, sees
from tests.service.test_resume import resumer
from tests.support.client import Client, client, pair
from tests.support.clocks import WrongClock, needs_faketime
from tests.support.redis import RedisServer
from tests.support.server import Server
from tests.support.tokens import Keys

pytestmark = needs_faketime

GRACE = 2.0
LATE = 8.0
"""By how much later than it is due something may come: nodes look ten times a second, and the machine is busy."""
LONG_LEASE = 2.7
"""Longer than a busy machine keeps a node from renewing it."""


Sight = Callable[[Server, Server, int], Coroutine[Any, Any, None]]

SETTINGS = {
    "session_grace_seconds": GRACE,
    "resume_grace_seconds": GRACE,
    "plugins": "tests.support.brisk",
    "token_leeway_seconds": 1,
    "token_expiry": "close",
}


@pytest.fixture(scope="module")
def apart(redis: RedisServer, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two nodes, one ahead of the store and one behind; graces and requests last for `GRACE` seconds."""
    folder = tmp_path_factory.mktemp("apart")
    with nodes(redis, keys, folder) as node:
        yield two_apart(node, folder, node_lease_seconds=LONG_LEASE)


def two_apart(node: Nodes, folder: Path, **settings: object) -> tuple[Server, Server]:
    """Start one node whose clock is ahead, and one whose clock is behind."""
    first, second = node.several(
        *(WrongClock(folder, ahead).environment() for ahead in (300, -300)), **SETTINGS, **settings
    )
    return first, second


async def both_ways(apart: tuple[Server, Server], see: Sight) -> None:
    """See it from either node to the other, at once; the number is for names of users."""
    async with anyio.create_task_group() as tasks:
        for number, (here, there) in enumerate((apart, apart[::-1])):
            tasks.start_soon(see, here, there, number)


@contextmanager
def taking(seconds: float) -> Iterator[None]:
    """See something take so long, or not much longer."""
    began = anyio.current_time()
    yield
    taken = anyio.current_time() - began
    assert seconds - 0.1 < taken < seconds + LATE


async def test_tokens(apart: tuple[Server, Server]) -> None:
    """What is good by the store's clock is good on both nodes, what has expired is not, and no socket outlives it."""

    async def see(server: Server, _: Server, number: int) -> None:
        async with client(server) as ann, client(server) as bob:
            await ann.send("AUTH", token=server.keys.token(f"ann-{number}", ttl=60))
            await ann.expect("AUTH_SUCCESS")
            await bob.send("AUTH", token=server.keys.token(f"bob-{number}", ttl=-60))
            assert (await bob.expect("AUTH_FAILED"))["code"] == "ERR_1003"
        async with client(server) as cat:
            with taking(3):
                await cat.send("AUTH", token=server.keys.token(f"cat-{number}", ttl=3))
                await cat.expect("AUTH_SUCCESS")
                await cat.expect_error("ERR_1003")
                await cat.expect_close(4003)

    await both_ways(apart, see)


async def test_tokens_of_one_are_good_on_the_other(apart: tuple[Server, Server]) -> None:
    """Development tokens are made by the store's clock, too."""
    for issuer, other in (apart, apart[::-1]):
        whom = {"userId": "ann", "email": "ann@example.com", "displayName": "Ann"}
        made = httpx2.post(f"{issuer.http}/api/v1/auth/dev-token", json=whom, trust_env=False)
        async with client(other) as ann:
            await ann.send("AUTH", token=made.json()["token"])
            await ann.expect("AUTH_SUCCESS")


async def test_timestamps(apart: tuple[Server, Server]) -> None:
    """Messages of both nodes carry the store's time."""
    async with client(apart[0]) as ann, client(apart[1]) as bob:
        session = await meet(ann, bob)
        for who, other in ((ann, bob), (bob, ann)):
            await who.send("SEND_MESSAGE", sessionId=session, content="x")
            sent = datetime.fromisoformat((await other.until("MESSAGE_RECEIVED"))["timestamp"])
            assert abs(sent.timestamp() - time.time()) < 1


async def test_requests(apart: tuple[Server, Server]) -> None:
    """A request that nobody answers expires when it is due, whichever node it was made on."""

    async def see(here: Server, there: Server, number: int) -> None:
        async with client(here) as ann, client(there) as bob:
            await ann.join(f"ann-{number}")
            await bob.join(f"bob-{number}")
            await sees(ann, f"bob-{number}")
            with taking(GRACE):
                await ann.send("CONNECTION_REQUEST", targetId=f"bob-{number}")
                await bob.until("CONNECTION_REQUEST_RECEIVED")
                assert (await ann.until("CONNECTION_REJECTED"))["reason"] == "expired"

    await both_ways(apart, see)


@pytest.mark.parametrize("opened", [client, resumer])
async def test_graces(
    apart: tuple[Server, Server], opened: Callable[[Server], AbstractAsyncContextManager[Client]]
) -> None:
    """Who drops is waited for as long as it should be."""

    async def see(here: Server, there: Server, number: int) -> None:
        async with opened(here) as ann, opened(there) as bob:
            await meet(ann, bob, (f"ann-{number}", f"bob-{number}"))
            with taking(GRACE):
                bob.cut()
                assert (await ann.until("SESSION_ENDED"))["reason"] == "timeout"

    await both_ways(apart, see)


async def test_coming_back_in_time(apart: tuple[Server, Server]) -> None:
    """Who drops may come back over the other node until its grace is over."""
    first, second = apart
    async with resumer(first) as ann, resumer(second) as bob:
        await meet(ann, bob)
        bob.cut()
        await anyio.sleep(GRACE / 4)
        async with resumer(first) as back:
            assert (await back.back(bob))["recovered"]


async def test_a_clock_is_set(node: Nodes, tmp_path: Path) -> None:
    """While a node runs: nothing is due at once, or never, until it asks the store for the time again."""
    clock = WrongClock(tmp_path, 0)
    server = node(**SETTINGS, **clock.environment(), node_lease_seconds=60)
    for ahead in (300, -300):
        async with client(server) as ann, client(server) as bob:
            await pair(ann, bob)
            with taking(GRACE):
                bob.cut()
                await ann.until("PEER_STATUS_UPDATE")
                clock.set(ahead)
                assert (await ann.until("SESSION_ENDED"))["reason"] == "timeout"


async def test_nobody_is_gone(node: Nodes, tmp_path: Path) -> None:
    """Neither node takes the other for gone, or moves its users; by the wrong clock it would at once be late."""
    first, second = two_apart(node, tmp_path, node_lease_seconds=LONG_LEASE)
    async with client(first) as ann, client(second) as bob:
        await meet(ann, bob)
        await anyio.sleep(LONG_LEASE * 4 / 3)
        for who in (ann, bob):
            await who.expect_quiet()
