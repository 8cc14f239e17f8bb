"""The logs of one node, by lot, in memory and in a file, through kills and a disk that is slow or full.

Nothing that was acknowledged is lost to a client that speaks `resume` and was not told to start over, nothing comes
twice, and what one sender sent comes in its order.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from stores.log import Bounds
from stores.memory.stores import MemoryStores
from stores.protocols import Stores
from stores.sqlite.batch import Batch
from stores.sqlite.rows import Rows
from stores.sqlite.schema import Place
from stores.sqlite.stores import SqliteStores
from tests.model.single_node import NOW, Engine, Life

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "100"))
FIRST = int(os.environ.get("MODEL_FIRST", "0"))
CHUNK = 50
STEPS = 120
WIDE, TIGHT = Bounds(), Bounds(events=8)


class Disk:
    """Stands for `stores.sqlite.writer.Writer`: writes when it is told to, and tells of it later."""

    latest: "Disk"

    def __init__(
        self, connection: sqlite3.Connection, committed: Callable[[Batch], None], failed: Callable[[str], None]
    ) -> None:
        self.rows = Rows()
        self._connection = connection
        self._committed = committed
        self._failed = failed
        self._waiting: Batch | None = None
        self._untold: Batch | None = None
        Disk.latest = self

    def write(self, batch: Batch) -> None:
        self._waiting = batch

    def end(self) -> None:
        """What was not committed by now never is."""
        self._waiting = self._untold = None
        self._connection.close()

    def commit(self) -> None:
        if self._waiting is not None:
            self._waiting.write(self._connection, self.rows)
            self._untold, self._waiting = self._waiting, None

    def tell(self) -> None:
        if self._untold is not None:
            batch, self._untold = self._untold, None
            self._committed(batch)

    def fail(self) -> None:
        """Say that it failed, though it may have been committed."""
        if self._waiting is not None:
            self._failed("the disk is full")


class Memory(Engine):
    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    async def open(self) -> Stores:
        return MemoryStores(self._bounds)


class File(Engine):
    may_lose = False

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self._path = path
        self._bounds = bounds

    async def open(self) -> Stores:
        stores = SqliteStores(Place(self._path), bounds=self._bounds, now=lambda: NOW / 1000)
        self._disk = Disk.latest
        return stores

    def kill(self, stores: Stores) -> None:
        assert isinstance(stores, SqliteStores)
        self._disk.end()
        stores._lock.close()

    def work(self, dice: random.Random) -> None:
        number = dice.random()
        if number < 0.45:
            self._disk.commit()
        elif number < 0.95:
            self._disk.tell()
        else:
            self._disk.fail()

    def settle(self) -> None:
        self._disk.commit()
        self._disk.tell()


@pytest.mark.parametrize("chunk", range(FIRST, FIRST + EXAMPLES, CHUNK))
@pytest.mark.parametrize("engine", ["memory", "file"])
async def test_lives(engine: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.sqlite.journal.Writer", Disk)
    failed: dict[int, str] = {}
    errors: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    for seed in range(chunk, min(chunk + CHUNK, FIRST + EXAMPLES)):
        monkeypatch.setattr("stores.sqlite.journal.TRIM_SECONDS", seed % 2)
        is_tight = seed % 4 == 3
        bounds = TIGHT if is_tight else WIDE
        made = Memory(bounds) if engine == "memory" else File(tmp_path / f"{seed}.db", bounds)
        try:
            await Life(seed, made, is_tight=is_tight).run(STEPS)
        except BaseExceptionGroup as group:
            errors.append(group)
        if errors:
            failed[seed] = "; ".join(reason for error in errors for reason in _reasons(error))
            errors.clear()
    assert not failed, "\n".join(f"{seed}: {why}" for seed, why in failed.items())


def _reasons(error: BaseException) -> list[str]:
    """Return what the errors in a group say."""
    if isinstance(error, BaseExceptionGroup):
        return [reason for each in error.exceptions for reason in _reasons(each)]
    return [f"{type(error).__name__}: {error}"]
