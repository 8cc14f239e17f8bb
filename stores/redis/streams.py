"""Streams: what one node sends another, over a channel that may lose it: numbered, and asked for again where missed."""

from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from stores.bus import Standing

RETAINED_BYTES = 8_388_608
RETAINED_BATCHES = 1000
WAITING_BYTES = 33_554_432
SUBSCRIBER_BYTES = 8_388_608  # Redis lets a subscriber have so many for a minute, and then cuts it off
BATCHES = 4
ANY_STREAM = 0

_encode = msgspec.msgpack.Encoder().encode


class Batch(Struct, array_like=True, tag=1):
    """What one node sends to another at once, by its serial number; those before `first` are not to be had any more.

    Numbers begin anew with each `stream`, as when the other was taken for gone and came back. `parcels` is a list.
    Where it `asks`, the other is to say how far it has come.
    """

    node: str
    stream: int
    serial: int
    first: int
    parcels: Raw
    asks: bool = False


class Again(Struct, array_like=True, tag=2):
    """Asks for what was sent in a stream from this serial number on; what was before, is there."""

    node: str
    stream: int
    serial: int


class Had(Struct, array_like=True, tag=3):
    """Says that what was sent in a stream is there, up to this serial number."""

    node: str
    stream: int
    serial: int


message_of = msgspec.msgpack.Decoder(Batch | Again | Had).decode


class Outgoing:
    """What goes to one node: what is yet to go, and what went lately, in case it has to go again.

    What is on its way, and not known to be there, is bounded by the node's share of `SUBSCRIBER_BYTES`; the rest waits.
    Up to `WAITING_BYTES` wait; what comes beyond that is lost.
    """

    def __init__(self, node: str, stream: int, standing: Standing) -> None:
        self._standing = standing
        self._node = node
        self._stream = stream
        self._serial = 0
        self._next = 1
        self._sent: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._waiting: deque[tuple[object, int]] = deque()
        self._waiting_size = 0
        self._on_its_way = 0
        self._asked: deque[tuple[int, int]] = deque()  # which serials ask, and how much went since the one before

    @property
    def waiting(self) -> int:
        """How many parcels are yet to go."""
        return len(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether nothing is yet to go."""
        return not self._waiting and self._next > self._serial

    @property
    def is_behind(self) -> bool:
        """Whether much is yet to go, and waits for its turn."""
        return bool(self._asked) and not self.is_done

    @property
    def may_go(self) -> bool:
        """Whether something is to go, and need not wait until the other node has more of what went before."""
        return not self.is_done and (not self._asked or self._on_its_way < self._window)

    @property
    def _window(self) -> int:
        """The share of this node in what the other one can have waiting in Redis: others may send to it as well."""
        return SUBSCRIBER_BYTES // max(2, self._standing.nodes)

    def put(self, parcel: object, size: int) -> None:
        """Add a parcel, which has about so many bytes.

        One that has no room is lost, not an older one: what is sent again must not push out what is before it.
        """
        if self._waiting and self._waiting_size + size > WAITING_BYTES:
            self._standing.dropped += 1
            return
        self._waiting.append((parcel, size))
        self._waiting_size += size

    def take(self) -> bytes:
        """Return the next message; only where one `may_go`. It is all that waits, unless that is much."""
        if self._next > self._serial:
            self._pack()
        first = self._sent[0][0]
        serial, parcels = self._sent[self._next - first]
        self._next += 1
        self._on_its_way += len(parcels)
        since = self._on_its_way - sum(size for _, size in self._asked)
        asks = since >= self._window // 2
        if asks:
            self._asked.append((serial, since))
        return _encode(Batch(self._node, self._stream, serial, first, Raw(parcels), asks))

    def hear(self, message: Again | Had) -> None:
        """Go on by how far the other node has come, or begin again there as far as it is retained."""
        if message.stream != self._stream and not (isinstance(message, Again) and message.stream == ANY_STREAM):
            return
        if isinstance(message, Again):
            self.suppose()
            oldest = self._sent[0][0] if self._sent else 1
            self._next = min(max(message.serial, oldest), self._serial + 1)
        else:
            self._next = min(max(message.serial + 1, self._next), self._serial + 1)
        while self._asked and self._asked[0][0] <= message.serial:
            self._on_its_way -= self._asked.popleft()[1]

    def suppose(self) -> None:
        """Take what was sent for what is there."""
        self._on_its_way = 0
        self._asked.clear()

    def _pack(self) -> None:
        """Make a batch of what waits."""
        parcels = _encode([parcel for parcel, _ in self._cut()])
        self._serial += 1
        self._sent.append((self._serial, parcels))
        self._size += len(parcels)
        while len(self._sent) > 1 and (self._size > RETAINED_BYTES or len(self._sent) > RETAINED_BATCHES):
            self._size -= len(self._sent.popleft()[1])

    def _cut(self) -> Iterable[tuple[object, int]]:
        """Return as much of what waits as goes at once, and at least one."""
        most = self._window // BATCHES
        if self._waiting_size <= most:
            some, self._waiting, self._waiting_size = self._waiting, deque(), 0
            return some
        cut = [self._waiting.popleft()]
        size = cut[0][1]
        while self._waiting and size + self._waiting[0][1] <= most:
            cut.append(self._waiting.popleft())
            size += cut[-1][1]
        self._waiting_size -= size
        return cut


class Incoming:
    """What comes from one node in one stream, each batch once and in order."""

    def __init__(self, stream: int, standing: Standing) -> None:
        self.stream = stream
        self._standing = standing
        self._early: dict[int, Batch] = {}
        self.expected = 1

    @property
    def has_gap(self) -> bool:
        """Whether something is missing that came before what is here."""
        return bool(self._early)

    def is_to_ask(self, batch: Batch) -> bool:
        """Whether to ask for what is missing before this one; of those that come early fewer and fewer are reasons."""
        count = len(self._early)
        return batch.serial in self._early and not count & (count - 1)

    def take(self, batch: Batch) -> list[Raw]:
        """Return the lists of parcels that have their turn by this batch."""
        if batch.serial >= self.expected:
            self._early[batch.serial] = batch
        if batch.first > self.expected:
            self._standing.lost += batch.first - self.expected
            self.expected = batch.first
        parcels: list[Raw] = []
        while self.expected in self._early:
            parcels.append(self._early.pop(self.expected).parcels)
            self.expected += 1
        return parcels
