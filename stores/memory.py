"""The stores of a single process: dictionaries, forgotten when it ends."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import chain
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from stores.base import Holder, Listener, Peer, Request, Revocation, Session, Sizes, User
from stores.journal import Journal, NoJournal
from stores.log import Bounds
from stores.memory_log import MemoryLog
from stores.roster import Roster

SALT_BYTES = 32

_Entry = TypeVar("_Entry", Request, Session)


class MemoryDirectory:
    """The dictionaries themselves: reading from them, as `Directory` has it, and writing."""

    def __init__(self) -> None:
        self.rosters: dict[str | None, Roster] = {}
        self.away: dict[User, float] = {}
        self._held: defaultdict[str, dict[User, Peer]] = defaultdict(dict)
        self.requests: dict[str, Request] = {}
        self.sessions: dict[str, Session] = {}
        self._requests_by_user: dict[User, dict[str, Request]] = {}
        self._sessions_by_user: dict[User, dict[str, Session]] = {}
        self._may_stray: set[User] = set()

    def peer(self, user: User) -> Peer | None:
        """See `Directory`."""
        roster = self.rosters.get(user.org)
        return None if roster is None else roster.peers.get(user)

    def peers(self, org: str | None) -> Collection[Peer]:
        """See `Directory`."""
        roster = self.rosters.get(org)
        return () if roster is None else roster.peers.values()

    def listed(self, org: str | None, *, after: int = 0, name: str = "") -> Iterator[Peer]:
        """See `Directory`."""
        roster = self.rosters.get(org)
        return iter(()) if roster is None else roster.listed(after, name)

    def everybody(self) -> Iterator[Peer]:
        """See `Directory`."""
        return chain.from_iterable(reversed(roster.peers.values()) for roster in self.rosters.values())

    def place(self, user: User) -> int:
        """See `Directory`."""
        roster = self.rosters.get(user.org)
        return 0 if roster is None else roster.place(user)

    def request(self, request_id: str) -> Request | None:
        """See `Directory`."""
        return self.requests.get(request_id)

    def requests_of(self, user: User) -> Collection[Request]:
        """See `Directory`."""
        return list(self._requests_by_user.get(user, {}).values())

    def session(self, session_id: str) -> Session | None:
        """See `Directory`."""
        return self.sessions.get(session_id)

    def sessions_of(self, user: User) -> Collection[Session]:
        """See `Directory`."""
        return list(self._sessions_by_user.get(user, {}).values())

    def all_sessions(self) -> Iterator[Session]:
        """See `Directory`."""
        return reversed(self.sessions.values())

    def strays(self) -> Collection[User]:
        """See `Directory`. Looks only at those who may have become such since the last time, and the strays of then."""
        self._may_stray = {user for user in self._may_stray if self._is_involved(user) and not self.peer(user)}
        return self._may_stray

    def sizes(self) -> Sizes:
        """See `Directory`."""
        return Sizes(sum(len(roster.peers) for roster in self.rosters.values()), len(self.requests), len(self.sessions))

    def next_place(self, org: str | None) -> int:
        """Return the place for the next peer to come. Each org counts its own: a place tells nothing of others."""
        roster = self.rosters.get(org)
        return 1 if roster is None else roster.latest + 1

    def put_peer(self, peer: Peer, place: int) -> None:
        """Add or replace a peer; a new one gets this place, higher than any before."""
        self._unhold(peer.user)
        self.rosters.setdefault(peer.user.org, Roster()).put(peer, place)
        self.away.pop(peer.user, None)
        if peer.lapses_at is not None:
            self.away[peer.user] = peer.lapses_at
        elif peer.holder is not None:
            self._held[peer.holder.node][peer.user] = peer

    def remove_peer(self, user: User) -> Peer | None:
        """Forget a peer and return it; None if there was none."""
        self._unhold(user)
        self.away.pop(user, None)
        if self._is_involved(user):
            self._may_stray.add(user)
        roster = self.rosters.get(user.org)
        if roster is None:
            return None
        peer = roster.remove(user)
        if not roster.peers:
            del self.rosters[user.org]
        return peer

    def lapsed(self, now: float) -> list[User]:
        """Return the users whose time to come back is up."""
        return [user for user, lapses_at in self.away.items() if lapses_at <= now]

    def put_request(self, request: Request) -> None:
        """Add a request."""
        self.requests[request.id] = request
        for user in (request.requester, request.target):
            self._may_stray.add(user)
            self._requests_by_user.setdefault(user, {})[request.id] = request

    def remove_request(self, request_id: str) -> Request | None:
        """Remove a request and return it; None if it was not there."""
        request = self.requests.pop(request_id, None)
        if request is not None:
            _unlist(self._requests_by_user, (request.requester, request.target), request_id)
        return request

    def expired(self, now: float) -> list[Request]:
        """Return the requests whose time is up, oldest first."""
        return [request for request in self.requests.values() if request.expires_at <= now]

    def put_session(self, session: Session) -> list[User]:
        """Add or replace a session; return who is out of it by that."""
        gone = self._leave(session.id, session.participants)
        self.sessions[session.id] = session
        self._may_stray.update(session.participants)
        for user in session.participants:
            self._sessions_by_user.setdefault(user, {})[session.id] = session
        return gone

    def remove_session(self, session_id: str) -> list[User]:
        """Remove a session; return who was in it."""
        gone = self._leave(session_id, ())
        self.sessions.pop(session_id, None)
        return gone

    def held_by(self, node: str) -> Collection[Peer]:
        """See `Directory`."""
        return self._held[node].values() if node in self._held else ()

    def holding_nodes(self) -> Collection[str]:
        """Return the nodes that peers are held by."""
        return [node for node, held in self._held.items() if held]

    def _unhold(self, user: User) -> None:
        before = self.peer(user)
        if before is not None and before.holder is not None:
            self._held[before.holder.node].pop(user, None)

    def _is_involved(self, user: User) -> bool:
        return user in self._sessions_by_user or user in self._requests_by_user

    def _leave(self, session_id: str, staying: Container[User]) -> list[User]:
        before = self.sessions.get(session_id)
        gone = [] if before is None else [user for user in before.participants if user not in staying]
        _unlist(self._sessions_by_user, gone, session_id)
        return gone


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
        """See `PeerRecords`."""
        self._log.unfollow(user)
        previous = self._claims.get(user)
        self._claims[user] = holder
        return previous

    async def release(self, user: User, holder: Holder) -> bool:
        """See `PeerRecords`."""
        if self._claims.get(user) != holder:
            return False
        self._log.unfollow(user)
        del self._claims[user]
        return True

    async def find(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        return self._directory.peer(user)

    async def register(self, peer: Peer, holder: Holder) -> bool:
        """See `PeerRecords`."""
        if self._claims.get(peer.user) != holder:
            return False
        await self._put(replace(peer, holder=holder))
        return True

    async def put_released(self, peer: Peer) -> bool:
        """See `PeerRecords`."""
        if peer.user in self._claims or self._directory.peer(peer.user) is None:
            return False
        await self._put(peer)
        return True

    async def remove_released(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        return None if user in self._claims else await self.remove(user)

    async def remove(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        self._journal.check()
        removed = self._remove(user)
        await self._journal.committed()
        return removed

    async def take_lapsed(self, now: float) -> list[Peer]:
        """See `PeerRecords`."""
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
        """See `RequestRecords`."""
        self._journal.check()
        self._directory.put_request(request)
        self._journal.put("request", request.id, request)
        await self._journal.committed()

    async def take(self, request_id: str) -> Request | None:
        """See `RequestRecords`."""
        self._journal.check()
        taken = self._remove(request_id)
        if taken is not None:
            await self._journal.committed()
        return taken

    async def take_expired(self, now: float) -> list[Request]:
        """See `RequestRecords`."""
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
        """See `SessionRecords`."""
        self._journal.check()
        self._directory.put_session(session)
        self._journal.put("session", session.id, session)
        await self._journal.committed()

    async def swap(self, before: Session, after: Session | None) -> bool:
        """See `SessionRecords`."""
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
        self._journal = journal or NoJournal()

    async def add(self, revocation: Revocation, now: float) -> None:
        """See `Revocations`."""
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
        """See `Revocations`."""
        if not self._by_key:
            return False
        found = [revocation for key in (user, token_id) if (revocation := self._by_key.get(key)) is not None]
        return any(each.expires_at > now and each.covers(user, token_id, issued_at) for each in found)


class MemoryStores:
    """See `Stores`."""

    ahead = None

    def __init__(self, bounds: Bounds | None = None, journal: Journal | None = None, node: str = "node") -> None:
        written = journal or NoJournal()
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
        """See `Stores`."""
        return {}


def _key(user: User) -> str:
    """Return the key of a user's record."""
    return msgspec.json.encode(user).decode()


def _subject(revocation: Revocation) -> str | User | None:
    return revocation.user or revocation.token_id


def _revocation_key(revocation: Revocation) -> str:
    return msgspec.json.encode((revocation.token_id, revocation.user)).decode()


def _unlist(index: dict[User, dict[str, _Entry]], users: Iterable[User], key: str) -> None:
    for user in users:
        entries = index.get(user, {})
        entries.pop(key, None)
        if not entries:
            index.pop(user, None)
