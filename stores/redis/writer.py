"""The writer: makes changes of records; those of one turn of the event loop to the same shard together."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct

from stores.protocols import StoreUnreachableError
from stores.redis.client import Client
from stores.redis.follower import Follower, Made
from stores.redis.keyspace import shard_of
from stores.redis.snapshot import TAKE

AT_ONCE = 1000
STREAM_LENGTH = 10_000
ANY, NONE = b"*", b""
KINDS = ("peers", "requests", "sessions", "places")


class Change(Struct, frozen=True):
    """A change of one record, if its row is `before`: `ANY` for whatever it is, `NONE` for no record.

    A record that is taken has to reach exactly one caller: if this one gives up, the next who takes gets it.
    """

    kind: str
    field: str | bytes
    before: bytes
    after: bytes
    is_take: bool = False


class Batch:
    """Changes of one shard that are made together, by their serials, and which of them were made."""

    def __init__(self) -> None:
        self.changes: dict[str, Change] = {}
        self.answers: dict[str, bool] = {}
        self.trouble = "Redis: a change was given up"
        self.done = anyio.Event()


class Writer:
    """Makes changes. When a call returns the directory shows the record as it is by then."""

    def __init__(self, client: Client, follower: Follower) -> None:
        self._client = client
        self._follower = follower
        self._serials = count(1)
        self._due: dict[int, Batch] = {}

    async def make(self, org: str | None, change: Change) -> Made:
        """Make a change with whatever else is to be changed in the same turn; return whether it was, and of what.

        If the answer is lost it goes by what the change stream tells. Raises `StoreUnreachableError` if that tells
        nothing; the change may be made then all the same.
        """
        serial = f"{TAKE if change.is_take else ''}{next(self._serials)}"
        with self._noting(serial) as made:
            batch = await self._add(shard_of(org), serial, change)
            if not made.is_made and serial not in batch.answers:
                raise StoreUnreachableError(batch.trouble)
            made.is_made |= batch.answers.get(serial, False)
            return made

    @contextmanager
    def _noting(self, serial: str) -> Iterator[Made]:
        noted = self._follower.made[serial] = Made()
        try:
            yield noted
        finally:
            del self._follower.made[serial]

    async def _add(self, shard: int, serial: str, change: Change) -> Batch:
        batch = self._due.get(shard)
        if batch is not None:
            batch.changes[serial] = change
            await batch.done.wait()
        else:
            batch = self._due[shard] = Batch()
            batch.changes[serial] = change
            with anyio.CancelScope(shield=True):  # others wait for it, too
                await self._make_all(shard, batch)
        return batch

    async def _make_all(self, shard: int, batch: Batch) -> None:
        await checkpoint()
        del self._due[shard]
        serials = list(batch.changes)
        try:
            for at in range(0, len(serials), AT_ONCE):
                await self._make_some(shard, batch, serials[at : at + AT_ONCE])
        except StoreUnreachableError as error:
            batch.trouble = str(error)
            await self._hear(shard)
        finally:
            batch.done.set()

    async def _hear(self, shard: int) -> None:
        """Have the directory pass all that was changed by now, if that can be known soon."""
        with suppress(StoreUnreachableError), anyio.move_on_after(self._client.patience / 2):
            await self._follower.catch_up(shard)

    async def _make_some(self, shard: int, batch: Batch, serials: list[str]) -> None:
        keys = self._client.keys
        hashes = (keys.shard(shard, kind) for kind in KINDS)
        arguments: list[Any] = [self._client.node, STREAM_LENGTH]
        for serial in serials:
            change = batch.changes[serial]
            arguments += serial, change.kind, change.field, change.before, change.after
        last, *answers = await self._client.run("change", [keys.changes(shard), *hashes], *arguments)
        await self._follower.passed(shard, last.decode())
        batch.answers |= dict(zip(serials, map(bool, answers), strict=True))
