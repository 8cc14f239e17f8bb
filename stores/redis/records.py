"""The records: changed in Redis by compare and set, and in the directory by the time the call returns."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from msgspec.structs import replace

from stores.model import Holder, Peer, Request, Revocation, Session, User
from stores.protocols import StoreUnreachableError
from stores.redis.client import Client
from stores.redis.follower import Follower
from stores.redis.keyspace import shard_of
from stores.redis.log import RedisLog
from stores.redis.rows import json, row
from stores.redis.writer import ANY, NONE, STREAM_LENGTH, Change, Writer

ATTEMPTS = 10
PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.5
CONTESTED = "Redis: others kept changing the peer"
_Record = TypeVar("_Record", Peer, Request)


class RedisPeers:
    """See `PeerRecords`."""

    def __init__(self, follower: Follower, writer: Writer, log: RedisLog) -> None:
        self._follower = follower
        self._writer = writer
        self._log = log
        self.claim = log.claim
        self.release = log.release

    async def register(self, peer: Peer, holder: Holder) -> bool:
        """See `PeerRecords`. A claim that was lost meanwhile takes the peer back, as far as nobody has changed it."""
        registered = replace(peer, holder=holder)
        for attempt in range(ATTEMPTS):
            if await self._log.claims.holder(peer.user) != holder:
                return False
            before = self._known(peer.user)
            if await self._swap(peer.user, before, registered):
                if await self._log.claims.holder(peer.user) == holder:
                    return True
                await self._swap(peer.user, registered, before)
                return False
            if self._known(peer.user) == before:  # what the store has instead is yet to be read
                await anyio.sleep(min(PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS))
        raise StoreUnreachableError(CONTESTED)

    async def find(self, user: User) -> Peer | None:
        """See `PeerRecords`. The change stream tells how far the directory has to be to know."""
        await self._follower.catch_up(shard_of(user.org))
        return self._known(user)

    async def put_released(self, peer: Peer) -> bool:
        before = self._known(peer.user)
        if before is None or await self._log.claims.holder(peer.user) is not None:
            return False
        return await self._swap(peer.user, before, peer)

    async def remove(self, user: User) -> Peer | None:
        known = self._known(user)
        made = await self._writer.make(user.org, Change("peer", json(user), ANY, NONE))
        if not made.is_made:
            return None
        return made.before if isinstance(made.before, Peer) else known

    async def remove_released(self, user: User) -> Peer | None:
        before = self._known(user)
        if before is None or await self._log.claims.holder(user) is not None:
            return None
        return before if await self._swap(user, before, None) else None

    async def take_lapsed(self, now: float) -> list[Peer]:
        """See `PeerRecords`. So it is with those whom an earlier call took, and heard of too late."""
        known = (self._known(user) for user in self._follower.directory.lapsed(now))
        lapsed = [peer for peer in known if peer is not None]
        return _with_late(self._follower.late_peers, await _take_all(lapsed, self._take))

    async def _take(self, peer: Peer) -> bool:
        change = Change("peer", json(peer.user), row(peer), NONE, is_take=True)
        return (await self._writer.make(peer.user.org, change)).is_made

    async def _swap(self, user: User, before: Peer | None, after: Peer | None) -> bool:
        was, will_be = (NONE if each is None else row(each) for each in (before, after))
        return (await self._writer.make(user.org, Change("peer", json(user), was, will_be))).is_made

    def _known(self, user: User) -> Peer | None:
        return self._follower.directory.peer(user)


class RedisRequests:
    """See `RequestRecords`."""

    def __init__(self, follower: Follower, writer: Writer) -> None:
        self._follower = follower
        self._writer = writer

    async def add(self, request: Request) -> None:
        await self._writer.make(request.requester.org, Change("request", request.id, ANY, row(request)))

    async def take(self, request_id: str) -> Request | None:
        known = self._follower.directory.request(request_id)
        return known if known is not None and await self._take(known, is_take=False) else None

    async def take_expired(self, now: float) -> list[Request]:
        taken = await _take_all(self._follower.directory.expired(now), self._take)
        return sorted(_with_late(self._follower.late_requests, taken), key=lambda request: request.expires_at)

    async def _take(self, request: Request, *, is_take: bool = True) -> bool:
        change = Change("request", request.id, row(request), NONE, is_take)
        return (await self._writer.make(request.requester.org, change)).is_made


class RedisSessions:
    """See `SessionRecords`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def put(self, session: Session) -> None:
        await self._writer.make(session.host.org, Change("session", session.id, ANY, row(session)))

    async def swap(self, before: Session, after: Session | None) -> bool:
        changed = NONE if after is None else row(after)
        return (await self._writer.make(before.host.org, Change("session", before.id, row(before), changed))).is_made


class RedisRevocations:
    """See `Revocations`. Each is a key that expires with it, and a change, so that the other nodes enforce it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def add(self, revocation: Revocation, now: float) -> None:
        keys, user, token_id = self._client.keys, revocation.user, revocation.token_id
        shard = shard_of(token_id if user is None else user.org)
        key = keys.revoked_token(token_id or "") if user is None else keys.revoked_user(user)
        milliseconds = int((revocation.expires_at - now) * 1000) + 1
        times = revocation.expires_at, revocation.issued_before, milliseconds
        arguments = self._client.node, STREAM_LENGTH, *times, row(revocation)
        await self._client.run("revoke", [keys.changes(shard), key], *arguments)

    async def cover(self, user: User, token_id: str | None, issued_at: float, now: float) -> bool:
        keys = [self._client.keys.revoked_user(user), self._client.keys.revoked_token(token_id or "")]
        found = await self._client.ask(*(("HMGET", key, "expires_at", "issued_before") for key in keys))
        known = [
            Revocation(float(expires_at), token, whose, float(issued_before))
            for (expires_at, issued_before), token, whose in zip(found, (None, token_id), (user, None), strict=True)
            if expires_at is not None
        ]
        return any(each.expires_at > now and each.covers(user, token_id, issued_at) for each in known)


async def _take_all(due: Sequence[_Record], take: Callable[[_Record], Awaitable[bool]]) -> list[_Record]:
    """Take each of these at once; return those that were taken.

    Raises `StoreUnreachableError` only if none was: nobody else gets what is taken by now, and the next call the rest.
    """
    taken: list[_Record] = []
    trouble: list[StoreUnreachableError] = []

    async def take_one(record: _Record) -> None:
        try:
            if await take(record):
                taken.append(record)
        except StoreUnreachableError as error:
            trouble.append(error)

    async with anyio.create_task_group() as tasks:
        for record in due:
            tasks.start_soon(take_one, record)
    if trouble and not taken:
        raise trouble[0]
    return taken


def _with_late(late: list[_Record], taken: list[_Record]) -> list[_Record]:
    """Return what was taken, and what earlier calls took."""
    taken += late
    late.clear()
    return taken
