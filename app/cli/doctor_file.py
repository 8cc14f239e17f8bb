"""What the doctor finds in the file of the stores, even while a server uses it. It changes nothing."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from app.cli.finding import Finding, wrong
from stores.sqlite.schema import MIGRATIONS, UnusableFileError, damaged, parsed, read_only, version

SPARE_BYTES = 268_435_456
MIB = 1_048_576


def examine_file(url: str) -> Iterator[Finding]:
    """Yield what each check finds."""
    path = parsed(url).path.absolute()
    place = path if path.exists() else _nearest(path.parent)
    if not os.access(place, os.W_OK) or path.is_dir():
        yield wrong("store", f"{place} is not writable; change its owner or mode, or set STORE_URL to another file")
    elif place == path:
        yield Finding("store", f"{path} exists and is writable; only one process can use it at a time")
    else:
        yield Finding("store", f"{path} does not exist yet; the first start makes it")
    if path.is_file():
        try:
            yield from _examine_inside(path)
        except sqlite3.Error as error:
            yield wrong("store", str(damaged(path, error)))
        except UnusableFileError as error:
            yield wrong("store", str(error))
    yield _room(place)


def _examine_inside(path: Path) -> Iterator[Finding]:
    with read_only(path) as connection:
        found = version(connection, path)
        later = "" if found == len(MIGRATIONS) else f"; the next start upgrades it to {len(MIGRATIONS)}"
        yield Finding("store", f"the file has version {found}{later}")
        sizes = [each.stat().st_size / MIB for each in (path, Path(f"{path}-wal")) if each.exists()]
        yield Finding("store", f"its size is {' MiB, and its -wal file has '.join(f'{s:.1f}' for s in sizes)} MiB")
        said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if said != "ok":
            raise sqlite3.DatabaseError(said.splitlines()[-1])
        yield Finding("store", "quick_check found no damage")
        if found:
            counts = dict(connection.execute("SELECT kind, count(*) FROM records GROUP BY kind"))
            logs = connection.execute("SELECT count(*) FROM (SELECT user FROM logs UNION SELECT user FROM events)")
            told = f"{counts.get('peer', 0)} peers, {counts.get('session', 0)} sessions"
            yield Finding("store", f"{told}, {logs.fetchone()[0]} logs of users")


def _room(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / MIB:.0f} MiB are free on the disk"
    if free < SPARE_BYTES:
        return wrong("store", f"{text}; free at least {SPARE_BYTES // MIB} MiB")
    return Finding("store", text)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())
