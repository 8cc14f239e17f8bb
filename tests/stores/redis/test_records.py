"""Records that are taken from several orgs, while Redis answers for some."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from schemas.peers import Profile
from stores.base import Peer, Request, StoreUnreachableError, User
from stores.redis.stores import RedisStores
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN, FAR_ANN = User("ann"), User("ann", "acme")


@pytest.fixture
async def stores(redis: RedisServer) -> AsyncIterator[RedisStores]:
    """Stores with a peer that has lapsed, and a request that has expired, in each of two orgs."""
    async with running(redis.namespace(uuid4().hex), "node") as made:
        for user in (ANN, FAR_ANN):
            await made.peers.put(Peer(user, Profile("Ann", "guest", "vim"), "offline", b"", lapses_at=1))
            await made.requests.add(Request(f"req {user.org}", user, User("bob", user.org), 1))
        yield made


def fail_for(monkeypatch: pytest.MonkeyPatch, records: object, *orgs: str | None) -> None:
    """Have the store not answer about some orgs."""
    change = records._change  # type: ignore[attr-defined]

    async def partly(name: str, org: str | None, *arguments: object) -> object:
        if org in orgs:
            raise StoreUnreachableError("gone")
        return await change(name, org, *arguments)

    monkeypatch.setattr(records, "_change", partly)


async def test_lapsed_of_several_orgs(stores: RedisStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who were taken are returned, though the store failed then; the others are taken by the next call."""
    with monkeypatch.context() as patched:
        fail_for(patched, stores.peers, "acme")
        assert [peer.user for peer in await stores.peers.take_lapsed(2)] == [ANN]
        with pytest.raises(StoreUnreachableError):
            await stores.peers.take_lapsed(2)
    assert [peer.user for peer in await stores.peers.take_lapsed(2)] == [FAR_ANN]


async def test_expired_of_several_orgs(stores: RedisStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same with requests."""
    with monkeypatch.context() as patched:
        fail_for(patched, stores.requests, "acme")
        assert [request.requester for request in await stores.requests.take_expired(2)] == [ANN]
        with pytest.raises(StoreUnreachableError):
            await stores.requests.take_expired(2)
    assert [request.requester for request in await stores.requests.take_expired(2)] == [FAR_ANN]
