"""A batch: what is to be committed together, put into as few statements as can be, since each may wait for the disk."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Struct, field

from stores.log import RECENT_SECONDS, MessageKey
from stores.memory.journal import Kind, LogHeader, Record
from stores.model import User
from stores.sqlite.rows import Rows

ROWS = 100
SetOfKeys = list[tuple[MessageKey, list[User]]]
Statement = tuple[str, Sequence[object]]

_PUT = (
    "INSERT INTO records (kind, key, place, value) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (kind, key) DO UPDATE SET place = excluded.place, value = excluded.value"
)
_HEADER = (
    "INSERT INTO logs (user, trimmed, header) VALUES (?, ?, ?)"
    " ON CONFLICT (user) DO UPDATE SET trimmed = max(trimmed, excluded.trimmed), header = excluded.header"
)
_TRIM = (
    "INSERT INTO logs (user, trimmed) SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"
    " WHERE true ON CONFLICT (user) DO UPDATE SET trimmed = max(trimmed, excluded.trimmed)"
)
_LET_GO = "DELETE FROM events WHERE id IN (SELECT value FROM json_each(?))"
_EVENTS = [", ".join(["REPLACE INTO events VALUES (?, ?, ?, ?)", *["(?, ?, ?, ?)"] * more]) for more in range(ROWS)]
_KEYS = "INSERT INTO keys SELECT max(?, ifnull(max(id), 0) + 1), ? FROM keys"
_OLD_KEYS = "DELETE FROM keys WHERE id <= (SELECT max(id) FROM keys) - ?"
_encode = msgspec.msgpack.encode


class Change(Struct):
    """What becomes of a record: None if it goes. One that `was_deleted` before comes last among its kind."""

    record: Record | None
    place: int = 0
    was_deleted: bool = False


class LogChange(Struct):
    """What becomes of a user's log: a new header, and what is appended, the last of which has the offset `last`."""

    was_forgotten: bool = False
    header: LogHeader | None = None
    last: int = 0
    payloads: list[bytes] = field(default_factory=list)


class Batch(Struct):
    """Changes, and what to call once they are committed; `size` is about how many bytes wait in it."""

    records: dict[tuple[Kind, str], Change] = field(default_factory=dict)
    logs: dict[User, LogChange] = field(default_factory=dict)
    trims: dict[User, int] = field(default_factory=dict)
    keys: SetOfKeys = field(default_factory=list)
    calls: list[Callable[[], None]] = field(default_factory=list)
    is_tidying: bool = False
    size: int = 0

    @property
    def is_noted(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.logs or self.records or self.keys or self.is_tidying)

    def write(self, connection: sqlite3.Connection, rows: Rows) -> None:
        """Commit all of it, or nothing; may be done again if that is not known to have been committed."""
        gone = {user: rows.until(user) for user, log in self.logs.items() if log.was_forgotten}
        for user, offset in self.trims.items():
            gone.setdefault(user, rows.until(user, offset))
        added = {user: rows.latest + n for n, user in enumerate(self._appended(), 1)}
        _commit(connection, list(self._statements(added, [number for numbers in gone.values() for number in numbers])))
        for user, numbers in gone.items():
            rows.drop(user, len(numbers))
        for user, number in added.items():
            rows.add(user, self.logs[user].last, number)

    def _appended(self) -> Iterator[User]:
        return (user for user, log in self.logs.items() if log.payloads)

    def _statements(self, added: dict[User, int], gone: list[int]) -> Iterator[Statement]:
        yield from self._of_records()
        yield from self._of_logs()
        values = [part for user, number in added.items() for part in (number, *_row(user, self.logs[user]))]
        for start in range(0, len(values), 4 * ROWS):
            some = values[start : start + 4 * ROWS]
            yield _EVENTS[len(some) // 4 - 1], some
        if self.keys:
            yield _KEYS, (max(key.sent_at for key, _ in self.keys), _encode(self.keys))
        if gone:
            yield _LET_GO, (msgspec.json.encode(gone).decode(),)
        if self.trims:
            trims = [(name_of(user), offset) for user, offset in self.trims.items()]
            yield _TRIM, (msgspec.json.encode(trims).decode(),)
        if self.is_tidying:
            yield _OLD_KEYS, (int(RECENT_SECONDS * 1000),)

    def _of_records(self) -> Iterator[Statement]:
        for (kind, key), change in self.records.items():
            if change.was_deleted:
                yield "DELETE FROM records WHERE kind = ? AND key = ?", (kind, key)
            if change.record is not None:
                yield _PUT, (kind, key, change.place, _encode(change.record))

    def _of_logs(self) -> Iterator[Statement]:
        for user, log in self.logs.items():
            if log.was_forgotten:
                yield "DELETE FROM logs WHERE user = ?", (name_of(user),)
            if log.header is not None:
                yield _HEADER, (name_of(user), log.header.trimmed, _encode(log.header))


def _commit(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    if len(statements) == 1:
        connection.execute(*statements[0])
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(*statement)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _row(user: User, log: LogChange) -> tuple[str, int, bytes]:
    return name_of(user), log.last, _encode(log.payloads)


def name_of(user: User) -> str:
    """Return what a user is called in the file."""
    return msgspec.json.encode(user).decode()
