"""Recent messages: by what a message is recognised that is sent again."""

from collections.abc import Collection
from functools import reduce
from operator import or_

from stores.log import RECENT_MESSAGES, RECENT_SECONDS, MessageKey
from stores.model import User

MOST_KEYS = 500_000
TIME_BITS = 48
DIGEST_BITS = 60


class _Stream:
    """The messages that one sender sent lately to one session, oldest first.

    `known` has of each, by its digest, when it was sent first and above these `TIME_BITS` who has it: a bit for each
    receiver, which `bits` tells. Half as large as with objects, of which there would be many.
    """

    __slots__ = ("bits", "known")

    def __init__(self) -> None:
        self.bits: dict[User, int] = {}
        self.known: dict[int, int] = {}

    def mask(self, users: Collection[User]) -> int:
        """Return the bits of these users. Those of others that no message has any more are given anew."""
        if not all(user in self.bits for user in users):
            used = reduce(or_, self.known.values(), 0) >> TIME_BITS
            self.bits = {user: bit for user, bit in self.bits.items() if bit & used}
            for user in users:
                if user not in self.bits:
                    bit = self.bits[user] = ~used & (used + 1)
                    used |= bit
        return reduce(or_, (self.bits[user] for user in users), 0)


class RecentMessages:
    """The last `RECENT_MESSAGES` of each stream, for `RECENT_SECONDS`, and at most `most` in all."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._streams: dict[bytes, _Stream] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many messages are known."""
        return self._count

    def find(self, key: MessageKey, user: User) -> int:
        """Return when a message that a user has was sent first, in milliseconds since 1970; 0 if that is not known."""
        stream = self._streams.get(key.stream)
        known = 0 if stream is None else stream.known.get(_digest(key), 0)
        if stream is None or _is_old(known, key.sent_at) or not known >> TIME_BITS & stream.bits.get(user, 0):
            return 0
        return _time(known)

    def add(self, key: MessageKey, users: Collection[User]) -> None:
        """Remember that these users have a message; one that is known keeps its time."""
        stream = self._streams.pop(key.stream, None) or _Stream()
        self._streams[key.stream] = stream
        digest = _digest(key)
        known = stream.known.get(digest, 0)
        if known and _is_old(known, key.sent_at):
            del stream.known[digest]
            self._count -= 1
            known = 0
        self._count += not known
        stream.known[digest] = (known or key.sent_at) | stream.mask(users) << TIME_BITS
        if len(stream.known) > RECENT_MESSAGES:
            self._drop_first(key.stream)
        if self._count > self._most:
            self._drop_first(next(iter(self._streams)))

    def forget_old(self, now: float) -> None:
        """Forget what is older than `RECENT_SECONDS`; `now` is in seconds since 1970."""
        for name, stream in list(self._streams.items()):
            while stream.known and _is_old(next(iter(stream.known.values())), now * 1000):
                self._drop_first(name)

    def _drop_first(self, name: bytes) -> None:
        stream = self._streams[name]
        del stream.known[next(iter(stream.known))]
        self._count -= 1
        if not stream.known:
            del self._streams[name]


def _digest(key: MessageKey) -> int:
    """Return so much of the digest as takes the least room."""
    return int.from_bytes(key.digest, "big") & (1 << DIGEST_BITS) - 1


def _time(known: int) -> int:
    return known & (1 << TIME_BITS) - 1


def _is_old(known: int, now: float) -> bool:
    return _time(known) <= now - RECENT_SECONDS * 1000
