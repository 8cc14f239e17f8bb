"""Recent messages: by what a message is recognised that is sent again."""

from collections import deque
from collections.abc import Collection

from stores.base import User
from stores.log import RECENT_MESSAGES, RECENT_SECONDS, MessageKey

MOST_KEYS = 500_000
TIME_BITS = 48
TIME = (1 << TIME_BITS) - 1


class _Stream:
    """The messages that one sender sent lately to one session, oldest first: digests, and a mark of each.

    A mark is one number, since that is small: when the message was sent, and above that a bit for each of `users` whose
    log had no room for it.
    """

    __slots__ = ("marks", "order", "users")

    def __init__(self) -> None:
        self.order: deque[int] = deque()
        self.marks: dict[int, int] = {}
        self.users: list[User] = []

    def sent_at(self, digest: int) -> int:
        """Return when a message was sent first; 0 if it is not known."""
        return self.marks.get(digest, 0) & TIME

    def missed(self, digest: int) -> list[User]:
        """Return those who missed it."""
        bits = self.marks.get(digest, 0) >> TIME_BITS
        return [user for at, user in enumerate(self.users) if bits >> at & 1] if bits else []

    def mark(self, digest: int, sent_at: int, missed: Collection[User]) -> None:
        """Set the mark of a message."""
        self.users += [user for user in missed if user not in self.users]
        bits = sum(1 << self.users.index(user) for user in missed)
        self.marks[digest] = bits << TIME_BITS | sent_at


class RecentMessages:
    """The last `RECENT_MESSAGES` of each stream, for `RECENT_SECONDS`, and at most `MOST_KEYS` in all."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._streams: dict[bytes, _Stream] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many messages are known."""
        return self._count

    def find(self, key: MessageKey) -> int:
        """Return when a message was sent first, in milliseconds since 1970; 0 if it is not known, or no more."""
        stream = self._streams.get(key.stream)
        sent_at = 0 if stream is None else stream.sent_at(_number(key))
        return sent_at if sent_at > key.sent_at - RECENT_SECONDS * 1000 else 0

    def missed(self, key: MessageKey) -> Collection[User]:
        """Return the receivers whose logs had no room for a message."""
        stream = self._streams.get(key.stream)
        return () if stream is None else stream.missed(_number(key))

    def add(self, key: MessageKey, missed: Collection[User]) -> None:
        """Remember a message, and for whom there was no room; one that is known keeps its time."""
        stream = self._streams.get(key.stream)
        if stream is None:
            stream = self._streams[key.stream] = _Stream()
        sent_at = self.find(key)
        if not sent_at:
            self._put(stream, _number(key))
        stream.mark(_number(key), sent_at or key.sent_at, missed)
        if len(stream.order) > RECENT_MESSAGES:
            self._pop(stream)
        if self._count > self._most:
            self._drop_first(next(iter(self._streams)))

    def forget_old(self, now: float) -> None:
        """Forget what is older than `RECENT_SECONDS`; `now` is in seconds since 1970."""
        oldest = (now - RECENT_SECONDS) * 1000
        for name, stream in list(self._streams.items()):
            while stream.order and stream.sent_at(stream.order[0]) <= oldest:
                self._drop_first(name)

    def _put(self, stream: _Stream, digest: int) -> None:
        if digest in stream.marks:
            stream.order.remove(digest)
            self._count -= 1
        stream.order.append(digest)
        self._count += 1

    def _drop_first(self, name: bytes) -> None:
        stream = self._streams[name]
        self._pop(stream)
        if not stream.order:
            del self._streams[name]

    def _pop(self, stream: _Stream) -> None:
        del stream.marks[stream.order.popleft()]
        self._count -= 1


def _number(key: MessageKey) -> int:
    return int.from_bytes(key.digest, "big")
