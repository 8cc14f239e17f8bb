"""The hub: from an event to the sockets and the logs of those who get it (see `handlers.ports.Delivery`).

What goes to a socket of version 1 of this node is written to its outbox at once. Everything else is appended to the
receiver's log, and comes back from there to the socket, wherever that is.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from msgspec import Raw

from app.delivery.endpoint import Endpoint
from app.delivery.link import Link
from app.delivery.presence import Presence
from app.delivery.resumption import Resumption
from app.wire.codec import encode
from handlers.ports import Receipt, Socket
from schemas.auth import Resume
from schemas.capabilities import Spoken
from schemas.errors import CloseCode
from schemas.events import ServerEvent
from stores.log import Appended, Event, Log, MessageKey, Outcome
from stores.model import Holder, Peer, Revocation, User
from stores.protocols import Directory


class Hub:
    """See `handlers.ports.Delivery`. `on_overflow` is told of version 1 users for whom more came than is kept."""

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        log: Log,
        presence: Presence,
        directory: Directory,
        resumption: Resumption,
        *,
        on_overflow: Callable[[User], None],
        node: str,
    ) -> None:
        self._endpoints = endpoints
        self._log = log
        self._presence = presence
        self._directory = directory
        self._resumption = resumption
        self._on_overflow = on_overflow
        self._node = node
        self._links = presence.links
        self.delivered = 0
        self.kept = 0
        self.dropped = 0

    def send(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None = None,
        *,
        names: Collection[User] = (),
        ref: Raw | None = None,
        receipt: Receipt | None = None,
        key: MessageKey | None = None,
        refused: Callable[[User], None] | None = None,
    ) -> None:
        """See `Delivery`. What is the same for all and needs no receipt takes the short way, as most does."""
        if event.has_variants or ref is not None or receipt is not None or names:
            self._send_each(users, event, about, names=names, ref=ref, receipt=receipt, key=key, refused=refused)
            return
        payload = encode(event)
        links = self._links
        pending = self._presence.pending
        for user in users:
            if user == about:
                continue
            link = links.get(user)
            if link is None or link.pending:
                self._append([Event(user, payload, event.kept, about)], refused=refused)
            else:
                if pending and about is not None:
                    self._presence.settle(about, link)
                link.outbox.put(payload)
                self.delivered += 1

    async def admit(self, user: User, socket: Socket) -> str | None:
        self._presence.restart(user)
        return await self._resumption.begin(user, socket)

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        return await self._resumption.recover(user, resume, socket)

    def handled(self, user: User, offset: int) -> None:
        self._resumption.handled(user, offset)

    async def attach(self, user: User, socket: Socket) -> None:
        endpoint = self._endpoints.get(socket.holder.socket)
        link = self._links.get(user)
        if endpoint is None or (link is not None and link.outbox is endpoint.outbox):
            return
        new = Link(user, endpoint, self._presence, self._log)
        if not await self._log.follow(user, socket.holder, self._resumption.position(socket), new):
            endpoint.close(CloseCode.RESTART, "This connection has missed events; reconnect")
        elif self._endpoints.get(socket.holder.socket) is endpoint:
            self._presence.add(new)
        else:
            self._log.unfollow(user)

    def detach(self, user: User) -> None:
        if self._links.get(user) is not None:
            self._presence.remove(user)
            self._log.unfollow(user)

    def lost(self, user: User, endpoint: Endpoint) -> None:
        """Keep what comes from now on, if this is the socket that it would go to."""
        link = self._links.get(user)
        if link is not None and link.outbox is endpoint.outbox:
            self.detach(user)

    def forget(self, user: User) -> None:
        self._presence.forget(user)
        self._log.forget(user)

    def supersede(self, holder: Holder) -> None:
        """See `Delivery`. The socket of another node is told by that one, to which the store passes it on."""
        endpoint = self._endpoints.get(holder.socket)
        if endpoint is not None and holder.node == self._node:
            endpoint.supersede()

    def revoke(self, revocation: Revocation) -> list[User]:
        cut = [endpoint.revoke(revocation) for endpoint in list(self._endpoints.values())]
        return [user for user in cut if user is not None]

    def announce(self, peer: Peer) -> None:
        self._presence.announce(peer)

    def listed(self, user: User, peers: Sequence[User]) -> None:
        self._presence.listed(user, peers)

    def _send_each(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None,
        *,
        names: Collection[User],
        ref: Raw | None,
        receipt: Receipt | None,
        key: MessageKey | None,
        refused: Callable[[User], None] | None,
    ) -> None:
        """Send to each user the variant that it speaks, encoded once."""
        variants: dict[Spoken, bytes] = {}
        events: list[Event] = []
        for user in users:
            if user == about:
                continue
            link = self._links.get(user)
            spoken = self._spoken(user, link)
            if spoken is None:
                self.dropped += 1
                continue
            payload = variants.get(spoken)
            if payload is None:
                payload = variants[spoken] = _encode_variant(event, spoken)
            if not payload:
                continue
            made = Event(user, payload, event.kept, about, tuple(names), event.about_request, ref)
            if link is None or link.pending or key is not None:
                events.append(made)
            else:
                link.take(0, made)
                self._note(receipt, refused, user, DELIVERED)
        if events:
            self._append(events, key, receipt, refused)

    def _spoken(self, user: User, link: Link | None) -> Spoken | None:
        """Return what a user speaks who is here, elsewhere or away; None if there is no such peer."""
        if link is not None:
            return link.spoken
        peer = self._directory.peer(user)
        return None if peer is None else peer.spoken

    def _append(
        self,
        events: Sequence[Event],
        key: MessageKey | None = None,
        receipt: Receipt | None = None,
        refused: Callable[[User], None] | None = None,
    ) -> None:
        if receipt is not None:
            receipt.add_pending(len(events))
        self._log.append(events, key, partial(self._concluded, receipt, refused))

    def _concluded(
        self, receipt: Receipt | None, refused: Callable[[User], None] | None, user: User, appended: Appended
    ) -> None:
        self._note(receipt, refused, user, appended)
        if receipt is not None:
            receipt.resolve()

    def _note(
        self, receipt: Receipt | None, refused: Callable[[User], None] | None, user: User, appended: Appended
    ) -> None:
        """Count what became of an event, and tell those who are to know."""
        outcome = appended.outcome
        self.delivered += outcome is Outcome.DELIVERED
        self.kept += outcome is Outcome.QUEUED
        self.dropped += outcome is not Outcome.DELIVERED and outcome is not Outcome.QUEUED
        if receipt is not None:
            receipt.note(user.id, appended)
        if outcome is Outcome.OVERFLOWED:
            self._on_overflow(user)
        elif outcome is Outcome.FULL and refused is not None:
            refused(user)


DELIVERED = Appended(Outcome.DELIVERED)


def _encode_variant(event: ServerEvent, spoken: Spoken) -> bytes:
    variant = event.variant(spoken)
    return b"" if variant is None else encode(variant)
