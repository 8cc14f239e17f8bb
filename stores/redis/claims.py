"""Claims in Redis: which socket holds the claim of a user, and so follows the user's log."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import anyio

from stores.model import Holder, User
from stores.protocols import StoreUnreachableError, SupersededError
from stores.redis import channel
from stores.redis.client import Argument, Client
from stores.redis.pipeline import Call, Pipeline

CALL_BYTES = 200
RANDOM_BYTES = 8
MOST_SENDERS = 1000
LATE, OLDER = b"late", b"older"
UNKNOWN = ("", "")


class Claims:
    """Runs the scripts that change a claim. `now` is the clock of Redis, in seconds since 1970, as known here."""

    def __init__(self, client: Client, pipeline: Pipeline, lifetime: int, now: Callable[[], float]) -> None:
        self._client = client
        self._pipeline = pipeline
        self._lifetime = lifetime
        self._now = now
        self._unsettled: Counter[User] = Counter()

    async def take(self, user: User, holder: Holder, handed: tuple[Argument, Argument] = UNKNOWN) -> Holder | None:
        """Claim the user, and return who held the claim; see `PeerRecords.claim`.

        `handed` is a socket of this node with the last offset that it was handed.
        """
        if self._unsettled[user]:
            with anyio.move_on_after(self._client.patience):
                await self._pipeline.drained()
        asked_at = int(self._now() * 1000)
        times = asked_at, asked_at + int(self._client.patience * 1000)
        prefix, message = self._client.keys.node(""), channel.superseded(user)
        found: Any = None
        try:
            found = await self._run("claim", user, *holder, self._lifetime, prefix, message, *handed, *times)
        finally:
            if found is None:  # it may have been made all the same
                self.settle_first("release", user, *self._release(holder, ""))
        if found == LATE:
            raise StoreUnreachableError("Redis: the claim reached it too late")
        if found == OLDER:
            raise SupersededError
        node, socket = found
        return Holder(node.decode(), int(socket)) if node else None

    async def release(self, user: User, holder: Holder, handed: Argument) -> bool:
        """Give the claim up; see `PeerRecords.release`. `handed` is the last offset that the socket was handed."""
        return bool(await self._run("release", user, *self._release(holder, handed)))

    async def holder(self, user: User) -> Holder | None:
        """Return who holds the user's claim; None if nobody does."""
        ((node, socket),) = await self._client.ask(("HMGET", self._client.keys.state(user), "node", "socket"))
        return Holder(node.decode(), int(socket)) if node else None

    async def refuse_earlier(self, user: User, claimed_at: int, receivers: Iterable[User]) -> None:
        """Have these receivers get nothing more that the user sent before this claim, wherever that is held up."""
        commands: list[Sequence[Argument]] = []
        for receiver in receivers:
            key = self._client.keys.senders(receiver)
            commands.append(("ZADD", key, "GT", claimed_at, channel.sender(user)))
            commands.append(("ZREMRANGEBYRANK", key, 0, -MOST_SENDERS - 1))
            commands.append(("EXPIRE", key, self._lifetime))
        if commands:
            await self._client.ask(*commands)

    def settle_first(self, script: str, user: User, *arguments: Argument) -> None:
        """Run a script in the pipeline, before the user's next claim over this node."""
        self._unsettled[user] += 1
        keys = self._client.keys.state(user), self._client.keys.log(user)
        command = "EVALSHA", self._client.scripts[script].sha, len(keys), *keys, *arguments
        self._pipeline.put(Call(command, CALL_BYTES, partial(self._settled, user)))

    def _settled(self, user: User, _answer: object) -> None:
        self._unsettled[user] -= 1
        if not self._unsettled[user]:
            del self._unsettled[user]

    def _release(self, holder: Holder, handed: Argument) -> tuple[Argument, ...]:
        return *holder, self._lifetime, handed, secrets.token_hex(RANDOM_BYTES)

    async def _run(self, script: str, user: User, *arguments: Argument) -> Any:  # noqa: ANN401 - as scripts answer
        keys = [self._client.keys.state(user), self._client.keys.log(user)]
        return await self._client.run(script, keys, *arguments)
