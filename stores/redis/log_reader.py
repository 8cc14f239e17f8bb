"""Reading the log of a user from Redis, as far as it goes."""

from typing import NamedTuple

from stores.model import Holder, User
from stores.redis.client import Client
from stores.redis.cursor import Cursor
from stores.redis.follower import Follower
from stores.redis.keyspace import shard_of

READ_AT_ONCE = 500


class Found(NamedTuple):
    """What was read of a log: who holds the claim since when, and the events after an offset, if all are there."""

    holder: Holder
    claimed_at: int
    epoch: str
    top: int
    is_short: bool
    first: int
    payloads: list[bytes]


class LogReader:
    """Reads logs; raises `StoreUnreachableError` while Redis cannot be asked."""

    def __init__(self, client: Client, follower: Follower) -> None:
        self._client = client
        self._follower = follower

    async def read_all(self, cursor: Cursor, offset: int) -> Found:
        """Read a log to its end. What an event is about is in the directory by then."""
        found = await self.read(cursor.user, cursor.holder, offset)
        cursor.epoch = cursor.epoch or found.epoch
        payloads = found.payloads
        while found.holder == cursor.holder and not found.is_short and found.first + len(found.payloads) <= found.top:
            found = await self.read(cursor.user, cursor.holder, found.first + len(found.payloads) - 1)
            payloads += found.payloads
        await self._follower.catch_up(shard_of(cursor.user.org))
        first = found.first + len(found.payloads) - len(payloads)
        is_short = found.is_short or found.epoch != cursor.epoch
        return found._replace(first=first, payloads=payloads, is_short=is_short)

    async def read(self, user: User, holder: Holder, offset: int) -> Found:
        """Read the next `READ_AT_ONCE` events after an offset, for the socket that is this holder."""
        keys = self._client.keys.state(user), self._client.keys.log(user)
        node, socket, claimed_at, epoch, top, is_short, entries = await self._client.run(
            "read", keys, offset, READ_AT_ONCE, *holder
        )
        first = int(entries[0][0].partition(b"-")[0]) if entries else top + 1
        payloads = [fields[1] for _, fields in entries]
        found = Holder(node.decode(), int(socket or 0))
        return Found(found, int(claimed_at), epoch.decode(), top, bool(is_short), first, payloads)
