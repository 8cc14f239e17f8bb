"""The journal of one process in a SQLite file."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import anyio

from stores.base import StoreUnreachableError, User
from stores.journal import Kind, LogHeader, Record
from stores.log import RECENT_SECONDS, MessageKey
from stores.sqlite.changes import Changes
from stores.sqlite.file import File
from stores.sqlite.writer import Writer

PATIENCE_SECONDS = 2.0
TRIM_SECONDS = 1.0
WAITING_BYTES = 33_554_432
SLOW = "SQLite: the disk does not keep up"


class SqliteJournal:
    """See `Journal`. `why_stuck` says why nothing can be written; empty if it can."""

    is_instant = False

    def __init__(self, file: File) -> None:
        self.why_stuck = ""
        self._file = file
        self._loop: asyncio.AbstractEventLoop
        self._writer: Writer | None = None
        self._changes = Changes()
        self._trims: dict[User, int] = {}
        self._number = 1
        self._written = 0
        self.waiting_bytes = 0
        self._sizes: deque[tuple[int, int]] = deque()
        self._calls: deque[tuple[int, Callable[[], None]]] = deque()
        self._is_due = False

    @property
    def waiting(self) -> int:
        """How many changes of as many turns are not committed."""
        return self._number - 1 - self._written

    def start(self) -> None:
        """Begin to write, told by the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(
            self._file.db, self._loop.call_soon_threadsafe, self._committed, self._failed, _keys_since
        )
        self._writer.start()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._flush_trims()
        self._flush()
        if self._writer is not None:
            self._writer.close(PATIENCE_SECONDS)
        self._file.close()

    def check(self) -> None:
        """See `Journal`."""
        if self.why_stuck:
            raise StoreUnreachableError(self.why_stuck)
        if self.waiting_bytes > WAITING_BYTES:
            raise StoreUnreachableError(SLOW)

    def put(self, kind: Kind, key: str, record: Record) -> None:
        """See `Journal`."""
        self._noted().records[kind, key] = record

    def delete(self, kind: Kind, key: str) -> None:
        """See `Journal`."""
        self._noted().records[kind, key] = None

    def open(self, user: User, header: LogHeader) -> None:
        """See `Journal`."""
        self._noted().log(user).header = header

    def append(self, user: User, offset: int, payload: bytes) -> None:
        """See `Journal`."""
        changes = self._noted()
        log = changes.log(user)
        log.last = offset
        log.payloads.append(payload)
        changes.size += len(payload)

    def trim(self, user: User, offset: int) -> None:
        """See `Journal`. Of several trims of a user within `TRIM_SECONDS` only the last is written."""
        if not self._trims:
            self._loop.call_later(TRIM_SECONDS, self._flush_trims)
        self._trims[user] = offset

    def forget(self, user: User) -> None:
        """See `Journal`."""
        self._trims.pop(user, None)
        changes = self._noted()
        changes.logs.pop(user, None)
        changes.trims.pop(user, None)
        changes.log(user).is_new = True

    def remember(self, key: MessageKey) -> None:
        """See `Journal`."""
        self._noted().keys.append(key)

    def then(self, call: Callable[[], None]) -> None:
        """See `Journal`."""
        if self._changes:
            self._calls.append((self._number, call))
        elif self._written < self._number - 1:
            self._calls.append((self._number - 1, call))
        else:
            call()

    async def committed(self) -> None:
        """See `Journal`."""
        done = anyio.Event()
        self.then(done.set)
        with anyio.move_on_after(PATIENCE_SECONDS):
            await done.wait()
            return
        raise StoreUnreachableError(self.why_stuck or SLOW)

    def _noted(self) -> Changes:
        """Return what this turn of the event loop changes, to be written at its end."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)
        return self._changes

    def _flush(self) -> None:
        self._is_due = False
        if not self._changes or self._writer is None:
            return
        changes, self._changes = self._changes, Changes()
        self._sizes.append((self._number, changes.size))
        self.waiting_bytes += changes.size
        self._writer.put(self._number, changes)
        self._number += 1

    def _flush_trims(self) -> None:
        trims, self._trims = self._trims, {}
        if trims:
            self._noted().trims |= trims

    def _committed(self, number: int) -> None:
        self.why_stuck = ""
        self._written = number
        while self._sizes and self._sizes[0][0] <= number:
            self.waiting_bytes -= self._sizes.popleft()[1]
        while self._calls and self._calls[0][0] <= number:
            self._calls.popleft()[1]()

    def _failed(self, why: str) -> None:
        self.why_stuck = f"SQLite: {why}"


def _keys_since() -> int:
    return int((time.time() - RECENT_SECONDS) * 1000)
