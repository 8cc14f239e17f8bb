"""The stores of a single process: dictionaries, forgotten when it ends."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import chain
from typing import TypeVar

from msgspec.structs import replace

from stores.base import SENT_MESSAGES, SENT_SECONDS, Holder, Peer, Request, Revocation, Sent, Session, Sizes, User
from stores.roster import Roster

_Entry = TypeVar("_Entry", Request, Session)


class MemoryDirectory:
    """The dictionaries themselves: reading from them, as `Directory` has it, and writing."""

    def __init__(self) -> None:
        self.rosters: dict[str | None, Roster] = {}
        self.away: dict[User, float] = {}
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
        self.rosters.setdefault(peer.user.org, Roster()).put(peer, place)
        self.away.pop(peer.user, None)
        if peer.lapses_at is not None:
            self.away[peer.user] = peer.lapses_at

    def remove_peer(self, user: User) -> Peer | None:
        """Forget a peer and return it; None if there was none."""
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

    def _is_involved(self, user: User) -> bool:
        return user in self._sessions_by_user or user in self._requests_by_user

    def _leave(self, session_id: str, staying: Container[User]) -> list[User]:
        before = self.sessions.get(session_id)
        gone = [] if before is None else [user for user in before.participants if user not in staying]
        _unlist(self._sessions_by_user, gone, session_id)
        return gone


class MemoryPeers:
    """See `PeerRecords`."""

    def __init__(self, directory: MemoryDirectory) -> None:
        self._directory = directory
        self._holders: dict[User, Holder] = {}

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        """See `PeerRecords`."""
        previous = self._holders.get(user)
        self._holders[user] = holder
        return previous

    async def release(self, user: User, holder: Holder) -> bool:
        """See `PeerRecords`."""
        if self._holders.get(user) != holder:
            return False
        del self._holders[user]
        return True

    async def find(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        return self._directory.peer(user)

    async def register(self, peer: Peer, holder: Holder) -> bool:
        """See `PeerRecords`."""
        if self._holders.get(peer.user) != holder:
            return False
        await self.put(peer)
        return True

    async def put(self, peer: Peer) -> None:
        """See `PeerRecords`."""
        self._directory.put_peer(peer, self._directory.next_place(peer.user.org))

    async def put_released(self, peer: Peer) -> bool:
        """See `PeerRecords`."""
        if peer.user in self._holders:
            return False
        await self.put(peer)
        return True

    async def remove_released(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        return None if user in self._holders else self._directory.remove_peer(user)

    async def remove(self, user: User) -> Peer | None:
        """See `PeerRecords`."""
        return self._directory.remove_peer(user)

    async def take_lapsed(self, now: float) -> list[Peer]:
        """See `PeerRecords`."""
        taken = [self._directory.remove_peer(user) for user in self._directory.lapsed(now)]
        return [peer for peer in taken if peer is not None]


class MemoryRequests:
    """See `RequestRecords`."""

    def __init__(self, directory: MemoryDirectory) -> None:
        self._directory = directory

    async def add(self, request: Request) -> None:
        """See `RequestRecords`."""
        self._directory.put_request(request)

    async def take(self, request_id: str) -> Request | None:
        """See `RequestRecords`."""
        return self._directory.remove_request(request_id)

    async def take_expired(self, now: float) -> list[Request]:
        """See `RequestRecords`."""
        expired = self._directory.expired(now)
        for request in expired:
            self._directory.remove_request(request.id)
        return expired


class MemorySentLog:
    """See `SentLog`. In two generations, so that nothing has to be looked for to make room."""

    def __init__(self) -> None:
        self._young: dict[str, Sent] = {}
        self._old: dict[str, Sent] = {}

    def find(self, message_id: str, now: float) -> Sent | None:
        """See `SentLog`."""
        sent = self._young.get(message_id) or self._old.get(message_id)
        return sent if sent is not None and now - sent.at < SENT_SECONDS else None

    def add(self, message_id: str, sent: Sent) -> None:
        """See `SentLog`."""
        if len(self._young) == SENT_MESSAGES:
            self._old, self._young = self._young, {}
        self._young[message_id] = sent


class MemorySent:
    """See `SentMessages`."""

    def __init__(self) -> None:
        self._logs: dict[str, dict[User, MemorySentLog]] = {}

    def log(self, session_id: str, sender: User) -> MemorySentLog:
        """See `SentMessages`."""
        try:
            return self._logs[session_id][sender]
        except KeyError:
            return self._logs.setdefault(session_id, {}).setdefault(sender, MemorySentLog())

    def forget(self, session_id: str, senders: Iterable[User]) -> None:
        """Forget what these sent in a session."""
        logs = self._logs.get(session_id, {})
        for sender in senders:
            logs.pop(sender, None)
        if not logs:
            self._logs.pop(session_id, None)


class MemorySessions:
    """See `SessionRecords`."""

    def __init__(self, directory: MemoryDirectory, sent: MemorySent) -> None:
        self._directory = directory
        self._sent = sent

    async def put(self, session: Session) -> None:
        """See `SessionRecords`."""
        self._sent.forget(session.id, self._directory.put_session(session))

    async def swap(self, before: Session, after: Session | None) -> bool:
        """See `SessionRecords`."""
        if self._directory.sessions.get(before.id) != before:
            return False
        if after is None:
            self._sent.forget(before.id, self._directory.remove_session(before.id))
        else:
            await self.put(after)
        return True


class MemoryRevocations:
    """See `Revocations`. What has expired is forgotten when the next one is added."""

    def __init__(self) -> None:
        self._by_key: dict[str | User | None, Revocation] = {}

    async def add(self, revocation: Revocation, now: float) -> None:
        """See `Revocations`."""
        self._by_key = {key: kept for key, kept in self._by_key.items() if kept.expires_at > now}
        key = revocation.user or revocation.token_id
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

    bus = None

    def __init__(self) -> None:
        self.directory = MemoryDirectory()
        self.peers = MemoryPeers(self.directory)
        self.requests = MemoryRequests(self.directory)
        self.sent = MemorySent()
        self.sessions = MemorySessions(self.directory, self.sent)
        self.revocations = MemoryRevocations()

    async def run(self, started: Callable[[], None]) -> None:
        """See `Stores`; memory has no work."""
        started()

    async def ping(self) -> None:
        """See `Stores`; memory always answers."""

    async def close(self) -> None:
        """See `Stores`; memory has nothing to let go of."""


def _unlist(index: dict[User, dict[str, _Entry]], users: Iterable[User], key: str) -> None:
    for user in users:
        entries = index.get(user, {})
        entries.pop(key, None)
        if not entries:
            index.pop(user, None)
