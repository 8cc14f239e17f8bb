"""The logs of all users: every node appends to them, and the node of a user's socket follows that user's log."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import anyio

from stores.log import Bounds, Done, Event, MessageKey, Reader
from stores.model import Holder, User
from stores.protocols import Listener, StoreUnreachableError
from stores.redis import channel
from stores.redis.batch import TOO_LATE, Batch, Batches, read_answer
from stores.redis.channel import Channel
from stores.redis.claims import UNKNOWN, Claims
from stores.redis.client import Argument, Client
from stores.redis.cursor import Cursor
from stores.redis.follower import Follower
from stores.redis.keyspace import SHARDS, shard_of
from stores.redis.log_reader import Found, LogReader
from stores.redis.pipeline import Call, Pipeline
from stores.redis.recent_appends import RecentAppends
from stores.redis.snapshot import START, order

TOKEN_BYTES = 16
EPOCH_BYTES = 8
ALL_KEPT = -1
CLOSED_AT_ONCE = 100
CLOSE_PAUSE_SECONDS = 0.05
WAITING_BYTES = 8_388_608
TRIM_SECONDS = 0.05
REFRESH_SECONDS = 600.0
RETRY_SECONDS = 0.2
LATEST_SECONDS = 1.0
TRIM_BYTES = 200
FULL = "Redis: too much waits for it"
NOT_SUBSCRIBED = "Redis: this node does not hear from others"
NOBODY = Holder("", 0)
SCRIPTS = ("append", "trim", "confirm", "forget", "release", "break")


class RedisLog:
    """See `Log`, and `PeerRecords` for claims. What is not refreshed for `lifetime` seconds is let go of by Redis.

    `now` is the clock of Redis, in seconds since 1970, as far as it is known here.
    """

    def __init__(
        self, client: Client, follower: Follower, bounds: Bounds, lifetime: float, now: Callable[[], float]
    ) -> None:
        self.listener = Listener()
        self._client = client
        self._keys = client.keys
        self._follower = follower
        self._lifetime = int(lifetime)
        self._reader = LogReader(client, follower)
        self._recent = RecentAppends(client, lifetime)
        self.pipeline = Pipeline(client, *SCRIPTS, connected=self._recent.verify)
        self.claims = Claims(client, self.pipeline, self._lifetime, now)
        self._channel = Channel(client, self._take, self._connected)
        self._batches = Batches(client, follower, bounds)
        self._cursors: dict[User, Cursor] = {}
        self._epochs: dict[User, str] = {}
        self._handed: dict[User, tuple[int, int]] = {}
        self._tokens: dict[User, str] = {}
        self._trims: dict[User, tuple[str, int]] = {}
        self._heard = [START] * SHARDS
        self._behind: list[Cursor] = []
        self._lost: list[Cursor] = []
        self._woken = anyio.Event()

    @property
    def why_stuck(self) -> str:
        """Why appends wait; empty if they do not."""
        return self.pipeline.why_stuck or ("" if self._channel.is_up else NOT_SUBSCRIBED)

    def append(self, events: Sequence[Event], key: MessageKey | None = None, done: Done | None = None) -> None:
        """See `Log`. What is appended in one turn of the event loop goes to Redis at its end."""
        is_message = all(event.kept == "if_room" for event in events)
        if self.pipeline.size > (WAITING_BYTES if is_message else 2 * WAITING_BYTES):
            raise StoreUnreachableError(FULL)
        if self._batches.is_empty:
            asyncio.get_running_loop().call_soon(self._flush)
        for event in events:
            cursor = self._cursors.get(event.user)
            reader = None if cursor is None else cursor.reader
            if reader is not None:
                reader.pending += 1
            sender = self._cursors.get(event.about) if event.about is not None and is_message else None
            self._batches.add(event, key, reader, done, 0 if sender is None else sender.claimed_at)

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        """See `PeerRecords`. If it fails, the socket that held the claim goes on."""
        cursor = self._end(user)
        try:
            before = await self.claims.take(user, holder, self._handed.get(user, UNKNOWN))
        except BaseException:
            if cursor is not None and cursor.has_begun and user not in self._cursors:
                self._cursors[user] = cursor
                self._check(cursor, is_due=True)
            raise
        self._handed.pop(user, None)
        return before

    async def release(self, user: User, holder: Holder) -> bool:
        """See `PeerRecords`."""
        handed: Argument = ""
        cursor = self._cursors.get(user)
        is_ours = holder.node == self._client.node
        if is_ours and (cursor is None or cursor.holder == holder):
            self._end(user)
            socket, offset = self._handed.get(user, (0, 0))
            handed = offset if socket == holder.socket else 0
        is_released = await self.claims.release(user, holder, handed)
        if is_released and is_ours:
            self._let_go(user)
        elif is_ours and self._handed.get(user, (0, 0))[0] == holder.socket:
            self._handed.pop(user, None)  # another socket holds the claim, perhaps of another node
        return is_released

    async def start(self, user: User, holder: Holder, token: str | None) -> bool:
        epoch, hashed = secrets.token_hex(EPOCH_BYTES), "" if token is None else _digest(token)
        started = await self._run("start", user, holder.node, holder.socket, epoch, hashed)
        return self._begin(user, started)

    async def resume(self, user: User, holder: Holder, used: str, offset: int, token: str) -> bool:
        epoch = await self._run("resume", user, holder.node, holder.socket, _digest(used), offset, _digest(token))
        self._tokens[user] = _digest(token)
        return self._begin(user, epoch)

    async def follow(self, user: User, holder: Holder, offset: int | None, reader: Reader) -> bool:
        before = self._cursors.get(user)
        epoch = self._epochs.pop(user, "") or ("" if before is None else before.epoch)
        cursor = self._cursors[user] = Cursor(user, holder, epoch, reader)
        reader.pending += 1
        self._await_earlier(reader)
        try:
            found = await self._reader.read_all(cursor, ALL_KEPT if offset is None else offset)
            await self.claims.refuse_earlier(user, found.claimed_at, self._in_sessions_with(user))
        except BaseException:
            self._drop(cursor)
            raise
        finally:
            reader.pending -= 1
        if not self._is_current(cursor, found.holder):
            return True
        if found.is_short:
            self._drop(cursor)
            return False
        cursor.claimed_at = found.claimed_at
        cursor.begin(found.first, found.payloads)
        self._check_again(cursor)
        return True

    def unfollow(self, user: User) -> None:
        """See `Log`. A socket that only begins to follow is not the one that is gone."""
        cursor = self._cursors.get(user)
        if cursor is not None and cursor.has_begun:
            self._end(user)

    def confirm(self, user: User) -> None:
        token = self._tokens.pop(user, None) if self._tokens else None
        if token is not None:
            self._call("confirm", user, token)

    def trim(self, user: User, offset: int) -> None:
        """See `Log`. Of several trims of a user within `TRIM_SECONDS` only the last is made."""
        cursor = self._cursors.get(user)
        if cursor is not None:
            cursor.handed = offset
            if not self._trims:
                asyncio.get_running_loop().call_later(TRIM_SECONDS, self._flush_trims)
            self._trims[user] = cursor.epoch, offset

    def forget(self, user: User) -> None:
        if user not in self._cursors:
            self._let_go(user)
            self.claims.settle_first("forget", user)

    async def count(self, user: User) -> int:
        (count,) = await self._client.ask(("XLEN", self._keys.log(user)))
        return int(count)

    def forget_old(self, now: float) -> None:  # noqa: ARG002 - Redis forgets by itself
        """See `Log`; here it is for what this node appended lately."""
        self._recent.forget_old()

    def stats(self) -> dict[str, float]:
        """See `Log`. Events and keys are in Redis, so here they are what waits to go there."""
        return {
            "logs": len(self._cursors),
            "log_notes": len(self._epochs) + len(self._handed) + len(self._tokens),
            "log_bytes": self.pipeline.size,
            "message_keys": len(self.pipeline),
            "recent_appends": len(self._recent),
        }

    def dataset_lost(self) -> None:
        """Have those start over whose log this node follows: the store has lost its data."""
        self._recent.clear()
        for cursor in list(self._cursors.values()):
            self._lose(cursor)

    async def run(self) -> None:
        """Append and follow, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.pipeline.run)
            tasks.start_soon(self._channel.run)
            tasks.start_soon(self._refresh)
            tasks.start_soon(self._close_lost)
            while True:
                await self._woken.wait()
                self._woken = anyio.Event()
                behind, self._behind = self._behind, []
                for cursor in behind:
                    tasks.start_soon(self._catch_up, cursor)

    async def close(self) -> None:
        """Return once what waits has gone out."""
        self._flush()
        self._flush_trims()
        await self.pipeline.drained()

    def _begin(self, user: User, epoch: bytes) -> bool:
        if epoch:
            self._epochs[user] = epoch.decode()
        return bool(epoch)

    def _await_earlier(self, reader: Reader) -> None:
        """Have what was appended before the reader came count as on its way to it, whoever it is for."""
        self._flush()
        if len(self.pipeline):
            reader.pending += 1
            self.pipeline.put(Call(("PING",), TRIM_BYTES, lambda _: _settle(reader)))

    def _end(self, user: User) -> Cursor | None:
        """End the cursor of a user, and note what its reader was handed."""
        cursor = self._cursors.pop(user, None)
        if cursor is not None:
            self._handed[user] = cursor.holder.socket, cursor.handed
        return cursor

    def _let_go(self, user: User) -> None:
        for known in (self._epochs, self._handed, self._tokens):
            known.pop(user, None)

    def _flush(self) -> None:
        for batch in self._batches.take():
            self.pipeline.put(Call(batch.command, batch.size, partial(self._answered, batch)))

    def _flush_trims(self) -> None:
        trims, self._trims = self._trims, {}
        for user, (epoch, offset) in trims.items():
            self._call("trim", user, epoch, offset)

    def _call(self, script: str, user: User, *arguments: Argument) -> None:
        """Run a script in order with the appends; its answer is of no interest."""
        command = (
            "EVALSHA",
            self._client.scripts[script].sha,
            2,
            self._keys.state(user),
            self._keys.log(user),
            *arguments,
        )
        self.pipeline.put(Call(command, TRIM_BYTES, lambda _: None))

    async def _run(self, script: str, user: User, *arguments: Argument) -> Any:  # noqa: ANN401 - as scripts answer
        return await self._client.run(script, [self._keys.state(user), self._keys.log(user)], *arguments)

    def _answered(self, batch: Batch, answer: list[Any]) -> None:
        """Take note of what became of events; those of a user of this node go to its reader."""
        user, node, epoch = batch.user, answer[0].decode(), answer[1].decode()
        cursor = self._cursors.get(user)
        is_here = cursor is not None and node == self._client.node and cursor.epoch == epoch
        if epoch:
            self._recent.note(user, epoch, batch.serial)
        for item, what, number in zip(batch.items, answer[2::2], answer[3::2], strict=True):
            is_own = is_here and cursor is not None and cursor.reader is item.reader
            if what == 0 and is_here and cursor is not None:
                cursor.put(number, item.event, is_own=is_own)
            elif item.reader is not None:
                item.reader.pending -= 1
            if item.done is not None and what != TOO_LATE:
                item.done(user, read_answer(what, number, is_live=bool(node)))
        if cursor is not None and (not is_here or cursor.has_gap or any(what in {1, 6} for what in answer[2::2])):
            self._check(cursor, is_due=True)

    def _take(self, message: channel.Appended | channel.Superseded) -> None:
        if isinstance(message, channel.Appended):
            self._deliver_in_time(message)
        else:
            self._supersede_in_time(message.user, Holder(self._client.node, message.socket))

    def _supersede_in_time(self, user: User, holder: Holder) -> None:
        """End a socket once it has what its node heard, appended or read before the claim moved: no other gets it."""
        timer = asyncio.get_running_loop().call_later(LATEST_SECONDS, self._supersede, user, holder)

        def listed() -> None:
            if len(self.pipeline):
                self.pipeline.put(Call(("PING",), TRIM_BYTES, appended))
            else:
                appended()

        def appended(_: object = None) -> None:
            cursor = self._cursors.get(user)
            if cursor is not None and cursor.holder == holder and cursor.is_reading:
                cursor.read = read
            else:
                read()

        def read() -> None:
            timer.cancel()
            self._supersede(user, holder)

        shard = shard_of(user.org)
        self._follower.when_passed(shard, self._heard[shard], listed)

    def _supersede(self, user: User, holder: Holder) -> None:
        cursor = self._cursors.get(user)
        if cursor is not None and cursor.holder == holder:
            del self._cursors[user]
        self.listener.superseded(user, holder)

    def _deliver_in_time(self, message: channel.Appended) -> None:
        """Deliver events once the directory shows what they are about; a failover may have lost that for good."""
        head, deliver = message.header, partial(self._deliver, message)
        if not self._follower.has_passed(head.shard, head.seen):
            asyncio.get_running_loop().call_later(LATEST_SECONDS, deliver)
            self._heard[head.shard] = max(self._heard[head.shard], head.seen, key=order)
        self._follower.when_passed(head.shard, head.seen, deliver)

    def _deliver(self, message: channel.Appended) -> None:
        cursor = self._cursors.get(message.header.user)
        if cursor is None:
            return
        if cursor.epoch != message.epoch:
            self._check(cursor, is_due=True)
            return
        for offset, event in enumerate(message.events, message.first):
            cursor.put(offset, event)
        self._check(cursor)

    def _check(self, cursor: Cursor, *, is_due: bool = False) -> None:
        """Read the log if something is missing, or may be. What is read already may be from before that."""
        if cursor.is_reading:
            cursor.is_due = cursor.is_due or is_due
        elif is_due or cursor.has_gap:
            cursor.is_reading = True
            cursor.reader.pending += 1
            self._behind.append(cursor)
            self._woken.set()

    def _check_again(self, cursor: Cursor) -> None:
        if cursor.read is not None:
            cursor.read()
            return
        is_due, cursor.is_due = cursor.is_due, False
        self._check(cursor, is_due=is_due)

    async def _catch_up(self, cursor: Cursor) -> None:
        """Read what is missing. A cursor whose claim another socket holds, or whose log was lost, ends by that."""
        found = await self._read_patiently(cursor)
        cursor.reader.pending -= 1
        is_current = self._is_current(cursor, found.holder)
        if is_current and found.is_short:
            self._lose(cursor)
        elif self._cursors.get(cursor.user) is cursor:
            cursor.fill(found.first, found.payloads if is_current else ())
            if is_current or cursor.read is not None:
                self._check_again(cursor)

    async def _read_patiently(self, cursor: Cursor) -> Found:
        while True:
            try:
                return await self._reader.read_all(cursor, cursor.offset)
            except StoreUnreachableError:
                await anyio.sleep(RETRY_SECONDS)

    def _in_sessions_with(self, user: User) -> set[User]:
        sessions = self._follower.directory.sessions_of(user)
        return {each for session in sessions for each in session.participants} - {user}

    def _drop(self, cursor: Cursor) -> None:
        if self._cursors.get(cursor.user) is cursor:
            del self._cursors[cursor.user]

    def _is_current(self, cursor: Cursor, holder: Holder) -> bool:
        """Whether the cursor is still its user's, by who holds the claim. It ends if another socket does, or nobody.

        One that has begun ends when this node is told that another has the user: after all that the cursor is to get.
        If another socket of this node has the claim, what still comes is for that one.
        """
        if self._cursors.get(cursor.user) is not cursor:
            return False
        if holder == NOBODY:
            self._lose(cursor)
        elif holder != cursor.holder:
            if cursor.has_begun and holder.node != self._client.node:
                asyncio.get_running_loop().call_later(LATEST_SECONDS, self._supersede, cursor.user, cursor.holder)
            else:
                self._supersede(cursor.user, cursor.holder)
        return holder == cursor.holder

    async def _connected(self) -> None:
        """Find out what was missed while nothing was heard."""
        for cursor in list(self._cursors.values()):
            self._check(cursor, is_due=True)

    def _lose(self, cursor: Cursor) -> None:
        self._end(cursor.user)
        self._lost.append(cursor)

    async def _close_lost(self) -> None:
        """Have readers start over, some at a time, so that their clients do not come back all at once."""
        while True:
            lost, self._lost = self._lost[:CLOSED_AT_ONCE], self._lost[CLOSED_AT_ONCE:]
            for cursor in lost:
                cursor.reader.lost()
            await anyio.sleep(CLOSE_PAUSE_SECONDS)

    async def _refresh(self) -> None:
        """Keep Redis from letting go of the logs that this node follows."""
        while True:
            await anyio.sleep(min(REFRESH_SECONDS, self._lifetime / 3))
            for user in list(self._cursors):
                for key in (self._keys.state(user), self._keys.log(user)):
                    self.pipeline.put(Call(("EXPIRE", key, self._lifetime), TRIM_BYTES, lambda _: None))


def _settle(reader: Reader) -> None:
    reader.pending -= 1


def _digest(token: str) -> str:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=TOKEN_BYTES).hexdigest()
