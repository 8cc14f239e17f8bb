"""What follows here from what other nodes did, and from what the store says of this one."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from app.delivery.endpoint import Endpoint
from app.delivery.hub import Hub
from app.delivery.presence import Presence
from handlers.domain import disconnects
from handlers.ports import Services
from schemas.errors import CloseCode
from stores.model import Holder, Peer, Revocation, User
from stores.protocols import Listener, StoreUnreachableError


class NodeListener(Listener):
    """See `Listener`. Work that waits for the store is run by `spawn`; `recheck` looks for tokens revoked meanwhile."""

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        hub: Hub,
        presence: Presence,
        services: Services,
        *,
        spawn: Callable[[Awaitable[None]], None],
        recheck: Callable[[], Awaitable[None]],
    ) -> None:
        self._endpoints = endpoints
        self._hub = hub
        self._presence = presence
        self._services = services
        self._spawn = spawn
        self._recheck = recheck
        self._orphans: set[User] = set()
        self._suspects: set[User] = set()

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        if after is not None:
            if before is None or before.looks != after.looks:
                self._presence.announce(after)
        elif before is not None:
            if before.status != "offline":
                self._presence.announce(replace(before, status="offline"))
            if before.user not in self._presence.links:
                self._presence.forget(before.user)

    def superseded(self, user: User, holder: Holder) -> None:
        endpoint = self._endpoints.get(holder.socket)
        if endpoint is not None:
            self._hub.lost(user, endpoint)
            endpoint.supersede()

    def revoked(self, revocation: Revocation) -> None:
        self._spawn(self._enforce(revocation))

    def orphaned(self, peer: Peer) -> None:
        if peer.user not in self._orphans:
            self._orphans.add(peer.user)
            self._spawn(self._abandon(peer))

    def resynced(self) -> None:
        self._spawn(self._recheck())

    def reconcile(self) -> None:
        """Make sockets and peers agree, where both differed the last time already.

        A registered socket that the store does not know as its user's starts over. A peer whose socket, by what the
        store says, is here and is not, has lost its connection.
        """
        suspects = {user for user, link in self._presence.links.items() if not self._is_known(user, link.endpoint)}
        ghosts = {
            peer.user: peer
            for peer in self._services.stores.directory.held_by(self._services.stores.node)
            if self._is_ghost(peer)
        }
        for user in suspects & self._suspects:
            self._clean_up(user, self._presence.links[user].endpoint)
        for user in ghosts.keys() & self._suspects:
            self.orphaned(ghosts[user])
        self._suspects = suspects | ghosts.keys()

    def _clean_up(self, user: User, endpoint: Endpoint) -> None:
        """Close a socket that is not its user's: another one is, or the store has lost it."""
        peer = self._services.stores.directory.peer(user)
        if peer is not None and peer.lapses_at is None:
            self.superseded(user, endpoint.holder)
        else:
            endpoint.close(CloseCode.RESTART, "The store has lost this connection; reconnect")

    def _is_known(self, user: User, endpoint: Endpoint) -> bool:
        peer = self._services.stores.directory.peer(user)
        return peer is not None and peer.holder == endpoint.holder and peer.lapses_at is None

    def _is_ghost(self, peer: Peer) -> bool:
        return peer.holder is not None and peer.holder.socket not in self._endpoints and peer.lapses_at is None

    async def _enforce(self, revocation: Revocation) -> None:
        await disconnects.enforce(revocation, self._services)

    async def _abandon(self, peer: Peer) -> None:
        """Have a peer count as dropped; if the store is away, it is reported again."""
        try:
            with suppress(StoreUnreachableError):
                await disconnects.abandon(peer, self._services)
        finally:
            self._orphans.discard(peer.user)
