"""The records: changed by scripts in Redis, and in the replica by the time the call returns."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import anyio

from stores.base import Holder, Peer, Request, Revocation, Session, StoreUnreachableError, User
from stores.memory import MemoryDirectory
from stores.redis import scripts
from stores.redis.changer import Changer
from stores.redis.client import Client
from stores.redis.replica import Replica
from stores.redis.rows import holder_of, json, peer_of, request_of, row
from stores.redis.settling import Settling

AT_ONCE = 1000
_Item = TypeVar("_Item")


class _Records:
    """What all records share."""

    def __init__(self, client: Client, replica: Replica, changer: Changer, patience: float) -> None:
        self._client = client
        self._replica = replica
        self._change = changer.make
        self._patience = patience

    @property
    def _directory(self) -> MemoryDirectory:
        return self._replica.directory


class RedisPeers(_Records):
    """See `PeerRecords`."""

    def __init__(self, client: Client, replica: Replica, changer: Changer, patience: float, settling: Settling) -> None:
        super().__init__(client, replica, changer, patience)
        self._settling = settling
        self._lapsing = anyio.Lock()

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        """See `PeerRecords`. It makes this node the user's home, and moves its fence.

        Not before what the home that the user had keeps for it is in the store, should that have lost it.
        If the answer is lost, and it is made once more, the previous holder is who was at home by what is known here.
        """
        await self._settling.settled(user)
        home = self._replica.home(user)
        (before,) = await self._change("claim", user.org, user.id, row(holder), holder.socket)
        previous = None if before is None else holder_of(before)
        if previous == holder and home is not None and home.socket:
            previous = Holder(home.node, home.socket)
        return None if previous == holder else previous

    async def release(self, user: User, holder: Holder) -> bool:
        """See `PeerRecords`."""
        (released,) = await self._change("release", user.org, user.id, row(holder))
        return bool(released)

    async def register(self, peer: Peer, holder: Holder) -> bool:
        """See `PeerRecords`."""
        (done,) = await self._change("register", peer.user.org, peer.user.id, row(holder), row(peer))
        return bool(done)

    async def find(self, user: User) -> Peer | None:
        """See `PeerRecords`. The store tells how far the replica has to be to know."""
        version = await self._client.run(scripts.VERSION, self._client.space.org(user.org))
        await self._replica.reached(user.org, version, self._patience)
        return self._directory.peer(user)

    async def put(self, peer: Peer) -> None:
        """See `PeerRecords`."""
        await self._change("put_peer", peer.user.org, peer.user.id, row(peer))

    async def put_released(self, peer: Peer) -> bool:
        """See `PeerRecords`."""
        (done,) = await self._change("put_released_peer", peer.user.org, peer.user.id, row(peer))
        return bool(done)

    async def remove_released(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        removed = await self._change("remove_released_peer", user.org, user.id)
        return peer_of(removed[0]) if removed else None

    async def remove(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        removed = await self._change("remove_peer", user.org, user.id)
        return peer_of(removed[0]) if removed else None

    async def take_lapsed(self, now: float) -> list[Peer]:
        """See `PeerRecords`. Asks only if the replica has such peers.

        If the answer is lost, those are taken whom this node is told to have taken; so it is one call at a time.
        """
        async with self._lapsing:
            taken: list[Peer] = []
            for org, users in _by_org(self._directory.lapsed(now)):
                try:
                    taken += await self._take_lapsed(org, users, now)
                except StoreUnreachableError:
                    if not taken:  # else the next call takes the rest: nobody else gets what is taken by now
                        raise
                    break
            return taken

    async def _take_lapsed(self, org: str | None, users: list[User], now: float) -> list[Peer]:
        with self._replica.removing() as removed:
            try:
                await self._change("take_lapsed", org, now, *(user.id for user in users))
            except StoreUnreachableError:
                if not removed:
                    raise
        return [removed[user] for user in users if user in removed]


class RedisRequests(_Records):
    """See `RequestRecords`."""

    async def add(self, request: Request) -> None:
        """See `RequestRecords`."""
        await self._change("add_request", request.requester.org, request.id, row(request))

    async def take(self, request_id: str) -> Request | None:
        """See `RequestRecords`."""
        known = self._directory.request(request_id)
        if known is None:
            return None
        taken = await self._change("take_requests", known.requester.org, request_id)
        return request_of(taken[0]) if taken else None

    async def take_expired(self, now: float) -> list[Request]:
        """See `RequestRecords`. Asks only if the replica has such requests."""
        expired = self._directory.expired(now)
        taken: list[Request] = []
        for org, ids in _ids_by_org(expired):
            try:
                taken += map(request_of, await self._change("take_requests", org, *ids))
            except StoreUnreachableError:
                if not taken:  # as with peers
                    raise
                break
        return sorted(taken, key=lambda request: request.expires_at)


class RedisSessions(_Records):
    """See `SessionRecords`."""

    async def put(self, session: Session) -> None:
        """See `SessionRecords`."""
        await self._change("put_session", session.host.org, session.id, row(session))

    async def swap(self, before: Session, after: Session | None) -> bool:
        """See `SessionRecords`."""
        changed = b"" if after is None else row(after)
        (done,) = await self._change("swap_session", before.host.org, before.id, row(before), changed)
        return bool(done)


class RedisRevocations(_Records):
    """See `Revocations`. Each is a key that expires with it; the other nodes are told to enforce it."""

    async def add(self, revocation: Revocation, now: float) -> None:
        """See `Revocations`."""
        told = b'[["revoked",%b,%b]]' % (json(self._client.node), row(revocation))
        await self._client.run(
            scripts.REVOKE,
            self._key(revocation.user, revocation.token_id),
            self._client.space.changes,
            told,
            revocation.expires_at,
            revocation.issued_before,
            int((revocation.expires_at - now) * 1000) + 1,
        )

    async def cover(self, user: User, token_id: str | None, issued_at: float, now: float) -> bool:
        """See `Revocations`."""
        of_user, of_token = await self._client.hashes(self._key(user, None), self._key(None, token_id))
        return any(
            revocation.expires_at > now and revocation.covers(user, token_id, issued_at)
            for revocation in (*_revocations(of_user, user, None), *_revocations(of_token, None, token_id))
        )

    def _key(self, user: User | None, token_id: str | None) -> str:
        if user is None:
            return self._client.space.revoked(token_id or "")
        return f"{self._client.space.org(user.org)}revoked:{user.id}"


def _revocations(times: dict[bytes, bytes], user: User | None, token_id: str | None) -> list[Revocation]:
    if not times:
        return []
    return [Revocation(float(times[b"expires_at"]), token_id, user, float(times[b"issued_before"]))]


def _by_org(users: Iterable[User]) -> list[tuple[str | None, list[User]]]:
    """Return the users of each org, so many at once as a script takes."""
    orgs: dict[str | None, list[User]] = {}
    for user in users:
        orgs.setdefault(user.org, []).append(user)
    return [(org, list(some)) for org, all_of in orgs.items() for some in _slices(all_of)]


def _ids_by_org(requests: Iterable[Request]) -> list[tuple[str | None, Sequence[str]]]:
    """Return the ids of each org's requests, so many at once as a script takes."""
    orgs: dict[str | None, list[str]] = {}
    for request in requests:
        orgs.setdefault(request.requester.org, []).append(request.id)
    return [(org, some) for org, ids in orgs.items() for some in _slices(ids)]


def _slices(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    return (items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE))
