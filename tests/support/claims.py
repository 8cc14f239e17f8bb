"""Claims kept in Redis, without logs: until RedisLog is there."""

from typing import Any

from stores.base import Holder, Listener, User
from stores.redis.client import Client
from stores.redis.follower import Follower


class StubLog:
    """Has claims only."""

    def __init__(self, client: Client, _follower: Follower) -> None:
        self.listener = Listener()
        self.why_stuck = ""
        self.lost = 0
        self._client = client

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        key = self._client.keys.state(user)
        found, _ = await self._client.ask(("GETSET", key, f"{holder.node} {holder.socket}"), ("EXISTS", key))
        return _holder(found)

    async def release(self, user: User, holder: Holder) -> bool:
        if await self.holder(user) != holder:
            return False
        return bool(await self._client.redis.delete(self._client.keys.state(user)))

    async def holder(self, user: User) -> Holder | None:
        (found,) = await self._client.ask(("GET", self._client.keys.state(user)))
        return _holder(found)

    async def run(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def dataset_lost(self) -> None:
        self.lost += 1

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


def _holder(found: bytes | None) -> Holder | None:
    if found is None:
        return None
    node, socket = found.decode().split(" ")
    return Holder(node, int(socket))
