"""Settling: which nodes have written again what they keep, since the store has lost something."""

import time
from collections.abc import Callable

import anyio

from stores.base import StoreUnreachableError, User
from stores.redis.client import Client, reaching
from stores.redis.replica import Replica

AGAIN_SECONDS = 0.05
UNSETTLED = "Redis: it has lost what was kept for the user, which is being written anew"


class Settling:
    """Of which nodes it is known in the store's present life, which this node has known for less than `seconds`.

    After that a node which has not settled is taken for one that has, or is gone. It says nothing that such a node has
    no lease: a store that has lost something may have lost that.
    """

    def __init__(self, client: Client, replica: Replica, seconds: float) -> None:
        self._client = client
        self._replica = replica
        self._seconds = seconds
        self._life = b""
        self._since = 0.0
        self._settled: set[str] = set()
        self._monotonic: Callable[[], float] = time.monotonic

    def begin(self, life: bytes) -> None:
        """Take note of the store's present life."""
        if life != self._life:
            self._life, self._since, self._settled = life, self._monotonic(), set()

    async def settled(self, user: User) -> None:
        """Wait until the store has what a user's home keeps for one who can resume, so that another can take it over.

        Raises `StoreUnreachableError` if it has not in time.
        """
        with anyio.move_on_after(self._client.patience):
            while not await self._is_kept(user):  # noqa: ASYNC110 - another node
                await anyio.sleep(AGAIN_SECONDS)
            return
        raise StoreUnreachableError(UNSETTLED)

    async def _is_kept(self, user: User) -> bool:
        home, peer = self._replica.home(user), self._replica.directory.peer(user)
        if home is None or peer is None or "resume" not in peer.spoken:
            return True
        return home.node == self._client.node or home.node in self._settled or await self._has_settled(home.node)

    async def _has_settled(self, node: str) -> bool:
        with reaching():
            life = await self._client.redis.hget(self._client.space.settled, node)
        is_over = life == self._life or self._monotonic() - self._since > self._seconds
        if is_over:
            self._settled.add(node)
        return is_over
