"""Batches: what one turn of the event loop appends, joined by user."""

from collections.abc import Iterable

from msgspec import Struct

from stores.log import (
    RECENT_MESSAGES,
    RECENT_SECONDS,
    RESERVED_EVENTS,
    Appended,
    Bounds,
    Done,
    Event,
    MessageKey,
    Outcome,
    Reader,
)
from stores.model import User
from stores.redis import channel
from stores.redis.client import Argument, Client
from stores.redis.follower import Follower
from stores.redis.keyspace import shard_of

MOST_REQUESTS = 10_000
EVENT_BYTES = 200
SENT_BEFORE, TOO_LATE = 1, 7
OUTCOMES = {2: Outcome.FULL, 3: Outcome.OVERFLOWED, 4: Outcome.DROPPED, 5: Outcome.QUEUED}


class Item(Struct, eq=False, gc=False):
    """An event, the reader that waits for it, and who is told what becomes of it."""

    event: Event
    reader: Reader | None
    done: Done | None


def read_answer(what: int, number: bytes | int, *, is_live: bool) -> Appended:
    """Return what the script's answer for an event means."""
    outcome = OUTCOMES.get(what) or (Outcome.DELIVERED if is_live else Outcome.QUEUED)
    return Appended(outcome, int(float(number)) if what == SENT_BEFORE else 0)


class Batch:
    """The events for one user, and the command that appends them, which has a serial."""

    __slots__ = ("command", "items", "serial", "size", "user")

    def __init__(self, user: User, serial: int, command: list[Argument]) -> None:
        self.user = user
        self.serial = serial
        self.command = command
        self.items: list[Item] = []
        self.size = 0


class Batches:
    """What waits for the end of the turn. Each call of this node has a serial, by which a repeated one is known."""

    def __init__(self, client: Client, follower: Follower, bounds: Bounds) -> None:
        self._node = client.node
        self._keys = client.keys
        self._follower = follower
        self._sha = client.scripts["append"].sha
        self._prefix = client.keys.node("")
        known = int(RECENT_SECONDS * 1000), MOST_REQUESTS, RECENT_MESSAGES
        self._bounds = bounds.events, bounds.user_bytes, RESERVED_EVENTS, *known
        self._by_user: dict[User, Batch] = {}
        self._serial = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._by_user

    def add(
        self, event: Event, key: MessageKey | None, reader: Reader | None, done: Done | None, claimed_at: int
    ) -> None:
        """Add an event, whose sender claimed its socket at this time; 0 if that is no matter."""
        batch = self._by_user.get(event.user)
        if batch is None:
            batch = self._by_user[event.user] = self._begin(event.user)
        if key is not None:
            name, sent_at = key.stream.hex().encode() + key.digest, key.sent_at
        else:
            name, sent_at = event.request_id.encode(), 0
        batch.items.append(Item(event, reader, done))
        batch.command += (event.kept, name, sent_at, claimed_at, event.payload, channel.meta(event))
        batch.size += len(event.payload) + EVENT_BYTES

    def take(self) -> Iterable[Batch]:
        """Return all batches, in the order of their first events."""
        batches, self._by_user = self._by_user, {}
        return batches.values()

    def _begin(self, user: User) -> Batch:
        self._serial += 1
        shard = shard_of(user.org)
        header = channel.header(user, shard, self._follower.position(shard))
        keys = self._keys.state(user), self._keys.log(user), self._keys.recent(user)
        head = self._node, self._serial, self._prefix, header, *self._bounds
        return Batch(user, self._serial, ["EVALSHA", self._sha, 3, *keys, *head])
