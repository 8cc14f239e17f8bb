"""The hub: from a user to its socket, or to its mail while it is away."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Raw

from app.delivery.cluster import Cluster
from app.delivery.endpoint import Endpoint
from app.delivery.mail import Mail, Mailbox
from app.delivery.marks import mark_of
from app.delivery.presence import Link, Presence
from app.delivery.resumption import Resumption
from app.wire.codec import encode, with_offset, with_ref
from handlers.ports import MessageKey, Receipt, Socket
from schemas.auth import Resume
from schemas.capabilities import VERSION_1, Spoken
from schemas.errors import CloseCode
from schemas.events import ServerEvent
from stores.base import Directory, Holder, Peer, Revocation, User
from stores.bus import Mark


class Hub:
    """See `handlers.ports.Delivery`."""

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        mail: Mail,
        presence: Presence,
        directory: Directory,
        resumption: Resumption,
        *,
        cluster: Cluster | None = None,
    ) -> None:
        self._cluster = cluster
        self._held = {} if cluster is None else cluster.relay.held
        self._endpoints = endpoints
        self._mail = mail
        self._presence = presence
        self._directory = directory
        self._resumption = resumption
        self._links = presence.links
        self._boxes = mail.boxes
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
    ) -> None:
        """See `Delivery`. What is the same for all and needs no receipt takes the short way, as most does."""
        if event.has_variants or ref is not None or receipt is not None or names:
            self._send_each(users, event, about, names=names, ref=ref, receipt=receipt or Receipt(), key=key)
            return
        payload = encode(event)
        links = self._links
        pending, held = self._presence.pending, self._held
        for user in users:
            if user == about:
                continue
            link = links.get(user)
            if link is None or (held and user in held):
                self.keep(user, payload, about)
            elif link.box is not None:
                self.hand_over(link, payload, about)
            else:
                if pending and about is not None:
                    self._presence.settle(about, link)
                link.outbox.put(payload)
                self.delivered += 1

    async def admit(self, user: User, socket: Socket) -> str | None:
        """See `Delivery`."""
        if not self.is_home(user):
            return None
        self._presence.restart(user)
        token = self._resumption.begin(user, socket) if "resume" in socket.spoken else None
        if token is None:
            self._open_plainly(user, socket)
        if self._cluster is not None:
            self._cluster.relay.catch_up(user)
        return token

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        """See `Delivery`."""
        return await self._resumption.recover(user, resume, socket)

    def handled(self, user: User, offset: int) -> None:
        """See `Delivery`."""
        self._resumption.handled(user, offset)

    def attach(self, user: User, socket: Socket) -> None:
        """Deliver what was kept, then what comes; if the socket is gone already, keep on keeping.

        A socket that was let in while this node was not the user's home, by what it knew, has to come again.
        """
        if not self.is_home(user):
            return
        endpoint = self._endpoints.get(socket.holder.socket)
        if endpoint is None:
            self._keep_for(user, socket.spoken)
            return
        box = self._boxes.get(user)
        numbered = box if box is not None and box.is_numbered else None
        if numbered is None and "resume" in endpoint.spoken:
            endpoint.close(CloseCode.RESTART, "This node lost and regained the store; connect again")
            return
        was_live = numbered is not None and numbered.is_live
        self._presence.add(user, endpoint.outbox, endpoint.address, endpoint.spoken, numbered)
        kept = self._mail.take(user) if numbered is None else _go_live(numbered)
        endpoint.outbox.grant(sum(map(len, kept)))
        for payload in kept:
            endpoint.outbox.put(payload)
        if numbered is not None and not was_live:
            self._presence.catch_up(user, numbered.sent)

    def detach(self, user: User) -> None:
        """Keep what comes from now on."""
        link = self._links.get(user)
        self._presence.remove(user)
        self._keep_for(user, VERSION_1 if link is None else link.spoken)

    def lost(self, user: User, endpoint: Endpoint) -> None:
        """Keep what comes from now on, if this is the socket that it would go to."""
        link = self._links.get(user)
        if link is not None and link.outbox is endpoint.outbox:
            self.detach(user)

    def forget(self, user: User) -> None:
        """Drop what was kept and keep nothing more; a socket that is still to register starts with nothing."""
        self._presence.forget(user)
        if self._resumption.restart(user):
            return
        self._mail.take(user)
        cluster = self._cluster
        if cluster is not None:
            cluster.ledger.forget(user)
            cluster.recognition.forget(user)
            cluster.relay.catch_up(user)

    def supersede(self, holder: Holder) -> None:
        """Close the socket that another one took the place of; one of another node closes as the user's home moves."""
        endpoint = self._endpoints.get(holder.socket)
        if endpoint is not None and (self._cluster is None or holder.node == self._cluster.relay.node):
            endpoint.supersede()

    def revoke(self, revocation: Revocation) -> list[User]:
        """Close the sockets that a revoked token let in; return whose they were."""
        cut = [endpoint.revoke(revocation) for endpoint in list(self._endpoints.values())]
        return [user for user in cut if user is not None]

    def announce(self, peer: Peer) -> None:
        """Tell those who are to know."""
        self._presence.announce(peer)

    def listed(self, user: User, peers: Sequence[User]) -> None:
        """Note which peers a user was shown."""
        self._presence.listed(user, peers)

    def is_home(self, user: User) -> bool:
        """Whether what comes for the user is for this node to keep; not if another socket, elsewhere, is its by now."""
        return self._cluster is None or self._cluster.relay.elsewhere(user) is None

    def keep(
        self,
        user: User,
        payload: bytes,
        about: User | None = None,
        *,
        names: Collection[User] = (),
        receipt: Receipt | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Keep a frame for a user who is away from here, or send it on to where its home is."""
        box, cluster = self._boxes.get(user), self._cluster
        if cluster is not None and (user in self._held or (box.is_held if box else not self.is_home(user))):
            relay = cluster.relay
            relay.send(relay.message(user, payload, about=about, names=names, receipt=receipt, mark=mark))
        else:
            self.keep_here(user, payload, receipt=receipt, mark=mark)

    def keep_here(
        self, user: User, payload: bytes, *, receipt: Receipt | None = None, mark: Mark | None = None
    ) -> None:
        """Keep a frame for a user who is away from here, if it is to be kept for."""
        box, cluster = self._boxes.get(user), self._cluster
        is_kept = box is not None and self._mail.keep(box, payload, mark)
        self.kept += is_kept
        self.dropped += not is_kept
        if is_kept and receipt is not None:
            receipt.queued += (user.id,)
        if box is not None and box.is_numbered and cluster is not None:
            if is_kept:
                cluster.ledger.write(box, payload, box.frames[-1], receipt=receipt, mark=mark)
            else:
                cluster.ledger.forget(user)

    def hand_over(
        self,
        link: Link,
        payload: bytes,
        about: User | None,
        *,
        names: Collection[User] = (),
        ref: Raw | None = None,
        receipt: Receipt | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Send a frame over a user's socket, numbered and kept if it can resume."""
        if self._presence.pending:
            self._settle(names if about is None else (about, *names), link)
        box = link.box
        frame = payload if box is None else self._mail.number(box, payload)
        link.outbox.put(frame if ref is None else _referring(payload, ref, box))
        self.delivered += 1
        if receipt is not None:
            receipt.delivered += (link.user.id,)
        if box is not None and self._cluster is not None:
            self._cluster.ledger.write(box, payload, frame, receipt=receipt, mark=mark, outbox=link.outbox)

    def _send_each(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None,
        *,
        names: Collection[User],
        ref: Raw | None,
        receipt: Receipt,
        key: MessageKey | None,
    ) -> None:
        """Send to each user the variant that it speaks, encoded once, and write down what became of it."""
        mark = None if key is None or self._cluster is None else mark_of(key)
        variants: dict[Spoken, bytes] = {}
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
            if not payload or (mark is not None and self._was_sent(user, mark, receipt)):
                continue
            if link is None or user in self._held:
                self.keep(user, payload, about, names=names, receipt=receipt, mark=mark)
            else:
                self.hand_over(link, payload, about, names=names, ref=ref, receipt=receipt, mark=mark)

    def _spoken(self, user: User, link: Link | None) -> Spoken | None:
        """Return what a user speaks that is here, is away from here, or is elsewhere; None if it is nowhere."""
        if link is not None:
            return link.spoken
        box = self._boxes.get(user)
        if box is not None:
            return box.spoken
        if self._cluster is None or self._cluster.relay.elsewhere(user) is None:
            return None
        peer = self._directory.peer(user)
        return None if peer is None else peer.spoken

    def _was_sent(self, user: User, mark: Mark, receipt: Receipt) -> bool:
        """Whether a message was sent to a user of this node before, which is noted in the receipt."""
        link, box, cluster = self._links.get(user), self._boxes.get(user), self._cluster
        if cluster is None or user in self._held or (link is None and (box is None or box.is_held)):
            return False  # it is seen where, or when, it is delivered
        if not cluster.recognition.was_sent(user, mark, receipt):
            return False
        receipt.note(user.id, is_queued=link is None)
        if box is not None:
            cluster.ledger.await_first(box, mark, receipt)
        return True

    def _open_plainly(self, user: User, socket: Socket) -> None:
        """Keep what comes for a user who cannot resume, if it is registered, until its socket is."""
        old = self._boxes.get(user)
        if self._cluster is not None:
            self._cluster.ledger.forget(user)
        if old is not None and (old.is_numbered or old.is_held):
            self._mail.take(user)
        if self._directory.peer(user) is not None:
            self._mail.open(user, socket.spoken)

    def _settle(self, names: Collection[User], link: Link) -> None:
        for peer in names:
            self._presence.settle(peer, link)

    def _keep_for(self, user: User, spoken: Spoken) -> None:
        if not self.is_home(user):
            return
        box = self._boxes.get(user)
        if box is None:
            self._mail.open(user, spoken)
        elif box.is_live:
            box.is_live, box.sent = False, box.last


def _go_live(box: Mailbox) -> list[bytes]:
    """Return what the box has to deliver, once; from now on it goes out as it comes."""
    kept = [] if box.is_live else box.after(box.sent)
    box.is_live = True
    return kept


def _referring(payload: bytes, ref: Raw, box: Mailbox | None) -> bytes:
    """Return the event as an answer. What is kept of it has no `ref`, which was for this socket only."""
    frame = with_ref(payload, ref)
    return frame if box is None else with_offset(frame, box.last)


def _encode_variant(event: ServerEvent, spoken: Spoken) -> bytes:
    variant = event.variant(spoken)
    return b"" if variant is None else encode(variant)
