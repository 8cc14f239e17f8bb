"""Recent messages: by what a message is recognised that is sent again."""

from collections import deque
from collections.abc import Collection

from stores.base import User
from stores.log import RECENT_MESSAGES, RECENT_SECONDS, MessageKey

MOST_KEYS = 500_000


class _Stream:
    """The messages that one sender sent lately to one session, oldest first: digests, and when each was sent."""

    __slots__ = ("order", "sent_at")

    def __init__(self) -> None:
        self.order: deque[int] = deque()
        self.sent_at: dict[int, int] = {}


class RecentMessages:
    """The last `RECENT_MESSAGES` of each stream, for `RECENT_SECONDS`, and at most `MOST_KEYS` in all."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._streams: dict[bytes, _Stream] = {}
        self._missed: dict[int, frozenset[User]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many messages are known."""
        return self._count

    def find(self, key: MessageKey) -> int:
        """Return when a message was sent first, in milliseconds since 1970; 0 if it is not known, or no more."""
        stream = self._streams.get(key.stream)
        sent_at = 0 if stream is None else stream.sent_at.get(int.from_bytes(key.digest, "big"), 0)
        return sent_at if sent_at > key.sent_at - RECENT_SECONDS * 1000 else 0

    def missed(self, key: MessageKey) -> Collection[User]:
        """Return the receivers whose logs had no room for a message."""
        return self._missed.get(int.from_bytes(key.digest, "big"), ())

    def add(self, key: MessageKey, missed: Collection[User]) -> None:
        """Remember a message, and for whom there was no room; one that is known keeps its time."""
        digest = int.from_bytes(key.digest, "big")
        stream = self._streams.get(key.stream)
        if stream is None:
            stream = self._streams[key.stream] = _Stream()
        if digest not in stream.sent_at or not self.find(key):
            self._put(stream, digest, key.sent_at)
        self._missed.pop(digest, None)
        if missed:
            self._missed[digest] = frozenset(missed)
        if self._count > self._most:
            self._drop_first(next(iter(self._streams)))

    def forget_old(self, now: float) -> None:
        """Forget what is older than `RECENT_SECONDS`; `now` is in seconds since 1970."""
        oldest = (now - RECENT_SECONDS) * 1000
        for name, stream in list(self._streams.items()):
            while stream.order and stream.sent_at[stream.order[0]] <= oldest:
                self._drop_first(name)

    def _put(self, stream: _Stream, digest: int, sent_at: int) -> None:
        if digest in stream.sent_at:
            stream.order.remove(digest)
            self._count -= 1
        stream.order.append(digest)
        stream.sent_at[digest] = sent_at
        self._count += 1
        if len(stream.order) > RECENT_MESSAGES:
            self._pop(stream)

    def _drop_first(self, name: bytes) -> None:
        stream = self._streams[name]
        self._pop(stream)
        if not stream.order:
            del self._streams[name]

    def _pop(self, stream: _Stream) -> None:
        digest = stream.order.popleft()
        del stream.sent_at[digest]
        self._missed.pop(digest, None)
        self._count -= 1
