"""Reading a shard as a whole: page by page, and then what has changed meanwhile."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from stores.model import Peer, Request, Session, User
from stores.redis.client import Argument, Wire
from stores.redis.keyspace import Keyspace
from stores.redis.rows import peer_of, request_of, session_of, user_of

START = "0-0"
PAGE = 1000
TAKE = "take"
HASHES = ("peers", "requests", "sessions", "places")
KINDS = {"peer": "peers", "request": "requests", "session": "sessions"}
_Record = TypeVar("_Record")
_logger = logging.getLogger(__name__)
Rows = dict[str, dict[bytes, bytes]]


def order(change: str) -> tuple[int, int]:
    """Return the order of a change by its id."""
    milliseconds, _, number = change.partition("-")
    return int(milliseconds), int(number)


def latest_id(stream: str) -> Sequence[Argument]:
    """Return the command that answers with the last entry of a change stream, if there is one."""
    return "XREVRANGE", stream, "+", "-", "COUNT", 1


class Entry(Struct, frozen=True):
    """A change as its stream has it; `before` is the id of the change before it, an empty `row` that of no record."""

    id: str
    place: int
    before: str
    node: str
    serial: str
    kind: str
    field: bytes
    row: bytes

    @classmethod
    def of(cls, change: bytes, fields: Sequence[bytes]) -> "Entry":
        """Return the entry of a stream. What a newer version adds stands at the end."""
        place, before, node, serial, kind, field, row = fields[1:14:2]
        return cls(
            change.decode(), int(place), before.decode(), node.decode(), serial.decode(), kind.decode(), field, row
        )

    @property
    def is_take(self) -> bool:
        """Whether a record was taken, so that exactly one caller has to get it."""
        return self.serial.startswith(TAKE)


class Snapshot(Struct):
    """All that a shard has, at a position in its change stream; peers with their places, in order."""

    position: str
    peers: dict[User, tuple[Peer, int]]
    requests: list[Request]
    sessions: dict[str, Session]


async def read_shard(wire: Wire, keys: Keyspace, shard: int) -> Snapshot | None:
    """Read a shard as it is now; None if it changes more than its stream tells."""
    stream = keys.changes(shard)
    (latest,) = await wire.ask([latest_id(stream)])
    position = latest[0][0].decode() if latest else START
    rows = {name: await _read_hash(wire, keys.shard(shard, name)) for name in HASHES}
    (entries,) = await wire.ask([("XRANGE", stream, f"({position}", "+")])
    for change, fields in entries:
        entry = Entry.of(change, fields)
        if entry.before != position:
            return None
        _apply(rows, entry)
        position = entry.id
    return _snapshot_of(position, rows)


async def _read_hash(wire: Wire, key: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    cursor: Any = b"0"
    while True:
        ((cursor, page),) = await wire.ask([("HSCAN", key, cursor, "COUNT", PAGE)])
        found.update(zip(page[::2], page[1::2], strict=True))
        if cursor == b"0":
            return found


def _apply(rows: Rows, entry: Entry) -> None:
    if entry.kind in KINDS:
        _set(rows[KINDS[entry.kind]], entry.field, entry.row)
    if entry.kind == "peer":
        _set(rows["places"], entry.field, b"%d" % entry.place if entry.row else b"")


def _set(rows: dict[bytes, bytes], field: bytes, row: bytes) -> None:
    if row:
        rows[field] = row
    else:
        rows.pop(field, None)


def _snapshot_of(position: str, rows: Rows) -> Snapshot:
    """Return what the rows say, without what cannot be understood, as of another version."""
    places = {user: int(place) for user, place in rows["places"].items()}
    peers = {
        user_of(user): (peer, places[user])
        for user, peer in _read_all(peer_of, rows["peers"]).items()
        if user in places
    }
    requests = sorted(_read_all(request_of, rows["requests"]).values(), key=lambda each: each.expires_at)
    sessions = {session.id: session for session in _read_all(session_of, rows["sessions"]).values()}
    return Snapshot(position, dict(sorted(peers.items(), key=lambda each: each[1][1])), requests, sessions)


def _read_all(read: Callable[[bytes], _Record], rows: dict[bytes, bytes]) -> dict[bytes, _Record]:
    found = {}
    for field, row in rows.items():
        try:
            found[field] = read(row)
        except ValueError:
            _logger.exception("left out a record that cannot be understood")
    return found
