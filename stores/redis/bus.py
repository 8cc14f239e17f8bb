"""The bus: what goes to other nodes, and what is written for them to go on with, one pipeline after the other."""

from collections import deque
from collections.abc import Callable, Collection
from itertools import count
from typing import Any

import anyio
import msgspec
from msgspec import Struct

from stores.base import Holder, StoreUnreachableError, User
from stores.bus import Box, Home, Watcher
from stores.redis import scripts
from stores.redis.client import Argument, Client, reaching
from stores.redis.replica import Replica
from stores.redis.rows import row

RETRY_SECONDS = 0.2
RETAINED_BYTES = 8_388_608
RETAINED_BATCHES = 1000
WAITING_BYTES = 33_554_432
ANY_STREAM = 0
WAITING_TOLD = 10_000
SLACK = 64
ELSEWHERE = 0

_encode = msgspec.msgpack.Encoder().encode
_tokens_of = msgspec.json.Decoder(tuple[str, ...]).decode
_encode_tokens = msgspec.json.Encoder().encode


class Batch(Struct, array_like=True, tag=1):
    """What one node sends to another at once, by its serial number; those before `first` are not to be had any more.

    Numbers begin anew with each `stream`, as when the other was taken for gone and came back.
    """

    node: str
    stream: int
    serial: int
    first: int
    parcels: list[bytes]


class Again(Struct, array_like=True, tag=2):
    """Asks for what was sent in a stream from this serial number on."""

    node: str
    stream: int
    serial: int


_message_of = msgspec.msgpack.Decoder(Batch | Again).decode


class Write(Struct):
    """A script to run on what is kept for a user, and who is told whether this node was allowed to."""

    script: str
    user: User
    arguments: list[Argument]
    told: list[Callable[[bool], None]]


class Outgoing:
    """What goes to one node: what is yet to go, and what went lately, in case it has to go again.

    While the store is away up to `WAITING_BYTES` wait; beyond that the oldest are lost.
    """

    def __init__(self, node: str, stream: int) -> None:
        self._node = node
        self._stream = stream
        self._serial = 0
        self._sent: deque[tuple[int, list[bytes], int]] = deque()
        self._size = 0
        self._waiting_size = 0
        self.waiting: deque[bytes] = deque()
        self.dropped = 0

    @property
    def _first(self) -> int:
        return self._sent[0][0] if self._sent else self._serial + 1

    def put(self, parcel: bytes) -> None:
        """Add a parcel."""
        self.waiting.append(parcel)
        self._waiting_size += len(parcel)
        while self._waiting_size > WAITING_BYTES and len(self.waiting) > 1:
            self._waiting_size -= len(self.waiting.popleft())
            self.dropped += 1

    def take(self) -> bytes:
        """Return what waits, as one message."""
        self._serial += 1
        parcels, size = list(self.waiting), self._waiting_size
        self.waiting.clear()
        self._waiting_size = 0
        self._sent.append((self._serial, parcels, size))
        self._size += size
        while len(self._sent) > 1 and (self._size > RETAINED_BYTES or len(self._sent) > RETAINED_BATCHES):
            self._size -= self._sent.popleft()[2]
        return self._batch(self._serial, parcels)

    def again(self, asked: Again) -> list[bytes]:
        """Return what is asked for, as far as it is retained."""
        if asked.stream not in {ANY_STREAM, self._stream}:
            return []
        return [self._batch(serial, parcels) for serial, parcels, _ in self._sent if serial >= asked.serial]

    def _batch(self, serial: int, parcels: list[bytes]) -> bytes:
        return _encode(Batch(self._node, self._stream, serial, self._first, parcels))


