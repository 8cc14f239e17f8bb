"""The bus: what goes to other nodes, and what is written for them to go on with, one load after the other."""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from struct import Struct as StructOf
from typing import Any

import msgspec
from msgspec import Struct

from stores.base import Holder, User
from stores.bus import Box, Home, Mark, Place, Standing, Watcher
from stores.redis import scripts
from stores.redis.changer import Changer
from stores.redis.client import Argument, Client
from stores.redis.pipe import Load, Pipe
from stores.redis.replica import Replica
from stores.redis.rows import json, row
from stores.redis.scripts import sha
from stores.redis.streams import ANY_STREAM, Again, Batch, Had, Incoming, Outgoing, message_of

SLACK = 64
SHARE = 8
WRITE_BYTES = 1024  # what a write costs besides its events: that many bytes of them
CALL_BYTES = 1_048_576
LOAD_BYTES = 4_194_304
ELSEWHERE, DONE = 0, 1
FENCE, FIRST = 2, 4  # the places in a write's head of the fence, and of what is its own
_MARK = StructOf("!QQ8s24s")  # of a mark the fence, the number, the key and the time

_encode = msgspec.msgpack.Encoder().encode
_tokens_of = msgspec.json.Decoder(dict[str, int]).decode
_seen_of = msgspec.json.Decoder(dict[str, int]).decode
_bases_of = msgspec.json.Decoder(dict[int, int]).decode


class Write(Struct, gc=False):
    """What is written for a user at once, and who is told whether this node was allowed to."""

    head: list[object]
    frames: list[bytes] = []
    marks: list[bytes] = []
    told: list[Callable[[bool], None]] = []
    seen: Mapping[str, int] = {}
    size: int = WRITE_BYTES

    @property
    def user(self) -> object:
        """The id of the user."""
        return self.head[1]

    def add(self, frame: bytes, most: int) -> None:
        """Have an event written, too; of all of them `most` are to be kept, and few that are not stay here."""
        self.frames.append(frame)
        self.size += len(frame)
        excess = len(self.frames) - most
        if excess > SLACK or excess * SHARE > len(self.frames):
            self.size -= sum(map(len, self.frames[:excess]))
            del self.frames[:excess]

    def seal(self) -> None:
        """Be as it is now, whatever comes."""
        self.seen = dict(self.seen)

    def put_into(self, heads: list[object], arguments: list[Argument]) -> None:
        """Add what the script is to be told."""
        heads.append(self.head)
        if self.frames:
            self.head += (json(self.seen).decode(), len(self.frames))
            arguments.append(b"".join(self.marks))
            arguments += self.frames


