"""Watching a store."""

from itertools import count

import pytest

from app.ops.store_timings import StoreTimings, TimedStores
from stores.memory.stores import MemoryPeers, MemoryStores
from stores.model import Holder, User
from stores.protocols import StoreUnreachableError

ANN = User("ann")


async def test_operations_are_timed() -> None:
    """Each operation does what it did, and is timed under its name."""
    watch = StoreTimings(count().__next__)
    stores = TimedStores(MemoryStores(), watch)
    assert await stores.peers.claim(ANN, Holder("node", 1)) is None
    assert await stores.peers.claim(ANN, Holder("node", 2)) == Holder("node", 1)
    await stores.ping()
    assert {name: histogram.sum for name, histogram in watch.seconds.items()} == {"peers.claim": 2, "ping": 1}
    assert not watch.errors


async def test_errors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable store is told of as before, and counted; it took its time, too."""

    async def claim(*_: object) -> None:
        raise StoreUnreachableError("away")

    monkeypatch.setattr(MemoryPeers, "claim", claim)
    watch = StoreTimings(count().__next__)
    with pytest.raises(StoreUnreachableError):
        await TimedStores(MemoryStores(), watch).peers.claim(ANN, Holder("node", 1))
    assert watch.errors == {"peers.claim": 1}
    assert watch.seconds["peers.claim"].sum == 1


def test_looking_costs_nothing() -> None:
    """What the data plane looks at is the store's own."""
    stores = MemoryStores()
    watched = TimedStores(stores, StoreTimings(lambda: 0.0))
    assert watched.directory is stores.directory
    assert watched.log is stores.log
