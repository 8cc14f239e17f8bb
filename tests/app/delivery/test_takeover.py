"""Claiming users of nodes that are gone, and claiming back those whom others took for gone."""

from types import SimpleNamespace
from typing import cast

import pytest

from app.delivery.handover import Handover
from app.delivery.hub import Hub
from app.delivery.takeover import Takeover
from app.wire.connection import Connection
from stores.base import StoreUnreachableError, User
from stores.bus import Bus, Home
from tests.support.doubles import ANN, World

BEFORE, ADOPTED = Home("a", 1, 1), Home("b", 0, 2)


class Line:
    """A bus over which all is claimed, unless the store is away."""

    is_away = False

    async def reclaim(self, _user: User, _home: Home, _socket: int) -> bool:
        return True

    async def adopt(self, _user: User, _home: Home) -> bool:
        if self.is_away:
            raise StoreUnreachableError("it is away")
        return True


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def takeover(line: Line, world: World) -> Takeover:
    """A takeover on a node without sockets."""
    handover = SimpleNamespace(endpoint=lambda _: None)
    return Takeover(cast("Bus", line), cast("Hub", None), cast("Handover", handover), world.services)


async def test_claimed_back_too_late(world: World, takeover: Takeover) -> None:
    """Who was claimed back for a socket that has closed meanwhile is waited for, and held by nobody."""
    ann = await world.join("ann")
    await takeover._claim_back(ANN, BEFORE, ADOPTED, cast("Connection", ann.socket))
    assert world.peer(ANN).lapses_at is not None
    assert await world.stores.peers.release(ANN, ann.socket.holder) is False


async def test_adopted_without_a_store(line: Line, world: World, takeover: Takeover) -> None:
    """While the store is away nobody is adopted, nor later, unless it is reported anew."""
    line.is_away = True
    await takeover.adopt(ANN, BEFORE)
    assert world.delivery.calls == []
    line.is_away = False
    await takeover.adopt(ANN, BEFORE)
    assert world.delivery.calls == [("forget", ANN)]
