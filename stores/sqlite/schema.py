"""The file: where it is, who may open it, what it has to be like, and its tables."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

SCHEME = "sqlite"
FORMS = "sqlite:///relative/path or sqlite:////absolute/path, and ?sync=full after it if wanted"
APPLICATION = 0x50535944
MIGRATIONS = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE records (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, value BLOB NOT NULL,
        UNIQUE (kind, key)
    );
    CREATE TABLE logs (user TEXT PRIMARY KEY, trimmed INTEGER NOT NULL, header BLOB) WITHOUT ROWID;
    CREATE TABLE events (id INTEGER PRIMARY KEY, user TEXT NOT NULL, last INTEGER NOT NULL, payloads BLOB NOT NULL);
    CREATE TABLE keys (id INTEGER PRIMARY KEY, keys BLOB NOT NULL);
    """,
)
WAL_BYTES = 67_108_864
CHECKPOINT_PAGES = 4000
STATEMENTS = 256


class UnusableFileError(Exception):
    """The file cannot be used; the text is one line that says what to do."""


class Place(Struct, frozen=True):
    """What a URL says: the file, and whether each commit is on the disk before it counts."""

    path: Path
    is_full: bool = False


def parsed(url: str) -> Place:
    """Return what a URL says; raises `ValueError`."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != SCHEME or parts.netloc or not path or path.endswith("/") or "\0" in path or parts.fragment:
        raise ValueError(f"a file is named as in {FORMS}")
    if parts.query not in {"", "sync=full", "sync=normal"}:
        raise ValueError("after ? comes sync=full or sync=normal")
    return Place(Path(path), parts.query == "sync=full")


def lock(path: Path) -> BinaryIO:
    """Make the folder, and see to it that one process uses the file; raises `UnusableFileError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = path.resolve()
        held_path = real.with_name(real.name + ".lock")
        held_path.touch(0o600)
        held = held_path.open("ab")
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None
    try:
        _lock(held)
    except OSError:
        held.close()
        raise UnusableFileError(
            f"{path} is used by another process; stop that one, or give this one a file of its own (STORE_URL)"
        ) from None
    return held


def _lock(held: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - only there

        msvcrt.locking(held.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.flock(held.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def opened(place: Place) -> sqlite3.Connection:
    """Open the file, or make it, with the tables of today; raises `UnusableFileError`."""
    path = place.path
    with explained(path):
        path.touch(0o600)
        path.chmod(path.stat().st_mode & 0o700)
        connection = sqlite3.connect(
            path, timeout=1, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
        )
        try:
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if place.is_full else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            _migrate(connection, path)
            _check(connection)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise `UnusableFileError` for what goes wrong with the file."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None
    except sqlite3.OperationalError as error:
        raise _unwritable(path, str(error)) from None
    except (sqlite3.DatabaseError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise damaged(path, error) from None


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables, 0 for an empty file; raises `UnusableFileError` for one that is not ours."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if owner != APPLICATION and not (is_empty and owner == 0):
        raise UnusableFileError(f"{path} is a database of something else; give STORE_URL another file")
    if found > len(MIGRATIONS):
        raise UnusableFileError(
            f"{path} was written by a newer server (version {found} of the file, this one knows {len(MIGRATIONS)});"
            " start that one, or give STORE_URL another file"
        )
    return found


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    before = version(connection, path)
    if before < len(MIGRATIONS):
        steps = "".join(MIGRATIONS[before:])
        stamps = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {len(MIGRATIONS)};"
        connection.executescript(f"BEGIN IMMEDIATE; {steps} {stamps} COMMIT;")


def _check(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(str(found).splitlines()[-1])
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("REPLACE INTO meta VALUES ('started', datetime('now'))")
    connection.execute("COMMIT")


def damaged(path: Path, error: Exception) -> UnusableFileError:
    """Return what there is to say of a file that cannot be read."""
    return UnusableFileError(
        f"{path} is damaged ({error}); restore a backup, or move it and {path.name}-wal away to start empty"
    )


def _unwritable(path: Path, reason: str) -> UnusableFileError:
    return UnusableFileError(
        f"{path} cannot be written to ({reason}); see to its folder and disk, or set STORE_URL to another file"
    )


def read_only(path: Path) -> "closing[sqlite3.Connection]":
    """Open the file to look into it, also while a server uses it."""
    with suppress(OSError):
        path = path.resolve()
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1, isolation_level=None))
