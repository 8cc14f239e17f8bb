"""The journal that writes to a file. Noting costs next to nothing; a thread does the rest."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from stores.log import MessageKey
from stores.memory.journal import Journal, Kind, LogHeader, Record
from stores.model import User
from stores.protocols import StoreUnreachableError
from stores.sqlite.batch import Batch, Change, LogChange
from stores.sqlite.writer import Writer

MOST_WAITING = 16_777_216
NOTE_BYTES = 256
COMMIT_SECONDS = 2.0
TRIM_SECONDS = 1.0


class SqliteJournal(Journal):
    """See `Journal`. What is noted while the writer is busy goes into its next commit."""

    is_instant = False

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.commits = 0
        self.waiting = 0
        self._path = path
        self._writer = Writer(connection, self._committed, self._failed)
        self.rows = self._writer.rows
        self._gathered = Batch()
        self._written: Batch | None = None
        self._written_since = 0.0
        self._trims: dict[User, int] = {}
        self._is_to_tidy = False
        self._fault = ""
        self._is_calling = False
        self._is_scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        if self._fault:
            raise StoreUnreachableError(self._fault)
        if self.waiting > MOST_WAITING:
            raise StoreUnreachableError(f"too much waits to be written to {self._path}")

    def ping(self) -> None:
        """Raise `StoreUnreachableError` if nothing can be written, or it takes too long."""
        self.check()
        if self._written is not None and time.monotonic() - self._written_since > COMMIT_SECONDS:
            raise StoreUnreachableError(f"{self._path} takes more than {COMMIT_SECONDS:g} s to be written to")

    def put(self, kind: Kind, key: str, record: Record, place: int = 0) -> None:
        records = self._gathered.records
        before = records.get((kind, key))
        records[kind, key] = Change(record, place, was_deleted=before is not None and before.was_deleted)
        self._note(NOTE_BYTES)

    def delete(self, kind: Kind, key: str) -> None:
        self._gathered.records.pop((kind, key), None)
        self._gathered.records[kind, key] = Change(None, was_deleted=True)
        self._note(NOTE_BYTES)

    def open(self, user: User, header: LogHeader) -> None:
        self._change(user).header = header
        self._note(NOTE_BYTES)

    def append(self, user: User, offset: int, payload: bytes) -> None:
        change = self._change(user)
        change.last = offset
        change.payloads.append(payload)
        self._note(NOTE_BYTES + len(payload))

    def trim(self, user: User, offset: int) -> None:
        """See `Journal`. Written about once a second."""
        self._trims[user] = offset
        self._tidy_later()

    def forget(self, user: User) -> None:
        self._trims.pop(user, None)
        self._gathered.trims.pop(user, None)
        self._gathered.logs[user] = LogChange(was_forgotten=True)
        self._note(NOTE_BYTES)

    def remember(self, key: MessageKey, users: list[User]) -> None:
        self._gathered.keys.append((key, users))
        self._tidy_later()
        self._note(NOTE_BYTES)

    def then(self, call: Callable[[], None]) -> None:
        if self._is_idle:
            call()
        else:
            self._gathered.calls.append(call)
            self._schedule()

    async def committed(self) -> None:
        done = anyio.Event()
        self.then(done.set)
        with anyio.move_on_after(COMMIT_SECONDS):
            await done.wait()
        if not done.is_set():
            raise StoreUnreachableError(self._fault or f"{self._path} takes long to be written to")

    async def close(self) -> None:
        """Write what waits, for a little while, and close the file."""
        with anyio.move_on_after(COMMIT_SECONDS, shield=True):
            if self._is_to_tidy:
                self._tidy()
            with suppress(StoreUnreachableError):
                await self.committed()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self.end)

    def end(self) -> None:
        """Close the file."""
        self._writer.end()

    @property
    def _is_idle(self) -> bool:
        gathered = self._gathered
        return not (self._written or self._is_calling or gathered.calls or gathered.is_noted)

    def _change(self, user: User) -> LogChange:
        change = self._gathered.logs.get(user)
        if change is None:
            change = self._gathered.logs[user] = LogChange()
        return change

    def _note(self, size: int) -> None:
        self._gathered.size += size
        self.waiting += size
        self._schedule()

    def _schedule(self) -> None:
        if self._written is None and not self._is_scheduled:
            self._is_scheduled = True
            self._running_loop().call_soon(self._write)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _write(self) -> None:
        """Give the writer what was gathered, unless it is busy."""
        self._is_scheduled = False
        if self._written is not None:
            return
        batch, self._gathered = self._gathered, Batch()
        if batch.is_noted:
            self._written, self._written_since = batch, time.monotonic()
            self._writer.write(batch)
        else:
            self._call(batch)

    def _tidy_later(self) -> None:
        if not self._is_to_tidy:
            self._is_to_tidy = True
            self._running_loop().call_later(TRIM_SECONDS, self._tidy)

    def _tidy(self) -> None:
        """Have the next commit let go of trimmed events and old message keys."""
        self._is_to_tidy = False
        self._gathered.is_tidying = True
        self._gathered.trims.update(self._trims)
        self._trims.clear()
        self._note(NOTE_BYTES)

    def _committed(self, batch: Batch) -> None:
        self._tell(partial(self._finish, batch))

    def _failed(self, reason: str) -> None:
        self._tell(partial(self._fail, f"{self._path} cannot be written to ({reason})"))

    def _tell(self, call: Callable[[], None]) -> None:
        """Have the loop do something; this runs in the writer's thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._running_loop().call_soon_threadsafe(call)

    def _fail(self, reason: str) -> None:
        self._fault = reason

    def _finish(self, batch: Batch) -> None:
        self._fault = ""
        self._written = None
        self.waiting -= batch.size
        self.commits += 1
        if self._gathered.is_noted:
            self._write()
        self._call(batch)

    def _call(self, batch: Batch) -> None:
        self._is_calling = True
        for call in batch.calls:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - it is that call's alone
                context = {"message": "a call after a commit failed", "exception": error}
                self._running_loop().call_exception_handler(context)
        self._is_calling = False
        if self._gathered.calls or self._gathered.is_noted:
            self._schedule()
