"""The logs of a single process, in memory; what they write down goes to a journal."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from itertools import islice

from msgspec import Struct

from stores.log import RESERVED_EVENTS, Appended, Bounds, Done, Event, MessageKey, Outcome, Reader
from stores.memory.journal import Journal, LogHeader
from stores.memory.recent_messages import RecentMessages
from stores.model import Holder, User
from stores.protocols import Directory

MOST_TOLD = 100
OTHER_TOKENS = 2
TOKEN_BYTES = 16
DELIVERED = Appended(Outcome.DELIVERED)
DROPPED = Appended(Outcome.DROPPED)
HAD = frozenset((Outcome.DELIVERED, Outcome.QUEUED))


class UserLog:
    """The log of one user. The last of `events` has the offset `top`.

    Events up to `committed` are written down, and those up to `sent` were handed to a reader. `told` are the requests
    that the user was told of. A log that is broken lost an event that its user was still to get.
    """

    __slots__ = ("committed", "events", "is_broken", "sent", "size", "tokens", "told", "top", "user")

    def __init__(self, user: User, header: LogHeader) -> None:
        self.user = user
        self.tokens = header.tokens
        self.is_broken = header.is_broken
        self.told = dict.fromkeys(header.told)
        self.top = self.committed = self.sent = header.trimmed
        self.events: deque[bytes] = deque()
        self.size = 0

    @property
    def trimmed(self) -> int:
        """The last offset that is not kept any more."""
        return self.top - len(self.events)

    @property
    def header(self) -> LogHeader:
        """What the journal has of it besides its events."""
        return LogHeader(self.tokens, self.trimmed, tuple(self.told), self.is_broken)

    def add(self, payload: bytes) -> int:
        """Add an event; return its offset."""
        self.top += 1
        self.events.append(payload)
        self.size += len(payload)
        return self.top

    def drop_first(self) -> int:
        """Let go of the oldest event; return its size."""
        size = len(self.events.popleft())
        self.size -= size
        return size


class Given(Struct, frozen=True, eq=False):
    """Events that a reader of version 1 is handed, by calling `hand`, once the journal is as far."""

    reader: Reader
    events: Sequence[Event]
    hand: Callable[[], None]
    done: Done | None = None


class MemoryLog:
    """See `Log`. `claims` has who holds each user's claim. A user whom no reader follows is away."""

    def __init__(self, directory: Directory, claims: dict[User, Holder], journal: Journal, bounds: Bounds) -> None:
        self._directory = directory
        self._claims = claims
        self._journal = journal
        self._bounds = bounds
        self._logs: dict[User, UserLog] = {}
        self._readers: dict[User, Reader] = {}
        self._given: dict[User, deque[Given]] = {}
        self._recent = RecentMessages()
        self.size = 0

    def append(self, events: Sequence[Event], key: MessageKey | None = None, done: Done | None = None) -> None:
        self._journal.check()
        if key is None:
            for event in events:
                self._append(event, done)
            return
        had: list[User] = []
        first_sent_at = {event.user: self._recent.find(key, event.user) for event in events}
        if not all(first_sent_at.values()):
            self._journal.remember(key, had)
        for event in events:
            if first_sent_at[event.user] and self._is_known(event.user):
                self._repeat(event.user, first_sent_at[event.user], done)
            elif self._append(event, done).outcome in HAD:
                had.append(event.user)
        if had:
            self._recent.add(key, had)

    async def start(self, user: User, holder: Holder, token: str | None) -> bool:
        if self._claims.get(user) != holder:
            return False
        self._journal.check()
        log = self._logs.get(user)
        if log is not None and (token is not None or log.tokens):
            self._remove(log)
        if token is not None:
            self._logs[user] = log = UserLog(user, LogHeader((_digest(token),)))
            self._journal.open(user, log.header)
        await self._journal.committed()
        return True

    async def resume(self, user: User, holder: Holder, used: str, offset: int, token: str) -> bool:
        self._journal.check()
        log = self._logs.get(user)
        if log is None or self._claims.get(user) != holder or _digest(used) not in log.tokens:
            return False
        if log.is_broken or not log.trimmed <= offset <= log.sent:
            return False
        others = [each for each in log.tokens if each != _digest(used)]
        log.tokens = (*others[-OTHER_TOKENS:], _digest(used), _digest(token))
        self.trim(user, offset)
        self._journal.open(user, log.header)
        await self._journal.committed()
        return True

    async def follow(self, user: User, holder: Holder, offset: int | None, reader: Reader) -> bool:
        log = self._logs.get(user)
        if self._claims.get(user) != holder:
            return True
        if log is not None and log.is_broken:
            return False
        first = 1 if log is None else log.trimmed + 1
        start = first if offset is None else offset + 1
        if start < first:
            return False
        self.unfollow(user)
        self._readers[user] = reader
        if log is None or not log.tokens:
            self._hand_out(user, reader)
            await self._journal.committed()
            return True
        uncommitted = log.top - log.committed
        reader.pending += uncommitted
        log.sent = log.committed
        kept = max(0, len(log.events) - uncommitted)
        reader.catch_up(start, list(islice(log.events, start - first, kept)))
        return True

    def unfollow(self, user: User) -> None:
        """See `Log`. What a socket of version 1 was given and has not got is kept for the next."""
        self._readers.pop(user, None)
        for given in self._given.pop(user, ()):
            given.reader.pending -= 1
            for event in given.events:
                self._append(event, given.done)

    def confirm(self, user: User) -> None:
        log = self._logs.get(user)
        if log is not None and len(log.tokens) > 1:
            log.tokens = log.tokens[-1:]
            self._journal.open(user, log.header)

    def trim(self, user: User, offset: int) -> None:
        log = self._logs.get(user)
        if log is None:
            return
        while log.events and log.trimmed < min(offset, log.committed):
            self.size -= log.drop_first()
        if log.events or log.tokens:
            self._journal.trim(user, log.trimmed)
        else:
            self._remove(log)

    def forget(self, user: User) -> None:
        """See `Log`. A user whose claim a socket holds has started over, and keeps its log."""
        log = self._logs.get(user)
        if log is not None and user not in self._claims:
            self._remove(log)

    async def count(self, user: User) -> int:
        log = self._logs.get(user)
        return 0 if log is None else len(log.events)

    def forget_old(self, now: float) -> None:
        self._recent.forget_old(now)

    def stats(self) -> dict[str, float]:
        return {"logs": len(self._logs), "log_bytes": self.size, "message_keys": len(self._recent)}

    def restore(self, user: User, header: LogHeader, payloads: Sequence[bytes]) -> None:
        """Put back a log that a journal has."""
        log = self._logs[user] = UserLog(user, header)
        for payload in payloads:
            log.add(payload)
        log.committed = log.sent = log.top
        self.size += log.size

    def restore_key(self, key: MessageKey, users: Sequence[User]) -> None:
        """Put back a message key that a journal has, and who has the message; there may be nobody."""
        if users:
            self._recent.add(key, users)

    def _is_known(self, user: User) -> bool:
        return user in self._readers or user in self._logs or self._directory.peer(user) is not None

    def _repeat(self, user: User, first_sent_at: int, done: Done | None) -> None:
        """Answer for a message that was sent again to a user who has it."""
        outcome = Outcome.DELIVERED if user in self._readers else Outcome.QUEUED
        self._finish(user, Appended(outcome, first_sent_at), done)

    def _append(self, event: Event, done: Done | None) -> Appended:
        user = event.user
        log = self._logs.get(user)
        if log is None:
            reader = self._readers.get(user)
            if reader is not None:
                return self._hand(event, reader, done)
            if not self._is_known(user):
                return self._finish(user, DROPPED, done)
            log = self._logs[user] = UserLog(user, LogHeader())
        return self._keep(log, event, done)

    def _keep(self, log: UserLog, event: Event, done: Done | None) -> Appended:
        user = event.user
        is_live = user in self._readers
        refused = self._told(log, event, is_live=is_live) or (None if is_live else self._refusal(log, event))
        if refused is not None:
            return self._finish(user, refused, done)
        offset = log.add(event.payload)
        self.size += len(event.payload)
        self._journal.append(user, offset, event.payload)
        self._let_go(log, is_live=is_live)
        appended = Appended(Outcome.DELIVERED if is_live else Outcome.QUEUED)
        if self._journal.is_instant:
            self._publish(log, offset, event, appended, done)
        else:
            reader = self._readers.get(user)
            if reader is not None:
                reader.pending += 1
            self._journal.then(partial(self._publish, log, offset, event, appended, done))
        return appended

    def _publish(self, log: UserLog, offset: int, event: Event, appended: Appended, done: Done | None) -> None:
        """Hand an event that is written down to the user's reader."""
        log.committed = offset
        reader = self._readers.get(event.user)
        if reader is not None and self._logs.get(event.user) is log:
            log.sent = offset
            if not self._journal.is_instant:
                reader.pending -= 1
            reader.take(offset, event)
        if done is not None:
            done(event.user, appended)

    def _hand(self, event: Event, reader: Reader, done: Done | None) -> Appended:
        """Hand an event to a socket of version 1, for which nothing is kept."""
        hand = partial(reader.take, 0, event)
        if self._journal.is_instant:
            hand()
            if done is not None:
                done(event.user, DELIVERED)
        else:
            self._give(event.user, Given(reader, (event,), hand, done))
        return DELIVERED

    def _hand_out(self, user: User, reader: Reader) -> None:
        """Hand all that was kept to a socket of version 1, as soon as it is certain that nobody gets it again."""
        log = self._logs.get(user)
        if log is None:
            reader.catch_up(1, ())
            return
        self._remove(log)
        events = tuple(Event(user, payload) for payload in log.events)
        self._give(user, Given(reader, events, partial(reader.catch_up, log.trimmed + 1, log.events)))

    def _give(self, user: User, given: Given) -> None:
        given.reader.pending += 1
        self._given.setdefault(user, deque()).append(given)
        self._journal.then(partial(self._hand_over, user, given))

    def _hand_over(self, user: User, given: Given) -> None:
        """Hand a reader what it was given, unless that was taken back."""
        waiting = self._given.get(user)
        if not waiting or waiting[0] is not given:
            return
        waiting.popleft()
        if not waiting:
            del self._given[user]
        given.reader.pending -= 1
        given.hand()
        if given.done is not None:
            given.done(user, DELIVERED)

    def _finish(self, user: User, appended: Appended, done: Done | None) -> Appended:
        if done is not None:
            self._journal.then(partial(done, user, appended))
        return appended

    def _told(self, log: UserLog, event: Event, *, is_live: bool) -> Appended | None:
        """Note what the user is told of a request; return what becomes of an event that is not to be kept.

        A user of version 1 can be asked only while it is there: what it is told is kept like all else.
        """
        request_id = event.request_id
        if not log.tokens:
            return None
        if event.kept == "while_pending":
            if not is_live:
                return Appended(Outcome.QUEUED)
            if request_id in log.told:
                return Appended(Outcome.DELIVERED)
            log.told[request_id] = None
            self._forget_ended(log)
        elif event.kept == "if_told":
            if request_id not in log.told:
                return DROPPED
            del log.told[request_id]
        else:
            return None
        self._journal.open(event.user, log.header)
        return None

    def _forget_ended(self, log: UserLog) -> None:
        """Forget the oldest requests that the user was told of, but for those that still wait."""
        for request_id in list(islice(log.told, max(0, len(log.told) - MOST_TOLD))):
            if self._directory.request(request_id) is None:
                del log.told[request_id]

    def _refusal(self, log: UserLog, event: Event) -> Appended | None:
        """Return what becomes of an event for a user who is away, if there is no room for it; else None."""
        if log.is_broken:
            return DROPPED
        size, bounds = len(event.payload), self._bounds
        count, held = len(log.events) + 1, log.size + size
        if count <= bounds.events and held <= bounds.user_bytes and self.size + size <= bounds.total_bytes:
            return None
        if not log.tokens:
            self._remove(log)
            return Appended(Outcome.OVERFLOWED)
        if event.kept == "if_room":
            return Appended(Outcome.FULL)
        has_reserve = count <= bounds.events + RESERVED_EVENTS and held <= 2 * bounds.user_bytes
        if has_reserve and self.size + size <= 2 * bounds.total_bytes:
            return None
        self._break(log)
        return DROPPED

    def _let_go(self, log: UserLog, *, is_live: bool) -> None:
        """Keep the logs of users who are there within the bounds: the oldest of their events go."""
        bounds = self._bounds
        while is_live and (len(log.events) > bounds.events or log.size > bounds.user_bytes):
            self._drop_first(log)
        while self.size > bounds.total_bytes:
            live = [each for user, each in self._logs.items() if user in self._readers and each.events]
            if not live:
                return
            largest = max(live, key=_size)
            while largest.events:
                self._drop_first(largest)

    def _drop_first(self, log: UserLog) -> None:
        self.size -= log.drop_first()
        self._journal.trim(log.user, log.trimmed)

    def _break(self, log: UserLog) -> None:
        while log.events:
            self._drop_first(log)
        log.is_broken = True
        self._journal.open(log.user, log.header)

    def _remove(self, log: UserLog) -> None:
        self.size -= log.size
        self._logs.pop(log.user, None)
        self._journal.forget(log.user)


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=TOKEN_BYTES).digest()


def _size(log: UserLog) -> int:
    return log.size