class Incoming:
    """What comes from one node in one stream, each batch once and in order."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self._early: dict[int, Batch] = {}
        self.expected = 1
        self.lost = 0

    @property
    def has_gap(self) -> bool:
        """Whether something is missing that came before what is here."""
        return bool(self._early)

    def take(self, batch: Batch) -> list[bytes]:
        """Return the parcels that have their turn by this batch."""
        if batch.serial >= self.expected:
            self._early[batch.serial] = batch
        if batch.first > self.expected:
            self.lost += batch.first - self.expected
            self.expected = batch.first
        parcels: list[bytes] = []
        while self.expected in self._early:
            parcels += self._early.pop(self.expected).parcels
            self.expected += 1
        return parcels


class RedisBus:
    """See `Bus`."""

    def __init__(self, client: Client, replica: Replica) -> None:
        self._client = client
        self._replica = replica
        self._due = anyio.Event()
        self._streams = count(1)
        self._outgoing: dict[str, Outgoing] = {}
        self._incoming: dict[str, Incoming] = {}
        self._ready: dict[str, Outgoing] = {}
        self._resent: list[tuple[str, bytes]] = []
        self._writes: list[Write] = []
        self._keeps: dict[User, Write] = {}
        self._flushing = anyio.Lock()
        self._begun: tuple[list[tuple[str, bytes]], list[Write]] = ([], [])
        self.ahead = 0.0
        self.salt = b""
        self.publishes = 0

    @property
    def node(self) -> str:
        """See `Bus`."""
        return self._client.node

    @property
    def watcher(self) -> Watcher:
        """See `Bus`."""
        return self._replica.watcher

    @watcher.setter
    def watcher(self, watcher: Watcher) -> None:
        self._replica.watcher = watcher

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent or written, or is only begun."""
        return not (self._ready or self._writes or self._resent or any(self._begun))

    def home(self, user: User) -> Home | None:
        """See `Bus`."""
        return self._replica.homes.get(user)

    def post(self, node: str, parcel: bytes) -> None:
        """See `Bus`."""
        outgoing = self._ready.get(node)
        if outgoing is None:
            outgoing = self._outgoing.setdefault(node, Outgoing(self.node, next(self._streams)))
            self._ready[node] = outgoing
            self._due.set()
        outgoing.put(parcel)

    def keep(self, user: User, frame: bytes, first: int, last: int, kept: Callable[[bool], None] | None = None) -> None:
        """See `Bus`."""
        write = self._keeps.get(user)
        if write is None:
            write = self._keeps[user] = self._write(scripts.KEEP, user, first, last)
        arguments, told = write.arguments, write.told
        arguments[2:4] = first, last
        arguments.append(frame)
        excess = len(arguments) - 4 - (last - first + 1)
        if excess > SLACK:
            del arguments[4 : 4 + excess]  # they are not to be kept any more
        if kept is not None:
            told.append(kept)
            del told[:-WAITING_TOLD]

    def open(self, user: User, tokens: Collection[str], *, is_new: bool, last: int = 0) -> None:
        """See `Bus`."""
        self._keeps.pop(user, None)
        self._write(scripts.OPEN_BOX, user, _encode_tokens(tuple(tokens)), int(is_new), last)

    def forget(self, user: User) -> None:
        """See `Bus`."""
        self._keeps.pop(user, None)
        self._write(scripts.FORGET_BOX, user)

    async def load(self, user: User) -> Box:
        """See `Bus`."""
        tokens, last, frames = await self._client.run(scripts.LOAD_BOX, self._client.space.org(user.org), user.id)
        return Box(() if tokens is None else _tokens_of(tokens), int(last or 0), frames)

    async def adopt(self, user: User, home: Home) -> bool:
        """See `Bus`."""
        holder = row(Holder(home.node, home.socket))
        version, is_ours = await self._client.change(scripts.ADOPT, user.org, user.id, home.fence, holder)
        await self._replica.reached(user.org, version, self._client.patience)
        return bool(is_ours)

    async def reclaim(self, user: User, home: Home, socket: int) -> bool:
        """See `Bus`."""
        holder = row(Holder(self.node, socket))
        version, is_ours = await self._client.change(scripts.RECLAIM, user.org, user.id, home.fence, holder, socket)
        await self._replica.reached(user.org, version, self._client.patience)
        return bool(is_ours)

    def hear(self, data: bytes) -> None:
        """Take in what another node sent."""
        message = _message_of(data)
        if isinstance(message, Again):
            outgoing = self._outgoing.get(message.node)
            if outgoing is not None:
                self._resent += ((message.node, batch) for batch in outgoing.again(message))
                self._due.set()
            return
        incoming = self._incoming.get(message.node)
        if incoming is None or incoming.stream < message.stream:
            incoming = self._incoming[message.node] = Incoming(message.stream)
        elif incoming.stream > message.stream:
            return
        for parcel in incoming.take(message):
            self.watcher.arrived(message.node, parcel)
        if incoming.has_gap:
            self._ask_again(message.node, incoming)

    def ask_again(self, nodes: Collection[str]) -> None:
        """Ask these nodes for what may have been missed."""
        for node in nodes:
            if node != self.node:
                self._ask_again(node, self._incoming.get(node) or Incoming(ANY_STREAM))

    @property
    def partners(self) -> set[str]:
        """The nodes to which something was sent."""
        return set(self._outgoing)

    def lose(self, node: str) -> None:
        """Forget what was sent to a node that is gone; should it come back, what is sent then begins anew."""
        self._outgoing.pop(node, None)
        self._ready.pop(node, None)

    async def run(self) -> None:
        """Send and write what is put down here, until cancelled. While Redis is away it waits."""
        while True:
            await self._due.wait()
            self._due = anyio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Send and write what there is, until that is done; first what was begun when this was cancelled."""
        async with self._flushing:
            if not any(self._begun):
                self._begun = self._take()
            messages, writes = self._begun
            results = await self._persist(messages, writes)
            self._begun = ([], [])
        self.publishes += len(messages)
        for write, result in zip(writes, results, strict=True):
            for told in write.told:
                told(result != ELSEWHERE)

    def _take(self) -> tuple[list[tuple[str, bytes]], list[Write]]:
        messages, self._resent = self._resent, []
        ready, self._ready = self._ready, {}
        messages += [(node, outgoing.take()) for node, outgoing in ready.items()]
        writes, self._writes, self._keeps = self._writes, [], {}
        return messages, writes

    async def _persist(self, messages: list[tuple[str, bytes]], writes: list[Write]) -> list[Any]:
        """Do all that until it is done; return what the writes answer. To do it twice is to do it once."""
        while True:
            try:
                return await self._pipe(messages, writes)
            except StoreUnreachableError:
                await anyio.sleep(RETRY_SECONDS)

    async def _pipe(self, messages: list[tuple[str, bytes]], writes: list[Write]) -> list[Any]:
        """Do all in one pipeline; return what the writes answer."""
        pipeline = self._client.redis.pipeline(transaction=False)
        for write in writes:
            _ = pipeline.eval(write.script, 1, self._client.space.org(write.user.org), *write.arguments)
        for node, message in messages:
            _ = pipeline.publish(self._client.space.node(node), message)
        results: list[Any] = []
        with reaching():
            results = await pipeline.execute()
        return results[: len(writes)]

    def _write(self, script: str, user: User, *arguments: Argument) -> Write:
        home = self._replica.homes.get(user)
        may = home is not None and (home.node == self.node or script is scripts.FORGET_BOX)
        write = Write(script, user, [user.id, home.fence if home is not None and may else 0, *arguments], [])
        self._writes.append(write)
        self._due.set()
        return write

    def _ask_again(self, node: str, incoming: Incoming) -> None:
        self._resent.append((node, _encode(Again(self.node, incoming.stream, incoming.expected))))
        self._due.set()
