"""The index of an org: its peers in the order of registration, to be looked up, paged through and searched by name."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress, repeat
from operator import contains

from stores.model import Peer, User


class PeerIndex:
    """The peers of one org. Those whom others may list also stand in a list, with their names beside, ready to search.

    A peer's place is a number that grows with each registration in the org and stays while the peer is there. `latest`
    is the highest place given so far.
    """

    def __init__(self) -> None:
        self.peers: dict[User, Peer] = {}
        self.latest = 0
        self._places: dict[User, int] = {}
        self._order: list[int] = []
        self._listed: list[Peer] = []
        self._names: list[str] = []

    def place(self, user: User) -> int:
        """Return the peer's place; 0 if it is not there."""
        return self._places.get(user, 0)

    def listed(self, after: int, name: str) -> Iterator[Peer]:
        """Return the peers to be listed beyond a place, in order, whose name has `name`, casefolded, as a part."""
        start = bisect_right(self._order, after)
        peers = self._listed[start:]
        return compress(peers, map(contains, self._names[start:], repeat(name))) if name else iter(peers)

    def put(self, peer: Peer, place: int) -> None:
        """Add or replace a peer; one that is there keeps its place, a new one gets this, higher than any before."""
        place = self._places.setdefault(peer.user, place)
        self.latest = max(self.latest, place)
        before = self.peers.get(peer.user)
        self.peers[peer.user] = peer
        at = bisect_left(self._order, place)
        if before is not None and before.is_listed:
            self._strike(at)
        if peer.is_listed:
            self._order.insert(at, place)
            self._listed.insert(at, peer)
            self._names.insert(at, peer.profile.display_name.casefold())

    def remove(self, user: User) -> Peer | None:
        """Take a peer out and return it; None if it is not there."""
        peer = self.peers.pop(user, None)
        if peer is not None:
            place = self._places.pop(user)
            if peer.is_listed:
                self._strike(bisect_left(self._order, place))
        return peer

    def _strike(self, at: int) -> None:
        del self._order[at], self._listed[at], self._names[at]
