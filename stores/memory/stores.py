"""The stores of a single process: dictionaries, forgotten when it ends."""

import secrets
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from stores.log import Bounds
from stores.memory.directory import MemoryDirectory
from stores.memory.journal import Journal
from stores.memory.log import MemoryLog
from stores.model import Holder, Peer, Request, Revocation, Session, User
from stores.protocols import Listener

SALT_BYTES = 32


class MemoryPeers:
    """See `PeerRecords`."""

    def __init__(
        self, directory: MemoryDirectory, claims: dict[User, Holder], log: MemoryLog, journal: Journal
    ) -> None:
        self._directory = directory
        self._claims = claims
        self._log = log
        self._journal = journal

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        self._log.unfollow(user)
        previous = self._claims.get(user)
        self._claims[user] = holder
        return previous

    async def release(self, user: User, holder: Holder) -> bool:
        if self._claims.get(user) != holder:
            return False
        self._log.unfollow(user)
        del self._claims[user]
        return True

    async def find(self, user: User) -> Peer | None:
        return self._directory.peer(user)

    async def register(self, peer: Peer, holder: Holder) -> bool:
        if self._claims.get(peer.user) != holder:
            return False
        await self._put(replace(peer, holder=holder))
        return True

    async def put_released(self, peer: Peer) -> bool:
        if peer.user in self._claims or self._directory.peer(peer.user) is None:
            return False
        await self._put(peer)
        return True

    async def remove_released(self, user: User) -> Peer | None:
        return None if user in self._claims else await self.remove(user)

    async def remove(self, user: User) -> Peer | None:
        self._journal.check()
        removed = self._remove(user)
        await self._journal.committed()
        return removed

    async def take_lapsed(self, now: float) -> list[Peer]:
        lapsed = self._directory.lapsed(now)
        if not lapsed:
            return []
        self._journal.check()
        taken = [self._remove(user) for user in lapsed]
        await self._journal.committed()
        return [peer for peer in taken if peer is not None]

    async def _put(self, peer: Peer) -> None:
        self._journal.check()
        self._directory.put_peer(peer, self._directory.next_place(peer.user.org))
        self._journal.put("peer", _key(peer.user), peer, self._directory.place(peer.user))
        await self._journal.committed()

    def _remove(self, user: User) -> Peer | None:
        removed = self._directory.remove_peer(user)
        if removed is not None:
            self._journal.delete("peer", _key(user))
        return removed


class MemoryRequests:
    """See `RequestRecords`."""

    def __init__(self, directory: MemoryDirectory, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal

    async def add(self, request: Request) -> None:
        self._journal.check()
        self._directory.put_request(request)
        self._journal.put("request", request.id, request)
        await self._journal.committed()

    async def take(self, request_id: str) -> Request | None:
        self._journal.check()
        taken = self._remove(request_id)
        if taken is not None:
            await self._journal.committed()
        return taken

    async def take_expired(self, now: float) -> list[Request]:
        expired = self._directory.expired(now)
        if not expired:
            return []
        self._journal.check()
        for request in expired:
            self._remove(request.id)
        await self._journal.committed()
        return expired

    def _remove(self, request_id: str) -> Request | None:
        removed = self._directory.remove_request(request_id)
        if removed is not None:
            self._journal.delete("request", request_id)
        return removed


class MemorySessions:
    """See `SessionRecords`."""

    def __init__(self, directory: MemoryDirectory, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal

    async def put(self, session: Session) -> None:
        self._journal.check()
        self._directory.put_session(session)
        self._journal.put("session", session.id, session)
        await self._journal.committed()

    async def swap(self, before: Session, after: Session | None) -> bool:
        if self._directory.sessions.get(before.id) != before:
            return False
        if after is not None:
            await self.put(after)
            return True
        self._journal.check()
        self._directory.remove_session(before.id)
        self._journal.delete("session", before.id)
        await self._journal.committed()
        return True


class MemoryRevocations:
    """See `Revocations`. What has expired is forgotten when the next one is added."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._by_key: dict[str | User | None, Revocation] = {}
        self._journal = journal or Journal()

    async def add(self, revocation: Revocation, now: float) -> None:
        self._journal.check()
        for key, kept in list(self._by_key.items()):
            if kept.expires_at <= now:
                del self._by_key[key]
                self._journal.delete("revocation", _revocation_key(kept))
        self.restore(revocation)
        self._journal.put("revocation", _revocation_key(revocation), self._by_key[_subject(revocation)])
        await self._journal.committed()

    def restore(self, revocation: Revocation) -> None:
        """Put a revocation, without writing it down."""
        key = _subject(revocation)
        known = self._by_key.get(key, revocation)
        self._by_key[key] = replace(
            revocation,
            expires_at=max(known.expires_at, revocation.expires_at),
            issued_before=max(known.issued_before, revocation.issued_before),
        )

    async def cover(self, user: User, token_id: str | None, issued_at: float, now: float) -> bool:
        if not self._by_key:
            return False
        found = [revocation for key in (user, token_id) if (revocation := self._by_key.get(key)) is not None]
        return any(each.expires_at > now and each.covers(user, token_id, issued_at) for each in found)


class MemoryStores:
    """See `Stores`."""

    ahead = None

    def __init__(self, bounds: Bounds | None = None, journal: Journal | None = None, node: str = "node") -> None:
        written = journal or Journal()
        claims: dict[User, Holder] = {}
        self.listener = Listener()
        self.node = node
        self.salt = secrets.token_bytes(SALT_BYTES)
        self.directory = MemoryDirectory()
        self.log = MemoryLog(self.directory, claims, written, bounds or Bounds())
        self.peers = MemoryPeers(self.directory, claims, self.log, written)
        self.requests = MemoryRequests(self.directory, written)
        self.sessions = MemorySessions(self.directory, written)
        self.revocations = MemoryRevocations(written)

    async def run(self, started: Callable[[], None]) -> None:
        """See `Stores`; memory has no work."""
        started()

    async def ping(self) -> None:
        """See `Stores`; memory always answers."""

    async def close(self) -> None:
        """See `Stores`; memory has nothing to let go of."""

    def stats(self) -> dict[str, float]:
        return {}


def _key(user: User) -> str:
    """Return the key of a user's record."""
    return msgspec.json.encode(user).decode()


def _subject(revocation: Revocation) -> str | User | None:
    return revocation.user or revocation.token_id


def _revocation_key(revocation: Revocation) -> str:
    return msgspec.json.encode((revocation.token_id, revocation.user)).decode()
