"""Changes: what is to be written in one transaction, joined so that it takes few rows."""

import sqlite3
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from stores.base import Session, User
from stores.journal import Kind, LogHeader, Record
from stores.log import MessageKey

_encode = msgspec.msgpack.Encoder().encode
UPSERT = "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET row = excluded.row"


class LogChange(Struct, eq=False):
    """What became of one user's log: whether it began anew, its header, and the events that were added."""

    is_new: bool = False
    header: LogHeader | None = None
    last: int = 0
    payloads: list[bytes] = msgspec.field(default_factory=list)


class Changes:
    """What was noted since the last transaction; the last note about a record counts."""

    def __init__(self) -> None:
        self.records: dict[tuple[Kind, str], Record | None] = {}
        self.logs: dict[User, LogChange] = {}
        self.trims: dict[User, int] = {}
        self.keys: list[MessageKey] = []
        self.size = 0

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.records or self.logs or self.trims or self.keys)

    def log(self, user: User) -> LogChange:
        """Return what is noted of a user's log."""
        found = self.logs.get(user)
        if found is None:
            found = self.logs[user] = LogChange()
        return found

    def add(self, later: "Changes") -> None:
        """Take in what was noted after this."""
        self.records |= later.records
        for user, change in later.logs.items():
            self._add_log(user, change)
        self.trims |= later.trims
        self.keys += later.keys
        self.size += later.size

    def _add_log(self, user: User, change: LogChange) -> None:
        known = self.logs.get(user)
        if known is None or change.is_new:
            self.trims.pop(user, None)
            self.logs[user] = change
            return
        known.header = change.header or known.header
        known.last = change.last or known.last
        known.payloads += change.payloads

    def write(self, db: sqlite3.Connection) -> None:
        """Write all of it in one transaction; raises `sqlite3.Error`, writing nothing."""
        db.execute("BEGIN IMMEDIATE")
        try:
            self._write_records(db)
            self._write_logs(db)
            keys = [(key.sent_at, key.stream, key.digest) for key in self.keys]
            db.executemany("INSERT INTO keys VALUES (?, ?, ?)", keys)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _write_records(self, db: sqlite3.Connection) -> None:
        gone = [key for key, record in self.records.items() if record is None]
        kept = [(*key, row(record)) for key, record in self.records.items() if record is not None]
        db.executemany("DELETE FROM records WHERE kind = ? AND key = ?", gone)
        db.executemany(UPSERT, kept)

    def _write_logs(self, db: sqlite3.Connection) -> None:
        names = {user: name(user) for user in (*self.logs, *self.trims)}
        new = [(names[user],) for user, change in self.logs.items() if change.is_new]
        db.executemany("DELETE FROM events WHERE user = ?", new)
        db.executemany("DELETE FROM logs WHERE user = ?", new)
        db.executemany("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", self._headers(names))
        events = [
            (names[user], change.last, _encode(change.payloads))
            for user, change in self.logs.items()
            if change.payloads
        ]
        db.executemany("INSERT INTO events VALUES (?, ?, ?)", events)
        trims = [(offset, names[user]) for user, offset in self.trims.items()]
        db.executemany("UPDATE logs SET trimmed = ? WHERE user = ?", trims)
        db.executemany("DELETE FROM events WHERE last <= ? AND user = ?", trims)

    def _headers(self, names: dict[User, str]) -> Iterable[tuple[str, bytes, int]]:
        for user, change in self.logs.items():
            if change.header is not None:
                yield names[user], _encode(change.header), change.header.trimmed


def name(user: User) -> str:
    """Return a user as tables have it."""
    return msgspec.json.encode(user).decode()


def row(record: Record) -> bytes:
    """Return a record as tables have it. A session's participants are a list: maps by user are unknown to msgpack."""
    if isinstance(record, Session):
        return _encode((record.id, record.host, list(record.participants.items())))
    return _encode(record)
