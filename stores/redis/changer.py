"""The changer: makes changes of records, and tells of them; those of one turn of the event loop together."""

from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from stores.base import StoreUnreachableError
from stores.redis import scripts
from stores.redis.client import Argument, Client
from stores.redis.replica import Replica
from stores.redis.rows import json


class Batch:
    """Changes of one org that are made together, and what became of them."""

    def __init__(self) -> None:
        self.heads: list[tuple[str, int]] = []
        self.arguments: list[Argument] = []
        self.answers: list[list[Any]] = []
        self.trouble = "Redis: a change was given up"
        self.done = anyio.Event()

    def add(self, name: str, arguments: tuple[Argument, ...]) -> int:
        """Add a change; return its place."""
        self.heads.append((name, len(arguments)))
        self.arguments += arguments
        return len(self.heads) - 1


class Changer:
    """Makes changes, each one after the other in Redis; when a call returns the replica has them, too."""

    def __init__(self, client: Client, replica: Replica, patience: float) -> None:
        self._client = client
        self._replica = replica
        self._patience = patience
        self._due: dict[str | None, Batch] = {}

    async def make(self, name: str, org: str | None, *arguments: Argument) -> list[Any]:
        """Make a change by its name in `scripts.CHANGE`, with whatever else is to be changed in the same turn.

        Returns what it answers; raises `StoreUnreachableError`.
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
        if not batch.answers:
            raise StoreUnreachableError(batch.trouble)
        return batch.answers[place]

    async def _make_all(self, org: str | None, batch: Batch) -> None:
        await checkpoint()
        del self._due[org]
        try:
            version, *answers = await self._client.change(scripts.CHANGE, org, json(batch.heads), *batch.arguments)
            await self._replica.reached(org, version, self._patience)
            batch.answers = answers
        except StoreUnreachableError as error:
            batch.trouble = str(error)
        finally:
            batch.done.set()
