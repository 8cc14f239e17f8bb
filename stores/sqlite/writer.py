"""The writer: one thread, which writes what the event loop noted."""

import sqlite3
import threading
import time
from collections.abc import Callable

from stores.sqlite.changes import Changes

RETRY_SECONDS = 0.5
PRUNE_SECONDS = 60.0


class Writer:
    """Writes changes in order, each time all that waits in one transaction.

    `written` is called in the event loop, by way of `call`, with the number of the last changes that are committed;
    `failed` with why they are not, after which they are tried again until they are.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        call: Callable[..., object],
        written: Callable[[int], None],
        failed: Callable[[str], None],
        keys_since: Callable[[], int],
    ) -> None:
        self._db = db
        self._call = call
        self._written = written
        self._failed = failed
        self._keys_since = keys_since
        self._due = threading.Condition()
        self._waiting: list[tuple[int, Changes]] = []
        self._is_closing = False
        self._prune_at = 0.0
        self._thread = threading.Thread(target=self._run, name="sqlite", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, number: int, changes: Changes) -> None:
        """Have changes written."""
        with self._due:
            self._waiting.append((number, changes))
            self._due.notify()

    def close(self, patience: float) -> None:
        """Write what waits, and end; give up after so many seconds."""
        with self._due:
            self._is_closing = True
            self._due.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._due:
                while not self._waiting and not self._is_closing:
                    self._due.wait()
                waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            number, changes = waiting[0]
            for number, later in waiting[1:]:  # noqa: B007 - the last number counts
                changes.add(later)
            if not self._write(changes):
                return
            self._tell(self._written, number)

    def _write(self, changes: Changes) -> bool:
        """Write until it succeeds; False if it cannot be done while the store is closed."""
        while True:
            try:
                changes.write(self._db)
                self._prune()
            except sqlite3.Error as error:
                self._tell(self._failed, str(error))
                if self._is_closing:
                    return False
                time.sleep(RETRY_SECONDS)
            else:
                return True

    def _prune(self) -> None:
        """Forget old message keys, now and then."""
        now = time.monotonic()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            self._db.execute("DELETE FROM keys WHERE sent_at < ?", (self._keys_since(),))

    def _tell(self, call: Callable[..., None], what: object) -> None:
        try:
            self._call(call, what)
        except RuntimeError:  # the event loop is closed already
            return
