"""The file: opened by one process, with a schema that has a version."""

import fcntl
import os
import sqlite3
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec import Struct

VERSION = 1
SYNC = {"normal": "NORMAL", "full": "FULL"}
MODE = 0o600
RESTORE = "restore a backup, or move the file away to start without it"
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE records (kind TEXT NOT NULL, key TEXT NOT NULL, row BLOB NOT NULL, UNIQUE (kind, key));
CREATE TABLE logs (user TEXT PRIMARY KEY, header BLOB NOT NULL, trimmed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE events (user TEXT NOT NULL, last INTEGER NOT NULL, payloads BLOB NOT NULL, PRIMARY KEY (user, last))
  WITHOUT ROWID;
CREATE TABLE keys (sent_at INTEGER NOT NULL, stream BLOB NOT NULL, digest BLOB NOT NULL);
"""
MIGRATIONS: dict[int, str] = {0: SCHEMA}
"""By the version that a file has: what makes the next version of it."""


class StoreFileError(Exception):
    """The file cannot be used; the text says what to do, in one line."""


class Place(Struct, frozen=True):
    """Where the file is, and how carefully it is written: `normal` or `full`."""

    path: Path
    sync: str = "normal"


def place_of(url: str) -> Place:
    """Return what a URL such as `sqlite:///data/peersync.db` says; raises `ValueError`."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    sync = options.pop("sync", "normal")
    if parts.netloc or len(parts.path) < len("/x") or parts.path.endswith("/"):
        raise ValueError("it must be sqlite:/// and a path; a fourth / begins an absolute one")
    if options or sync not in SYNC:
        raise ValueError(f"its only option is sync, which must be {' or '.join(SYNC)}")
    return Place(Path(parts.path[1:]), sync)


class File:
    """An open file that no other process has open as its store. `close` lets go of it."""

    def __init__(self, place: Place) -> None:
        self.path = place.path
        self._lock = -1
        try:
            place.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(place.path)
            os.close(os.open(place.path, os.O_CREAT | os.O_RDWR, MODE))
            self.db = _opened(place)
        except OSError as error:
            self._unlock()
            raise StoreFileError(
                f"{place.path} cannot be opened ({error.strerror}); choose another STORE_URL"
            ) from None
        except sqlite3.Error as error:
            self._unlock()
            raise StoreFileError(f"{place.path} cannot be read ({error}); {RESTORE}") from None
        except StoreFileError:
            self._unlock()
            raise

    def close(self) -> None:
        """Close it, and let other processes open it."""
        self.db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def examined(place: Place) -> str:
    """Return what there is to say about a file, which is only read; raises `StoreFileError` if it cannot be used."""
    if not place.path.exists():
        return "is not there yet; the first start makes it"
    try:
        db = sqlite3.connect(f"file:{quote(str(place.path))}?mode=ro", uri=True)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            counts = dict(db.execute("SELECT kind, count(*) FROM records GROUP BY kind").fetchall())
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreFileError(f"{place.path} cannot be read ({error}); {RESTORE}") from None
    if verdict != "ok":
        raise StoreFileError(f"{place.path} is damaged ({verdict}); {RESTORE}")
    if version > VERSION:
        raise StoreFileError(_newer(place.path, version))
    if not os.access(place.path, os.W_OK):
        raise StoreFileError(f"{place.path} cannot be written; chown or chmod it")
    size = place.path.stat().st_size // 1024
    return f"is whole: {size:,} KiB, {counts.get('peer', 0):,} peers, {counts.get('session', 0):,} sessions"


def _newer(path: Path, version: int) -> str:
    return f"{path} was written by a newer version of PeerSync ({version}, this one has {VERSION}); update PeerSync"


def _locked(path: Path) -> int:
    """Lock the file for this process, by another one beside it; the lock ends with the process."""
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreFileError(f"{path} is in use by another process; stop it, or choose another STORE_URL") from None
    return lock


def _opened(place: Place) -> sqlite3.Connection:
    before = os.umask(0o177)  # which SQLite's own files get, too
    try:
        db = sqlite3.connect(place.path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {SYNC[place.sync]}")
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            db.close()
            raise StoreFileError(_newer(place.path, found))
        for version in range(found, VERSION):
            db.executescript(f"BEGIN; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;")
        _ = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        os.umask(before)
    return db
