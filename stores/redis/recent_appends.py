"""Recent appends: what this node appended lately, in case a restart or failover of Redis loses it."""

import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stores.model import User
from stores.redis import channel
from stores.redis.client import Argument, Client, Wire

CHECKED_AT_ONCE = 500
_HISTORY = re.compile(rb"\b(?:run_id|master_replid):(\w+)")  # another one after a restart or a failover


class Latest(NamedTuple):
    """The last of this node's calls to append that was answered, in which epoch of the log, and when."""

    epoch: str
    serial: int
    at: float


class RecentAppends:
    """The latest call of each user within so many seconds."""

    def __init__(self, client: Client, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._history = b""
        self._latest: dict[User, Latest] = {}
        self._monotonic: Callable[[], float] = time.monotonic

    def __len__(self) -> int:
        """Return of how many users it knows one."""
        return len(self._latest)

    def note(self, user: User, epoch: str, serial: int) -> None:
        """Note that a call was answered."""
        self._latest.pop(user, None)
        self._latest[user] = Latest(epoch, serial, self._monotonic())

    def forget_old(self) -> None:
        """Forget what is too old to matter."""
        oldest = self._monotonic() - self._seconds
        for user, latest in list(self._latest.items()):
            if latest.at > oldest:
                return
            del self._latest[user]

    def clear(self) -> None:
        """Forget all of it: the store is known to have lost its data."""
        self._latest.clear()

    async def verify(self, wire: Wire) -> None:
        """Break the logs that lack what was appended, if the store may have lost it: they must not be resumed as whole.

        This comes before anything is sent, for what is appended next takes the offsets of what was lost.
        """
        history = b" ".join(_HISTORY.findall(b"".join(await wire.ask([("INFO", "server"), ("INFO", "replication")]))))
        if history != self._history:
            known = list(self._latest.items())
            for at in range(0, len(known), CHECKED_AT_ONCE):
                await wire.ask([self._break(user, latest) for user, latest in known[at : at + CHECKED_AT_ONCE]])
        self._history = history

    def _break(self, user: User, latest: Latest) -> Sequence[Argument]:
        sha, keys = self._client.scripts["break"].sha, (self._client.keys.state(user), self._client.keys.log(user))
        told = self._client.keys.node(""), channel.broken(user)
        return "EVALSHA", sha, 2, *keys, latest.epoch, self._client.node, latest.serial, *told