class RedisBus:
    """See `Bus`."""

    def __init__(self, client: Client, replica: Replica, changer: Changer) -> None:
        self.node = client.node
        self.home = replica.home
        self._client = client
        self._replica = replica
        self._changer = changer
        self._streams = count(1)
        self._serials = count(1)
        self._outgoing: dict[str, Outgoing] = {}
        self._incoming: dict[str, Incoming] = {}
        self._ready: dict[str, Outgoing] = {}
        self._signals: dict[tuple[str, type], Again | Had] = {}
        self._writes: dict[str | None, list[Write]] = {}
        self._keeps: dict[User, Write] = {}
        self._pipe = Pipe(client, (scripts.WRITE,), self._take, self._answered)
        self._settled_in = b""
        self.ahead = 0.0
        self.salt = b""

    @property
    def watcher(self) -> Watcher:
        """See `Bus`."""
        return self._replica.watcher

    @watcher.setter
    def watcher(self, watcher: Watcher) -> None:
        self._replica.watcher = watcher

    @property
    def standing(self) -> Standing:
        """See `Bus`."""
        return self._replica.standing

    @property
    def waiting(self) -> int:
        """See `Bus`."""
        return sum(outgoing.waiting for outgoing in self._outgoing.values())

    @property
    def is_away(self) -> bool:
        """See `Bus`."""
        return self._pipe.is_away or any(outgoing.is_behind for outgoing in self._outgoing.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent or written."""
        is_done = all(outgoing.is_done for outgoing in self._outgoing.values())
        return self._pipe.is_idle and is_done and not (self._writes or self._signals or self._settled_in)

    @property
    def why_stuck(self) -> str:
        """Why nothing gets through to the store any more; empty if something does."""
        return self._pipe.why_stuck

    def post(self, node: str, parcel: object, size: int) -> None:
        """See `Bus`."""
        outgoing = self._ready.get(node)
        if outgoing is None:
            outgoing = self._outgoing.setdefault(node, Outgoing(self.node, next(self._streams), self.standing))
            outgoing.put(parcel, size)
            self._go_on(node, outgoing)
        else:
            outgoing.put(parcel, size)

    def keep(
        self,
        user: User,
        frame: bytes,
        first: int,
        last: int,
        *,
        seen: Mapping[str, int],
        mark: Mark | None = None,
        kept: Callable[[bool], None] | None = None,
    ) -> None:
        """See `Bus`."""
        keep = self._keeps.get(user)
        if keep is None:
            keep = self._keeps[user] = self._write("keep", user, first, last)
        keep.head[FIRST:] = first, last
        keep.seen = seen
        keep.add(frame, last - first + 1)
        if mark is not None:
            keep.marks.append(_MARK.pack(keep.head[FENCE], last, mark.key, mark.timestamp.encode()))
        if kept is not None:
            keep.told.append(kept)

    def when_sent(self, call: Callable[[], None]) -> bool:
        """See `Bus`."""
        return self._pipe.when_sent(call)

    def open(
        self, user: User, tokens: Mapping[str, int], bases: Mapping[int, int], *, is_new: bool, last: int = 0
    ) -> None:
        """See `Bus`."""
        self._seal(user)
        self._write("open", user, json(tokens).decode(), json(bases).decode(), is_new, last)

    def forget(self, user: User) -> None:
        """See `Bus`."""
        self._seal(user)
        self._write("forget", user)

    def settle(self, life: bytes) -> None:
        """Say in the store, after all that is to be written by now, that what is kept here is there in this life."""
        self._settled_in = life
        self._pipe.wake()

    async def load(self, user: User) -> Box:
        """See `Bus`."""
        key = self._client.space.org(user.org)
        tokens, last, seen, opened, bases, marks, frames = await self._client.run(scripts.LOAD_BOX, key, user.id)
        return Box(
            {} if tokens is None else _tokens_of(tokens),
            int(last or 0),
            frames,
            _seen_of(seen) if seen else {},
            {place: mark for some in marks for place, mark in _marks_of(some)},
            int(opened.split()[0]) if opened else 0,
            _bases_of(bases) if bases else {},
        )

    async def adopt(self, user: User, home: Home) -> bool:
        """See `Bus`."""
        holder = row(Holder(home.node, home.socket))
        (is_ours,) = await self._changer.make("adopt", user.org, user.id, home.fence, holder)
        self.standing.adopted += is_ours
        return bool(is_ours)

    async def reclaim(self, user: User, home: Home, socket: int) -> bool:
        """See `Bus`."""
        holder = row(Holder(self.node, socket))
        (is_ours,) = await self._changer.make("reclaim", user.org, user.id, home.fence, holder, socket)
        return bool(is_ours)

    def hear(self, data: bytes) -> None:
        """Take in what another node sent."""
        message = message_of(data)
        if isinstance(message, Batch):
            self._hear_batch(message)
            return
        outgoing = self._outgoing.get(message.node)
        if outgoing is not None:
            outgoing.hear(message)
            self._go_on(message.node, outgoing)

    def _hear_batch(self, message: Batch) -> None:
        incoming = self._incoming.get(message.node)
        if incoming is None or incoming.stream < message.stream:
            incoming = self._incoming[message.node] = Incoming(message.stream, self.standing)
        elif incoming.stream > message.stream:
            return
        for parcels in incoming.take(message):
            self.watcher.arrived(message.node, parcels)
        if incoming.is_to_ask(message):
            self._ask_again(message.node, incoming)
        elif message.asks:
            self._signal(message.node, Had(self.node, incoming.stream, incoming.expected - 1))

    def ask_again(self, nodes: Collection[str]) -> None:
        """Ask these nodes for what may have been missed."""
        for node in nodes:
            if node != self.node:
                self._ask_again(node, self._incoming.get(node) or Incoming(ANY_STREAM, self.standing))

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
        await self._pipe.run()

    async def settled(self) -> None:
        """Return once nothing waits to be sent or written, by `run`."""
        while not self.is_idle:
            await self._pipe.moved()

    async def flush(self) -> None:
        """Send and write what there is while `run` does not; raises `StoreUnreachableError` if that cannot be.

        It may take several calls. Nothing is heard of how far others have come.
        """
        for node, outgoing in self._outgoing.items():
            outgoing.suppose()
            self._go_on(node, outgoing)
        await self._pipe.drain()

    def _take(self) -> Load:
        """Return what waits as commands: first what is to be kept, so that what tells of it finds it.

        What is more than about `LOAD_BYTES` goes with the next load, and nothing is told before all is to be kept.
        """
        load = Load([], [], [])
        room = self._take_writes(load, LOAD_BYTES)
        if self._writes:
            load.is_whole = False
        else:
            self._take_messages(load, room)
        if self._writes or self._ready:
            self._pipe.wake()
        return load

    def _take_writes(self, load: Load, room: int) -> int:
        """Add writes, of each org in order and of the orgs in turns; return how much room is left."""
        while self._writes:
            org, some = next(iter(self._writes.items()))
            count, size = _call_of(some)
            if load.commands and size > room:
                break
            del self._writes[org]
            if count < len(some):
                self._writes[org] = some[count:]
            self._add_call(load, org, some[:count])
            room -= size
        for user in list(self._keeps) if self._writes else ():
            self._seal(user)
        self._keeps = {}
        return room

    def _add_call(self, load: Load, org: str | None, writes: list[Write]) -> None:
        heads: list[object] = []
        arguments: list[Argument] = []
        for write in writes:
            write.put_into(heads, arguments)
        key = self._client.space.org(org)
        told_on = self._client.space.changes, json(org), self.node
        load.commands.append(("EVALSHA", sha(scripts.WRITE), 1, key, json(heads), *told_on, *arguments))
        load.told.append(_teller(writes, self.standing))

    def _take_messages(self, load: Load, room: int) -> None:
        if self._settled_in:
            load.commands.append(("HSET", self._client.space.settled, self.node, self._settled_in))
            load.told.append(None)
            self._settled_in = b""
        signals, self._signals = self._signals, {}
        messages = [(node, _encode(signal)) for (node, _), signal in signals.items()]
        while self._ready and room > 0:
            node, outgoing = next(iter(self._ready.items()))
            if outgoing.may_go:
                message = outgoing.take()
                messages.append((node, message))
                room -= len(message)
            if not outgoing.may_go:
                del self._ready[node]
        load.commands += [("PUBLISH", self._client.space.node(node), message) for node, message in messages]
        load.told += [None] * len(messages)
        self.standing.published += len(messages)

    def _answered(self) -> None:
        self.watcher.answered()

    def _write(self, kind: str, user: User, *arguments: object) -> Write:
        home = self._replica.home(user)
        may = home is not None and (home.node == self.node or kind == "forget")
        fence = home.fence if home is not None and may else 0
        write = Write([kind, user.id, fence, next(self._serials), *arguments])
        self._writes.setdefault(user.org, []).append(write)
        self._pipe.wake()
        return write

    def _ask_again(self, node: str, incoming: Incoming) -> None:
        self._signal(node, Again(self.node, incoming.stream, incoming.expected))

    def _signal(self, node: str, signal: Again | Had) -> None:
        """Send this, in place of what was to be sent of its kind."""
        self._signals[node, type(signal)] = signal
        self._pipe.wake()

    def _go_on(self, node: str, outgoing: Outgoing) -> None:
        """Send what may go."""
        if outgoing.may_go:
            self._ready[node] = outgoing
            self._pipe.wake()

    def _seal(self, user: User) -> None:
        """Let nothing more come to what is to be kept for a user by now."""
        keep = self._keeps.pop(user, None)
        if keep is not None:
            keep.seal()


def _call_of(writes: list[Write]) -> tuple[int, int]:
    """Return how many go with one call of the script, at least one, and their size.

    An opening is not parted from what is written anew after it.
    """
    size = 0
    for at, write in enumerate(writes):
        if at and size + write.size > CALL_BYTES and write.user != writes[at - 1].user:
            return at, size
        size += write.size
    return len(writes), size


def _teller(writes: list[Write], standing: Standing) -> Callable[[Any], None]:
    def tell(answers: Any) -> None:  # noqa: ANN401 - as Redis answers
        for write, answer in zip(writes, answers, strict=True):
            is_done = answer == DONE
            if write.frames:
                standing.written += is_done
                standing.fenced += answer == ELSEWHERE
            for each in write.told:
                each(is_done)

    return tell


def _marks_of(data: bytes) -> Iterator[tuple[Place, Mark]]:
    for fence, number, key, timestamp in _MARK.iter_unpack(data):
        yield Place(fence, number), Mark(key, timestamp.decode())
