"""Streams: what one node sends another, over a channel that may lose it: numbered, and asked for again where missed."""

from collections import deque

import msgspec
from msgspec import Raw, Struct

from stores.bus import Standing

RETAINED_BYTES = 8_388_608
RETAINED_BATCHES = 1000
WAITING_BYTES = 33_554_432
ANY_STREAM = 0

_encode = msgspec.msgpack.Encoder().encode


class Batch(Struct, array_like=True, tag=1):
    """What one node sends to another at once, by its serial number; those before `first` are not to be had any more.

    Numbers begin anew with each `stream`, as when the other was taken for gone and came back. `parcels` is a list.
    """

    node: str
    stream: int
    serial: int
    first: int
    parcels: Raw


class Again(Struct, array_like=True, tag=2):
    """Asks for what was sent in a stream from this serial number on."""

    node: str
    stream: int
    serial: int


message_of = msgspec.msgpack.Decoder(Batch | Again).decode


class Outgoing:
    """What goes to one node: what is yet to go, and what went lately, in case it has to go again.

    While the store is away up to `WAITING_BYTES` wait; beyond that the oldest are lost.
    """

    def __init__(self, node: str, stream: int, standing: Standing) -> None:
        self._standing = standing
        self._node = node
        self._stream = stream
        self._serial = 0
        self._sent: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._waiting: deque[tuple[object, int]] = deque()
        self._waiting_size = 0

    @property
    def waiting(self) -> int:
        """How many parcels are yet to go."""
        return len(self._waiting)

    def put(self, parcel: object, size: int) -> None:
        """Add a parcel, which has about so many bytes."""
        self._waiting.append((parcel, size))
        self._waiting_size += size
        while self._waiting_size > WAITING_BYTES and len(self._waiting) > 1:
            self._waiting_size -= self._waiting.popleft()[1]
            self._standing.dropped += 1

    def take(self) -> bytes:
        """Return what waits, as one message."""
        self._serial += 1
        parcels = _encode([parcel for parcel, _ in self._waiting])
        self._waiting.clear()
        self._waiting_size = 0
        self._sent.append((self._serial, parcels))
        self._size += len(parcels)
        while len(self._sent) > 1 and (self._size > RETAINED_BYTES or len(self._sent) > RETAINED_BATCHES):
            self._size -= len(self._sent.popleft()[1])
        return self._batch(self._serial, parcels)

    def again(self, asked: Again) -> list[bytes]:
        """Return what is asked for, as far as it is retained."""
        if asked.stream not in {ANY_STREAM, self._stream}:
            return []
        return [self._batch(serial, parcels) for serial, parcels in self._sent if serial >= asked.serial]

    def _batch(self, serial: int, parcels: bytes) -> bytes:
        return _encode(Batch(self._node, self._stream, serial, self._sent[0][0], Raw(parcels)))


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
