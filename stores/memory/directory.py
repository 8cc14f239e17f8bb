"""The directory in memory: what one node knows of peers, requests and sessions."""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator
from itertools import chain
from typing import TypeVar

from stores.memory.peer_index import PeerIndex
from stores.model import Peer, Request, Session, Sizes, User

_Entry = TypeVar("_Entry", Request, Session)


class MemoryDirectory:
    """The dictionaries themselves: reading from them, as `Directory` has it, and writing."""

    def __init__(self) -> None:
        self.indexes: dict[str | None, PeerIndex] = {}
        self.away: dict[User, float] = {}
        self._held: defaultdict[str, dict[User, Peer]] = defaultdict(dict)
        self.requests: dict[str, Request] = {}
        self.sessions: dict[str, Session] = {}
        self._requests_by_user: dict[User, dict[str, Request]] = {}
        self._sessions_by_user: dict[User, dict[str, Session]] = {}
        self._may_be_orphaned: set[User] = set()

    def peer(self, user: User) -> Peer | None:
        index = self.indexes.get(user.org)
        return None if index is None else index.peers.get(user)

    def peers(self, org: str | None) -> Collection[Peer]:
        index = self.indexes.get(org)
        return () if index is None else index.peers.values()

    def listed(self, org: str | None, *, after: int = 0, name: str = "") -> Iterator[Peer]:
        index = self.indexes.get(org)
        return iter(()) if index is None else index.listed(after, name)

    def everybody(self) -> Iterator[Peer]:
        return chain.from_iterable(reversed(index.peers.values()) for index in self.indexes.values())

    def place(self, user: User) -> int:
        index = self.indexes.get(user.org)
        return 0 if index is None else index.place(user)

    def request(self, request_id: str) -> Request | None:
        return self.requests.get(request_id)

    def requests_of(self, user: User) -> Collection[Request]:
        return list(self._requests_by_user.get(user, {}).values())

    def session(self, session_id: str) -> Session | None:
        return self.sessions.get(session_id)

    def sessions_of(self, user: User) -> Collection[Session]:
        return list(self._sessions_by_user.get(user, {}).values())

    def all_sessions(self) -> Iterator[Session]:
        return reversed(self.sessions.values())

    def orphaned(self) -> Collection[User]:
        """See `Directory`. Checks only users who may have become orphaned since the last call, or were then."""
        self._may_be_orphaned = {
            user for user in self._may_be_orphaned if self._is_involved(user) and not self.peer(user)
        }
        return self._may_be_orphaned

    def sizes(self) -> Sizes:
        return Sizes(sum(len(index.peers) for index in self.indexes.values()), len(self.requests), len(self.sessions))

    def next_place(self, org: str | None) -> int:
        """Return the place for the next peer to come. Each org counts its own: a place tells nothing of others."""
        index = self.indexes.get(org)
        return 1 if index is None else index.latest + 1

    def put_peer(self, peer: Peer, place: int) -> None:
        """Add or replace a peer; a new one gets this place, higher than any before."""
        self._unhold(peer.user)
        self.indexes.setdefault(peer.user.org, PeerIndex()).put(peer, place)
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
            self._may_be_orphaned.add(user)
        index = self.indexes.get(user.org)
        if index is None:
            return None
        peer = index.remove(user)
        if not index.peers:
            del self.indexes[user.org]
        return peer

    def lapsed(self, now: float) -> list[User]:
        """Return the users whose time to come back is up."""
        return [user for user, lapses_at in self.away.items() if lapses_at <= now]

    def put_request(self, request: Request) -> None:
        """Add a request."""
        self.requests[request.id] = request
        for user in (request.requester, request.target):
            self._may_be_orphaned.add(user)
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
        self._may_be_orphaned.update(session.participants)
        for user in session.participants:
            self._sessions_by_user.setdefault(user, {})[session.id] = session
        return gone

    def remove_session(self, session_id: str) -> list[User]:
        """Remove a session; return who was in it."""
        gone = self._leave(session_id, ())
        self.sessions.pop(session_id, None)
        return gone

    def held_by(self, node: str) -> Collection[Peer]:
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


def _unlist(index: dict[User, dict[str, _Entry]], users: Iterable[User], key: str) -> None:
    for user in users:
        entries = index.get(user, {})
        entries.pop(key, None)
        if not entries:
            index.pop(user, None)
