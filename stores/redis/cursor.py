"""A cursor: how far a reader of this node has come in its user's log."""

from collections.abc import Callable, Sequence

from stores.log import Event, Reader
from stores.model import Holder, User

NOT_BEGUN = -1


class Cursor:
    """Hands a reader each event once and in order, whichever way it comes.

    `claimed_at` is when its reader's socket claimed the user, 0 if that is not known yet.
    `offset` is the last that was handed out, `handed` the last that a reader of version 1 says it took. Events that
    come before those they follow wait in `early`. Those that this node appended itself, and that are part of the
    reader's `pending`, are in `own`. `is_due` says that the log is to be read once more after `is_reading` is over, and
    `read` is called then instead if another socket has the claim by now.
    """

    __slots__ = (
        "claimed_at",
        "early",
        "epoch",
        "handed",
        "holder",
        "is_due",
        "is_reading",
        "offset",
        "own",
        "read",
        "reader",
        "user",
    )

    def __init__(self, user: User, holder: Holder, epoch: str, reader: Reader) -> None:
        self.user = user
        self.holder = holder
        self.epoch = epoch
        self.reader = reader
        self.claimed_at = 0
        self.offset = NOT_BEGUN
        self.handed = 0
        self.is_reading = True
        self.is_due = False
        self.read: Callable[[], None] | None = None
        self.early: dict[int, Event] = {}
        self.own: set[int] = set()

    @property
    def has_begun(self) -> bool:
        """Whether the reader was handed what was kept, be it nothing."""
        return self.offset != NOT_BEGUN

    @property
    def has_gap(self) -> bool:
        """Whether something waits for an event that did not come yet."""
        return bool(self.early)

    def begin(self, first: int, payloads: Sequence[bytes]) -> None:
        """Hand out what was kept, the first of which has the offset `first`, and whatever came meanwhile."""
        self.handed = first - 1
        self.offset = first + len(payloads) - 1
        self.is_reading = False
        self.reader.catch_up(first, payloads)
        self._pass()

    def put(self, offset: int, event: Event, *, is_own: bool = False) -> None:
        """Take in an event; one that was handed out before is left out."""
        if offset <= self.offset and not self.is_reading:
            self.reader.pending -= is_own
            return
        if is_own:
            self.own.add(offset)
        if offset == self.offset + 1 and not self.is_reading and not self.early:
            self._hand(offset, event)
        else:
            self.early[offset] = event
            if not self.is_reading:
                self._pass()

    def fill(self, first: int, payloads: Sequence[bytes]) -> None:
        """Take in what was read from the log."""
        self.is_reading = False
        for offset, payload in enumerate(payloads, first):
            self.early.setdefault(offset, Event(self.user, payload))
        self._pass()

    def _pass(self) -> None:
        """Hand out what has its turn."""
        for offset in [offset for offset in self.early if offset <= self.offset]:
            del self.early[offset]
            self._settle(offset)
        while self.offset + 1 in self.early:
            offset = self.offset + 1
            self._hand(offset, self.early.pop(offset))

    def _hand(self, offset: int, event: Event) -> None:
        self.offset = offset
        if self.own:
            self._settle(offset)
        self.reader.take(offset, event)

    def _settle(self, offset: int) -> None:
        if offset in self.own:
            self.own.discard(offset)
            self.reader.pending -= 1
