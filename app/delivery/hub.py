"""The hub: from a user to its socket, or to its mail while it is away."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from app.delivery.mail import Mail
from app.delivery.outbox import Outbox
from app.delivery.presence import Presence
from app.wire.codec import encode
from handlers.ports import Socket
from schemas.events import ServerEvent
from schemas.peers import PeerEntry
from stores.base import Holder, Peer, User


class Endpoint(Protocol):
    """A live socket of this node."""

    outbox: Outbox

    @property
    def address(self) -> bytes:
        """Salted hash of where it comes from."""
        ...

    def supersede(self) -> None:
        """Tell the client that another socket took its place, and close."""
        ...


class Hub:
    """See `handlers.ports.Delivery`."""

    def __init__(self, endpoints: Mapping[int, Endpoint], mail: Mail, presence: Presence) -> None:
        self._endpoints = endpoints
        self._mail = mail
        self._presence = presence
        self._links = presence.links
        self.delivered = 0
        self.kept = 0

    def send(self, users: Iterable[User], event: ServerEvent, about: User | None = None) -> None:
        """Hand the event to each user's socket, or keep it for one who is away."""
        payload = encode(event)
        pending = self._presence.pending
        for user in users:
            if user == about:
                continue
            link = self._links.get(user)
            if link is not None:
                if pending and about is not None:
                    self._presence.settle(about, link)
                link.outbox.put(payload)
                self.delivered += 1
            elif self._mail.keep(user, payload):
                self.kept += 1

    def attach(self, user: User, socket: Socket) -> None:
        """Deliver what was kept, then what comes; if the socket is gone already, keep on keeping."""
        endpoint = self._endpoints.get(socket.holder.socket)
        if endpoint is None:
            self.detach(user)
            return
        self._presence.add(user, endpoint.outbox, endpoint.address)
        kept = self._mail.take(user)
        endpoint.outbox.grant(sum(map(len, kept)))
        for payload in kept:
            endpoint.outbox.put(payload)

    def detach(self, user: User) -> None:
        """Keep what comes from now on."""
        self._presence.remove(user)
        self._mail.open(user)

    def lost(self, user: User, endpoint: Endpoint) -> None:
        """Keep what comes from now on, if this is the socket that it would go to."""
        link = self._links.get(user)
        if link is not None and link.outbox is endpoint.outbox:
            self.detach(user)

    def forget(self, user: User) -> None:
        """Drop what was kept and keep nothing more."""
        self._presence.forget(user)
        self._mail.take(user)

    def supersede(self, holder: Holder) -> None:
        """Close the socket that another one took the place of."""
        endpoint = self._endpoints.get(holder.socket)
        if endpoint is not None:
            endpoint.supersede()

    def announce(self, peer: Peer) -> None:
        """Tell those who are to know."""
        self._presence.announce(peer)

    def listed(self, user: User, peers: list[PeerEntry]) -> None:
        """Note which peers a user was shown."""
        self._presence.listed(user, peers)
