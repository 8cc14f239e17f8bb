"""Nodes whose clocks are minutes apart, and wrong: both go by the clock of the store, which is the tests' own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.cluster.conftest import LEASE, Nodes
from tests.cluster.test_nodes import meet, sees
from tests.service.test_resume import resumer
from tests.support.client import client, pair
from tests.support.clocks import WrongClock, needs_faketime
from tests.support.server import Server

pytestmark = needs_faketime

GRACE = 2.0
LATE = 3.0
"""By how much later than it is due something may come: nodes look ten times a second, and the machine is busy."""


SETTINGS = {
    "session_grace_seconds": GRACE,
    "resume_grace_seconds": GRACE,
    "plugins": "tests.support.brisk",
    "token_leeway_seconds": 1,
    "token_expiry": "close",
}


@pytest.fixture
def apart(node: Nodes, tmp_path: Path) -> tuple[Server, Server]:
    """Two nodes, one ahead of the store and one behind; graces and requests last for `GRACE` seconds."""
    first, second = (node(**SETTINGS, **WrongClock(tmp_path, ahead).environment()) for ahead in (300, -300))
    return first, second


@contextmanager
def taking(seconds: float) -> Iterator[None]:
    """See something take so long, or not much longer."""
    began = anyio.current_time()
    yield
    taken = anyio.current_time() - began
    assert seconds - 0.1 < taken < seconds + LATE


async def test_tokens(apart: tuple[Server, Server]) -> None:
    """What is good by the store's clock is good on both nodes, what has expired is not, and no socket outlives it."""
    for server in apart:
        async with client(server) as ann, client(server) as bob:
            await ann.send("AUTH", token=server.keys.token("ann", ttl=60))
            await ann.expect("AUTH_SUCCESS")
            await bob.send("AUTH", token=server.keys.token("bob", ttl=-60))
            assert (await bob.expect("AUTH_FAILED"))["code"] == "ERR_1003"
        async with client(server) as cat:
            with taking(3):
                await cat.send("AUTH", token=server.keys.token("cat", ttl=3))
                await cat.expect("AUTH_SUCCESS")
                await cat.expect_error("ERR_1003")
                await cat.expect_close(4003)


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
    async with client(apart[0]) as ann, client(apart[1]) as bob:
        await ann.join("ann")
        await bob.join("bob")
        await sees(ann, "bob")
        await sees(bob, "ann")
        for who, other, name in ((ann, bob, "bob"), (bob, ann, "ann")):
            with taking(GRACE):
                await who.send("CONNECTION_REQUEST", targetId=name)
                await other.until("CONNECTION_REQUEST_RECEIVED")
                assert (await who.until("CONNECTION_REJECTED"))["reason"] == "expired"


@pytest.mark.parametrize("is_modern", [False, True])
async def test_graces(apart: tuple[Server, Server], is_modern: bool) -> None:
    """Who drops is waited for as long as it should be, and may come back over the other node until then."""
    first, second = apart
    opened = resumer if is_modern else client
    for here, there in ((first, second), (second, first)):
        async with opened(here) as ann, opened(there) as bob:
            await meet(ann, bob)
            with taking(GRACE):
                bob.cut()
                assert (await ann.until("SESSION_ENDED"))["reason"] == "timeout"
    async with resumer(first) as ann, resumer(second) as bob:
        await meet(ann, bob)
        bob.cut()
        await anyio.sleep(GRACE / 2)
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


async def test_nobody_is_gone(apart: tuple[Server, Server]) -> None:
    """Neither node takes the other for gone, or moves its users."""
    async with client(apart[0]) as ann, client(apart[1]) as bob:
        await meet(ann, bob)
        await anyio.sleep(4 * LEASE)
        for who in (ann, bob):
            await who.expect_quiet()
