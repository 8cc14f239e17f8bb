"""The changer: makes changes of records, and tells of them; those of one turn of the event loop together."""

from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from stores.base import StoreUnreachableError
from stores.redis import scripts
from stores.redis.client import Argument, Client
from stores.redis.replica import OLDER, Replica
from stores.redis.rows import json

AT_ONCE = 1000


class Batch:
    """Changes of one org that are made together, and what became of them, as far as is known."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, tuple[Argument, ...]]] = []
        self.answers: list[list[Any]] = []
        self.trouble = "Redis: a change was given up"
        self.done = anyio.Event()

    def add(self, name: str, arguments: tuple[Argument, ...]) -> int:
        """Add a change; return its place."""
        self.changes.append((name, arguments))
        return len(self.changes) - 1


class Changer:
    """Makes changes, each one after the other in Redis; when a call returns the replica has them, too."""

    def __init__(self, client: Client, replica: Replica, patience: float) -> None:
        self._client = client
        self._replica = replica
        self._patience = patience
        self._due: dict[str | None, Batch] = {}

    async def make(self, name: str, org: str | None, *arguments: Argument) -> list[Any]:
        """Make a change by its name in `scripts.CHANGE`, with whatever else is to be changed in the same turn.

        Returns what it answers; raises `StoreUnreachableError`, and may have been made then all the same.
        """
        batch = self._due.get(org)
        if batch is not None:
            place = batch.add(name, arguments)
            await batch.done.wait()
        else:
            batch = self._due[org] = Batch()
            place = batch.add(name, arguments)
            with anyio.CancelScope(shield=True):  # others wait for it, too
                await self._make_all(org, batch)
        if place >= len(batch.answers):
            raise StoreUnreachableError(batch.trouble)
        return batch.answers[place]

    async def _make_all(self, org: str | None, batch: Batch) -> None:
        await checkpoint()
        del self._due[org]
        try:
            for at in range(0, len(batch.changes), AT_ONCE):
                batch.answers += await self._make_some(org, batch.changes[at : at + AT_ONCE])
        except StoreUnreachableError as error:
            batch.trouble = str(error)
        finally:
            batch.done.set()

    async def _make_some(self, org: str | None, changes: list[tuple[str, tuple[Argument, ...]]]) -> list[list[Any]]:
        heads = json([(name, len(arguments)) for name, arguments in changes])
        arguments = [argument for _, some in changes for argument in some]
        known = self._replica.version(org)
        version, made = await self._client.change(scripts.CHANGE, org, known, heads, *arguments)
        if made is None:
            raise StoreUnreachableError(OLDER)
        await self._replica.reached(org, version, self._patience)
        answers: list[list[Any]] = made
        return answers
