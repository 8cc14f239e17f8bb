"""The stores of a single process that keeps what it knows in a file: the memory stores, written down."""

import secrets
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stores.log import Bounds
from stores.memory.journal import LogHeader
from stores.memory.stores import SALT_BYTES, MemoryStores
from stores.model import Peer, Request, Revocation, Session, User
from stores.sqlite.batch import SetOfKeys
from stores.sqlite.journal import SqliteJournal
from stores.sqlite.schema import Place, explained, lock, opened

_peer_of = msgspec.msgpack.Decoder(Peer).decode
_request_of = msgspec.msgpack.Decoder(Request).decode
_session_of = msgspec.msgpack.Decoder(Session).decode
_revocation_of = msgspec.msgpack.Decoder(Revocation).decode
_header_of = msgspec.msgpack.Decoder(LogHeader).decode
_payloads_of = msgspec.msgpack.Decoder(list[bytes]).decode
_keys_of = msgspec.msgpack.Decoder(SetOfKeys).decode
_user_of = msgspec.json.Decoder(User).decode


class GracePeriods(Struct, frozen=True):
    """For how many seconds those who were there are waited for: who can resume, and who cannot."""

    resume: float = 120
    session: float = 30


class SqliteStores(MemoryStores):
    """See `Stores`. Raises `UnusableFileError` if the file cannot be used.

    Nobody could come back before the start, so everybody has a whole grace from then on.
    """

    def __init__(
        self,
        place: Place,
        bounds: Bounds | None = None,
        node: str = "node",
        graces: GracePeriods | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._lock = lock(place.path)
        try:
            connection = opened(place)
        except BaseException:
            self._lock.close()
            raise
        self._journal = SqliteJournal(connection, place.path)
        super().__init__(bounds, self._journal, node)
        try:
            with explained(place.path):
                self._load(connection, graces or GracePeriods(), now())
        except BaseException:
            self._journal.end()
            self._lock.close()
            raise

    async def ping(self) -> None:
        self._journal.ping()

    async def close(self) -> None:
        await self._journal.close()
        self._lock.close()

    def stats(self) -> dict[str, float]:
        return {"commits_total": self._journal.commits, "waiting_bytes": self._journal.waiting}

    def _load(self, connection: sqlite3.Connection, graces: GracePeriods, now: float) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (secrets.token_bytes(SALT_BYTES),))
        self.salt = connection.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()[0]
        put: dict[str, Callable[[bytes, int], object]] = {
            "peer": lambda value, place: self.directory.put_peer(_dropped(_peer_of(value), graces, now), place),
            "request": lambda value, _: self.directory.put_request(_request_of(value)),
            "session": lambda value, _: self.directory.put_session(_session_of(value)),
            "revocation": lambda value, _: self.revocations.restore(_revocation_of(value)),
        }
        for kind, place, value in connection.execute("SELECT kind, place, value FROM records ORDER BY place, id"):
            put[kind](value, place)
        self._load_logs(connection)
        for (value,) in connection.execute("SELECT keys FROM keys ORDER BY id"):
            for key, users in _keys_of(value):
                self.log.restore_key(key, users)
        connection.execute("COMMIT")

    def _load_logs(self, connection: sqlite3.Connection) -> None:
        """Read the logs of those who may come back; the others go."""
        headers = {name: row for name, *row in connection.execute("SELECT user, trimmed, header FROM logs")}
        kept: defaultdict[str, list[bytes]] = defaultdict(list)
        for number, name, last, value in connection.execute("SELECT id, user, last, payloads FROM events ORDER BY id"):
            self._journal.rows.add(_user_of(name), last, number)
            trimmed = headers.get(name, (0, None))[0]
            payloads = _payloads_of(value)
            kept[name] += payloads[max(0, trimmed - (last - len(payloads))) :]
            if last > trimmed and trimmed + len(kept[name]) != last:
                raise sqlite3.DatabaseError(f"the log of {name} has a gap before {last}")
        for name in {*headers, *kept}:
            user = _user_of(name)
            if self.directory.peer(user) is None:
                numbers = self._journal.rows.until(user)
                self._journal.rows.drop(user, len(numbers))
                connection.execute("DELETE FROM logs WHERE user = ?", (name,))
                connection.executemany("DELETE FROM events WHERE id = ?", [(number,) for number in numbers])
                continue
            trimmed, header = headers.get(name, (0, None))
            known = LogHeader() if header is None else _header_of(header)
            self.log.restore(user, replace(known, trimmed=trimmed), kept[name])


def _dropped(peer: Peer, graces: GracePeriods, now: float) -> Peer:
    """Return a peer as one that lost its connection just now."""
    if "resume" in peer.spoken and (peer.lapses_at is None or peer.is_resumable):
        return replace(peer, lapses_at=now + graces.resume, is_resumable=True)
    return replace(peer, status="offline", lapses_at=now + graces.session)
