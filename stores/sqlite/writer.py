"""The writer: the one thread that writes to the file."""

import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from stores.sqlite.batch import Batch
from stores.sqlite.rows import Rows

AGAIN_SECONDS = 0.5


class Writer:
    """Commits batches, one after the other; one that fails is tried again until it is committed, or the writer ends.

    `committed` and `failed` are called in the thread; `failed` with the reason.
    """

    def __init__(
        self, connection: sqlite3.Connection, committed: Callable[[Batch], None], failed: Callable[[str], None]
    ) -> None:
        self.rows = Rows()
        self._connection = connection
        self._committed = committed
        self._failed = failed
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._is_ending = Event()
        self._thread = Thread(target=self._run, name="sqlite", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Have a batch committed."""
        self._batches.put(batch)

    def end(self) -> None:
        """Commit what is there, once, and close the file."""
        self._is_ending.set()
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            while not self._write(batch):
                if self._is_ending.wait(AGAIN_SECONDS):
                    break
        self._connection.close()

    def _write(self, batch: Batch) -> bool:
        try:
            batch.write(self._connection, self.rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of the batch may be lost
            self._failed(str(error) or type(error).__name__)
            return False
        self._committed(batch)
        return True
