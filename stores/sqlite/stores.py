"""The stores of one process that a restart finds again."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace
from schemas.fields import Role

from stores.base import Peer, Request, Revocation, Session, User
from stores.journal import LogHeader
from stores.log import RECENT_SECONDS, Bounds, MessageKey
from stores.memory import MemoryStores
from stores.sqlite.file import RESTORE, File, Place, StoreFileError
from stores.sqlite.journal import SqliteJournal

SESSION_GRACE = 30.0
RESUME_GRACE = 120.0
_session_of = msgspec.msgpack.Decoder(tuple[str, User, list[tuple[User, Role]]]).decode
_header_of = msgspec.msgpack.Decoder(LogHeader).decode
_payloads_of = msgspec.msgpack.Decoder(list[bytes]).decode
_user_of = msgspec.json.Decoder(User).decode
_peer_of = msgspec.msgpack.Decoder(Peer).decode
_request_of = msgspec.msgpack.Decoder(Request).decode
_revocation_of = msgspec.msgpack.Decoder(Revocation).decode


class SqliteStores(MemoryStores):
    """See `Stores`. Raises `StoreFileError` for a file that cannot be used.

    Whoever was there when the file was last written has lost its connection: its grace begins with the start, since
    nobody could come back before.
    """

    def __init__(
        self,
        place: Place,
        bounds: Bounds | None = None,
        *,
        node: str = "node",
        session_grace: float = SESSION_GRACE,
        resume_grace: float = RESUME_GRACE,
        now: Callable[[], float] = time.time,
    ) -> None:
        file = File(place)
        self._journal = SqliteJournal(file)
        super().__init__(bounds, self._journal, node)
        self._graces = session_grace, resume_grace
        self._now = now
        try:
            self._load(file.db)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            file.close()
            raise StoreFileError(f"{place.path} cannot be read ({error}); {RESTORE}") from None
        except StoreFileError:
            file.close()
            raise

    async def run(self, started: Callable[[], None]) -> None:
        """See `Stores`; the work is done by a thread."""
        self._journal.start()
        started()

    async def ping(self) -> None:
        """See `Stores`."""
        self._journal.check()

    async def close(self) -> None:
        """See `Stores`."""
        self._journal.close()

    def stats(self) -> dict[str, float]:
        """See `Stores`."""
        return {"commits_waiting": self._journal.waiting, "commit_bytes_waiting": self._journal.waiting_bytes}

    def _load(self, db: sqlite3.Connection) -> None:
        self._load_salt(db)
        records = db.execute("SELECT kind, row FROM records ORDER BY rowid").fetchall()
        for kind, row in records:
            self._load_record(kind, row)
        logs = db.execute("SELECT user, header, trimmed FROM logs").fetchall()
        headers = {name: replace(_header_of(header), trimmed=trimmed) for name, header, trimmed in logs}
        self._load_logs(headers, _events(db))
        oldest = int((self._now() - RECENT_SECONDS) * 1000)
        for sent_at, stream, digest in db.execute("SELECT * FROM keys WHERE sent_at > ? ORDER BY sent_at", (oldest,)):
            self.log.restore_key(MessageKey(stream, digest, sent_at))

    def _load_salt(self, db: sqlite3.Connection) -> None:
        db.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (self.salt,))
        (self.salt,) = db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()

    def _load_record(self, kind: str, row: bytes) -> None:
        match kind:
            case "peer":
                peer = self._dropped(_peer_of(row))
                self.directory.put_peer(peer, self.directory.next_place(peer.user.org))
            case "request":
                self.directory.put_request(_request_of(row))
            case "session":
                session_id, host, participants = _session_of(row)
                self.directory.put_session(Session(session_id, host, dict(participants)))
            case _:
                self.revocations.restore(_revocation_of(row))

    def _dropped(self, peer: Peer) -> Peer:
        session_grace, resume_grace = self._graces
        if "resume" in peer.spoken and (peer.lapses_at is None or peer.is_resumable):
            return replace(peer, lapses_at=self._now() + resume_grace, is_resumable=True)
        return replace(peer, lapses_at=self._now() + session_grace, status="offline", is_resumable=False)

    def _load_logs(self, headers: dict[str, LogHeader], events: dict[str, list[tuple[int, list[bytes]]]]) -> None:
        for name in headers.keys() | events.keys():
            rows = events.get(name, [])
            payloads = [payload for _, some in rows for payload in some]
            header = headers.get(name, LogHeader())
            if rows:
                first = rows[-1][0] - len(payloads)
                payloads = payloads[max(0, header.trimmed - first) :]
                header = replace(header, trimmed=max(first, header.trimmed))
            self.log.restore(_user_of(name), header, payloads)


def _events(db: sqlite3.Connection) -> dict[str, list[tuple[int, list[bytes]]]]:
    events: dict[str, list[tuple[int, list[bytes]]]] = {}
    rows: Any = db.execute("SELECT user, last, payloads FROM events ORDER BY user, last")
    for name, last, payloads in rows:
        events.setdefault(name, []).append((last, _payloads_of(payloads)))
    return events
