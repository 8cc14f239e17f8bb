"""The takeover: claiming users of nodes that are gone, and claiming back those whom others took for gone."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio

from app.delivery.handover import Handover
from app.delivery.hub import Hub
from app.wire.connection import Connection
from handlers import departures
from handlers.ports import Services
from schemas.errors import CloseCode
from stores.base import Revocation, StoreUnreachableError, User
from stores.bus import Bus, Home

AGAIN_SECONDS = 0.5
_Result = TypeVar("_Result")


class Takeover:
    """See `app.delivery.nodes.Followers`."""

    def __init__(self, bus: Bus, hub: Hub, handover: Handover, services: Services) -> None:
        self._bus = bus
        self._hub = hub
        self._handover = handover
        self._services = services

    async def adopt(self, user: User, home: Home) -> None:
        """Take over a user whose node is gone, unless another node does, or the store does not answer.

        Its node may be back by the time the store is; so whoever is still to be adopted then has to be reported anew.
        """
        is_ours = False
        with suppress(StoreUnreachableError):
            is_ours = await self._bus.adopt(user, home)
        if not is_ours:
            return
        peer = self._services.stores.directory.peer(user)
        if peer is not None:
            self._handover.adopt(user, peer.spoken, home, await _once_reached(partial(self._bus.load, user)))
        await _once_reached(partial(departures.abandon, user, self._services))

    async def reassert(self, user: User, before: Home, adopted: Home) -> None:
        """Take back a user whose socket is here, whom another node took over since it took this one for gone.

        `before` is what this node was to it.
        """
        socket = self._handover.endpoint(user)
        try:
            if isinstance(socket, Connection):
                await self._claim_back(user, before, adopted, socket)
            elif not self._hub.is_home(user):  # its socket has closed just now
                self._handover.moved(user, Home(self._bus.node, 0, 0), is_claimed=False)
        finally:
            self._handover.claimed(user)

    async def enforce(self, revocation: Revocation) -> None:
        """Close the sockets of this node that a token let in which another node revoked."""
        await departures.enforce(revocation, self._services)

    async def _claim_back(self, user: User, before: Home, adopted: Home, socket: Connection) -> None:
        """Claim a user for its socket; if it has connected to another node since, that is superseded.

        One that has closed before the claim was made could not give it up.
        """
        try:
            is_ours = await self._bus.reclaim(user, adopted, socket.holder.socket)
            if is_ours and self._handover.endpoint(user) is not socket:
                late = partial(departures.catch_up, socket.identity, socket.holder, self._services, is_leaving=False)
                await _once_reached(late)
            elif is_ours and await departures.reassert(user, socket, self._services):
                self._handover.merge(user, await self._bus.load(user), before)
            elif is_ours:
                socket.close(CloseCode.RESTART, "This node was cut off; connect again")
            elif not self._hub.is_home(user):
                self._handover.moved(user, Home(self._bus.node, socket.holder.socket, 0), is_claimed=True)
        except StoreUnreachableError:
            socket.close(CloseCode.RESTART, "This node is cut off; connect again")


async def _once_reached(call: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return what a call returns, once the store can be reached."""
    while True:
        try:
            return await call()
        except StoreUnreachableError:
            await anyio.sleep(AGAIN_SECONDS)
