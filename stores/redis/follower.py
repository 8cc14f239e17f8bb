"""The follower: keeps a directory right by reading the change streams of all shards."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

import anyio
from msgspec import Struct

from stores.memory.directory import MemoryDirectory
from stores.model import Peer, Request, Session, User
from stores.protocols import Listener, StoreUnreachableError
from stores.redis.client import Argument, Client, Wire
from stores.redis.keyspace import SHARDS, shard_of
from stores.redis.rows import peer_of, request_of, revocation_of, session_of, user_of
from stores.redis.snapshot import KINDS, START, Entry, latest_id, order, read_shard

RETRY_SECONDS = 0.5
READ_AT_ONCE = 1000
NOT_IN_TIME = "Redis: a change was made, but not heard of in time"
READING = "Redis: what this node knows is being read"
_logger = logging.getLogger(__name__)


class Made(Struct):
    """A change that this node asked for, once it is known to be made: the record before it."""

    before: Peer | Request | Session | None = None
    is_made: bool = False


class Follower:
    """Has a directory of everything, and how far it has come in the change stream of each shard.

    `made` has the changes that somebody waits for, by their serials. `late_peers` and `late_requests` are those that
    this node took, but heard of it when nobody waited for them any more. `present` counts the peers with a socket, by
    the node of it.
    """

    def __init__(self, client: Client) -> None:
        self.directory = MemoryDirectory()
        self.listener = Listener()
        self.made: dict[str, Made] = {}
        self.late_peers: list[Peer] = []
        self.late_requests: list[Request] = []
        self.present: Counter[str] = Counter()
        self.is_current = False
        self.why_not_current = READING
        self.resyncs = 0
        self._client = client
        self._streams = [client.keys.changes(shard) for shard in range(SHARDS)]
        self._positions = [START] * SHARDS
        self._goals = [START] * SHARDS
        self._stale = set(range(SHARDS))
        self._waiting: list[list[tuple[tuple[int, int], int, Callable[[], None]]]] = [[] for _ in range(SHARDS)]
        self._numbers = count()

    def position(self, shard: int) -> str:
        """Return the id of the last change of a shard that the directory has."""
        return self._positions[shard]

    def has_passed(self, shard: int, change: str) -> bool:
        """Whether the directory has a change."""
        return order(change) <= order(self._positions[shard])

    def when_passed(self, shard: int, change: str, call: Callable[[], None]) -> None:
        """Call this once the directory has a change, which may be at once, or once it turns out to be lost."""
        if self.has_passed(shard, change):
            call()
        else:
            heappush(self._waiting[shard], (order(change), next(self._numbers), call))

    async def passed(self, shard: int, change: str) -> None:
        """Return once the directory has a change; raise `StoreUnreachableError` if it has not in time."""
        event = anyio.Event()
        self.when_passed(shard, change, event.set)
        with anyio.move_on_after(self._client.patience):
            await event.wait()
            return
        raise StoreUnreachableError(NOT_IN_TIME)

    async def catch_up(self, shard: int) -> None:
        """Return once the directory has all changes of a shard that were made before this call."""
        (found,) = await self._client.ask(latest_id(self._streams[shard]))
        await self.passed(shard, _id_of(found))

    def resync(self) -> None:
        """Have all shards read anew."""
        self._stale.update(range(SHARDS))

    async def check_positions(self) -> None:
        """Have those shards read anew whose stream ends before what the directory has: the store has lost changes."""
        known = self._positions.copy()
        answers = await self._client.ask(*map(latest_id, self._streams))
        self._compare(known, list(map(_id_of, answers)))

    async def run(self, connected: Callable[[], Awaitable[None]], started: Callable[[], None]) -> None:
        """Follow until cancelled. `connected` is awaited over each new connection before anything is read.

        `started` is called when the directory is right, or turned out not to be had for now.
        """
        while True:
            try:
                async with self._client.wired() as wire:
                    await connected()
                    await self._follow(wire, started)
            except StoreUnreachableError as error:
                self.is_current, self.why_not_current = False, str(error)
            started()
            await anyio.sleep(RETRY_SECONDS)

    async def _follow(self, wire: Wire, started: Callable[[], None]) -> None:
        self.why_not_current = READING
        answers = await wire.ask(list(map(latest_id, self._streams)))
        self._goals = list(map(_id_of, answers))
        self._compare(self._positions, self._goals)
        while True:
            while self._stale:
                self.is_current = False
                await self._resync(wire, min(self._stale))
            if not self.is_current and all(map(_is_reached, self._positions, self._goals)):
                self.is_current = True
                self.listener.resynced()
                started()
            await self._read_changes(wire)

    def _compare(self, known: list[str], latest: list[str]) -> None:
        self._stale.update(shard for shard in range(SHARDS) if order(latest[shard]) < order(known[shard]))

    async def _read_changes(self, wire: Wire) -> None:
        """Take in what comes next; return soon if nothing does, so that a dead connection is noticed."""
        how: list[Argument] = ["COUNT", READ_AT_ONCE, "BLOCK", int(self._client.patience * 500)]
        (found,) = await wire.ask([["XREAD", *how, "STREAMS", *self._streams, *self._positions]])
        for stream, entries in found or ():
            self._take_all(self._streams.index(stream.decode()), entries)

    def _take_all(self, shard: int, entries: list[Any]) -> None:
        for change, fields in entries:
            entry = Entry.of(change, fields)
            if entry.before != self._positions[shard]:
                self._stale.add(shard)
                return
            try:
                self._take(entry)
            except Exception:
                _logger.exception("left out a change that cannot be understood")
            self._advance(shard, entry.id)

    def _take(self, entry: Entry) -> None:
        is_own = entry.node == self._client.node
        if entry.kind == "revoked":
            if not is_own:
                self.listener.revoked(revocation_of(entry.row))
            return
        if entry.kind not in KINDS:  # as of a newer version
            return
        before, after = self._put(entry.kind, entry.field, entry.row, entry.place)
        made = self.made.get(entry.serial) if is_own else None
        if made is not None:
            made.before, made.is_made = before, True
        elif is_own and entry.is_take:
            self._keep_late(before)
        elif entry.kind == "peer" and before != after:
            self.listener.peer_changed(*_peers(before, after))

    def _keep_late(self, record: object) -> None:
        if isinstance(record, Peer):
            self.late_peers.append(record)
        elif isinstance(record, Request):
            self.late_requests.append(record)

    def _put(self, kind: str, field: bytes, row: bytes, place: int) -> tuple[Any, Any]:
        """Have a record as its row says, none where that is empty; return it as it was and as it is."""
        if kind == "peer":
            return self._put_peer(user_of(field), peer_of(row) if row else None, place)
        if kind == "request":
            return self._put_request(field.decode(), request_of(row) if row else None)
        return self._put_session(field.decode(), session_of(row) if row else None)

    def _put_peer(self, user: User, after: Peer | None, place: int) -> tuple[Peer | None, Peer | None]:
        directory = self.directory
        before = directory.peer(user)
        if before == after and directory.place(user) == place:
            return before, after
        if after is None or directory.place(user) != place:  # it may have left and come back, unnoticed here
            directory.remove_peer(user)
        if after is not None:
            directory.put_peer(after, place)
        self._count(before, -1)
        self._count(after, 1)
        return before, after

    def _count(self, peer: Peer | None, change: int) -> None:
        if peer is not None and peer.lapses_at is None and peer.holder is not None:
            self.present[peer.holder.node] += change
            if not self.present[peer.holder.node]:
                del self.present[peer.holder.node]

    def _put_request(self, request_id: str, after: Request | None) -> tuple[Request | None, Request | None]:
        before = self.directory.remove_request(request_id)
        if after is not None:
            self.directory.put_request(after)
        return before, after

    def _put_session(self, session_id: str, after: Session | None) -> tuple[Session | None, Session | None]:
        before = self.directory.session(session_id)
        if after is None:
            self.directory.remove_session(session_id)
        else:
            self.directory.put_session(after)
        return before, after

    def _advance(self, shard: int, change: str) -> None:
        self._positions[shard] = change
        waiting, now = self._waiting[shard], order(change)
        while waiting and waiting[0][0] <= now:
            heappop(waiting)[2]()

    async def _resync(self, wire: Wire, shard: int) -> None:
        """Have what a shard has now, and tell the listener of each peer that is not as it was."""
        self.resyncs += 1
        self._stale.discard(shard)
        snapshot = await read_shard(wire, self._client.keys, shard)
        if snapshot is None:
            self._stale.add(shard)
            return
        self._replace_requests(shard, snapshot.requests)
        self._replace_sessions(shard, snapshot.sessions)
        changed = self._replace_peers(shard, snapshot.peers)
        self._goals[shard] = START
        self._arrive(shard, snapshot.position)
        for before, after in changed:
            self.listener.peer_changed(before, after)

    def _replace_requests(self, shard: int, requests: list[Request]) -> None:
        for request in list(self.directory.requests.values()):
            if shard_of(request.requester.org) == shard:
                self.directory.remove_request(request.id)
        for request in requests:
            self.directory.put_request(request)

    def _replace_sessions(self, shard: int, sessions: dict[str, Session]) -> None:
        known = [each.id for each in self.directory.sessions.values() if shard_of(each.host.org) == shard]
        for session_id in set(known) - sessions.keys():
            self.directory.remove_session(session_id)
        for session in sessions.values():
            self.directory.put_session(session)

    def _replace_peers(self, shard: int, peers: dict[User, tuple[Peer, int]]) -> list[tuple[Peer | None, Peer | None]]:
        indexes = self.directory.indexes.items()
        known = [user for org, index in indexes if shard_of(org) == shard for user in index.peers]
        changed = [self._put_peer(user, None, 0) for user in known if user not in peers]
        changed += [self._put_peer(user, peer, place) for user, (peer, place) in peers.items()]
        return [(before, after) for before, after in changed if before != after]

    def _arrive(self, shard: int, position: str) -> None:
        """Have a shard's position; where it went back, what was waited for may never come."""
        is_back = order(position) < order(self._positions[shard])
        self._advance(shard, position)
        if is_back:
            waiting, self._waiting[shard] = self._waiting[shard], []
            for _, _, call in sorted(waiting, key=lambda each: each[:2]):
                call()


def _id_of(found: list[Any]) -> str:
    """Return the id in the answer to `latest_id`."""
    return str(found[0][0].decode()) if found else START


def _is_reached(position: str, goal: str) -> bool:
    return order(position) >= order(goal)


def _peers(before: object, after: object) -> tuple[Peer | None, Peer | None]:
    return before if isinstance(before, Peer) else None, after if isinstance(after, Peer) else None
