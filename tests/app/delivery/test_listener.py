"""What a node does of what other nodes did."""

from collections.abc import Awaitable
from types import SimpleNamespace
from typing import cast

import pytest

from app.delivery.hub import Hub
from app.delivery.listener import NodeListener
from app.delivery.presence import Presence
from tests.support.doubles import ANN, World, failing


async def test_an_orphan_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no failure of ours: the peer is reported again, and counts as dropped then."""
    world = World()
    await world.join("ann")
    peer = world.directory.peer(ANN)
    assert peer is not None
    spawned: list[Awaitable[None]] = []
    nobody = SimpleNamespace(links={})
    listener = NodeListener(
        {}, cast(Hub, nobody), cast(Presence, nobody), world.services, spawn=spawned.append, recheck=world.stores.ping
    )
    with failing(monkeypatch, world.stores.peers, "release"):
        listener.orphaned(peer)
        listener.orphaned(peer)
        await spawned.pop()
    assert not spawned
    listener.orphaned(peer)
    await spawned.pop()
    dropped = world.directory.peer(ANN)
    assert dropped is not None
    assert dropped.lapses_at is not None
