"""The hub: from a user to its socket, or to its mail while it is away."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Raw

from app.delivery.mail import Mail, Mailbox
from app.delivery.outbox import Outbox
from app.delivery.presence import Link, Presence
from app.wire.codec import encode, with_offset, with_ref
from handlers.ports import Ids, Receipt, Socket
from schemas.auth import Resume
from schemas.capabilities import VERSION_1, Spoken
from schemas.events import ServerEvent
from stores.base import Directory, Holder, Peer, Revocation, User


class Endpoint(Protocol):
    """A live socket of this node."""

    outbox: Outbox
    spoken: Spoken

    @property
    def address(self) -> bytes:
        """Salted hash of where it comes from."""
        ...

    def supersede(self) -> None:
        """Tell the client that another socket took its place, and close."""
        ...

    def revoke(self, revocation: Revocation) -> User | None:
        """Tell the client that its token was revoked, and close, if it was; return whose socket that was."""
        ...


class Hub:
    """See `handlers.ports.Delivery`."""

    def __init__(
        self, endpoints: Mapping[int, Endpoint], mail: Mail, presence: Presence, directory: Directory, ids: Ids
    ) -> None:
        self._endpoints = endpoints
        self._mail = mail
        self._presence = presence
        self._directory = directory
        self._ids = ids
        self._links = presence.links
        self._boxes = mail.boxes
        self.resumes: Counter[str] = Counter(recovered=0, refused=0)
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
    ) -> None:
        """See `Delivery`. What is the same for all and needs no receipt takes the short way, as most does."""
        if event.has_variants or ref is not None or receipt is not None or names:
            self._send_each(users, event, about, names=names, ref=ref, receipt=receipt or Receipt())
            return
        payload = encode(event)
        links = self._links
        pending = self._presence.pending
        for user in users:
            if user == about:
                continue
            link = links.get(user)
            if link is None:
                self._keep(user, payload)
            elif link.box is not None:
                self._hand_over(link, payload, about)
            else:
                if pending and about is not None:
                    self._presence.settle(about, link)
                link.outbox.put(payload)
                self.delivered += 1

    async def admit(self, user: User, socket: Socket) -> str | None:
        """See `Delivery`."""
        old, spoken = self._boxes.get(user), socket.spoken
        self._presence.restart(user)
        if "resume" in spoken:
            return self._new_token(self._mail.open(user, spoken), socket)
        if old is not None and old.is_numbered:
            self._mail.take(user)
        if self._directory.peer(user) is not None:
            self._mail.open(user, spoken)
        return None

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        """See `Delivery`."""
        box = self._boxes.get(user)
        if box is None or not box.can_resume(resume):
            self.resumes["refused"] += 1
            return None
        self.resumes["recovered"] += 1
        box.sent, box.spoken = resume.offset, socket.spoken
        self._mail.handled(box, resume.offset)
        return self._new_token(box, socket, resume.token)

    def confirm(self, user: User) -> None:
        """See `Delivery`."""
        box = self._boxes.get(user)
        if box is not None:
            box.tokens = box.tokens[-1:]

    def handled(self, user: User, offset: int) -> None:
        """See `Delivery`."""
        box = self._boxes.get(user)
        sight = self._presence.sight(user)
        if box is not None and box.is_numbered and sight is not None:
            self._mail.handled(box, offset)
            sight.handled(offset)

    def pinged(self, user: User) -> None:
        """Take note that the user's client is asked for a sign of life."""
        sight = self._presence.sight(user)
        if sight is not None:
            sight.ping()

    def ponged(self, user: User) -> None:
        """Take note that it gave one: what was sent before it was asked has arrived."""
        sight = self._presence.sight(user)
        if sight is not None:
            sight.pong()

    def attach(self, user: User, socket: Socket) -> None:
        """Deliver what was kept, then what comes; if the socket is gone already, keep on keeping."""
        endpoint = self._endpoints.get(socket.holder.socket)
        if endpoint is None:
            self._keep_for(user, socket.spoken)
            return
        box = self._boxes.get(user)
        numbered = box if box is not None and box.is_numbered else None
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
        box = self._boxes.get(user)
        if box is not None and box.is_numbered and box.socket in self._endpoints:
            self._mail.restart(box)
        else:
            self._mail.take(user)

    def supersede(self, holder: Holder) -> None:
        """Close the socket that another one took the place of."""
        endpoint = self._endpoints.get(holder.socket)
        if endpoint is not None:
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

    def _send_each(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None,
        *,
        names: Collection[User],
        ref: Raw | None,
        receipt: Receipt,
    ) -> None:
        """Send to each user the variant that it speaks, encoded once, and write down what became of it."""
        variants: dict[Spoken, bytes] = {}
        for user in users:
            if user == about:
                continue
            link = self._links.get(user)
            receiver = link or self._boxes.get(user)
            if receiver is None:
                self.dropped += 1
                continue
            payload = variants.get(receiver.spoken)
            if payload is None:
                payload = variants[receiver.spoken] = _encode_variant(event, receiver.spoken)
            if not payload:
                continue
            if link is not None:
                self._settle(names, link)
                self._hand_over(link, payload, about, ref)
                receipt.delivered.append(user.id)
            elif self._keep(user, payload):
                receipt.queued.append(user.id)

    def _hand_over(self, link: Link, payload: bytes, about: User | None, ref: Raw | None = None) -> None:
        """Send a frame over a user's socket, numbered and kept if it can resume."""
        if about is not None and self._presence.pending:
            self._presence.settle(about, link)
        box = link.box
        frame = payload if box is None else self._mail.number(box, payload)
        link.outbox.put(frame if ref is None else _referring(payload, ref, box))
        self.delivered += 1

    def _keep(self, user: User, payload: bytes) -> bool:
        """Keep a frame for a user who is away; False if there is no room, or nobody to keep it for."""
        box = self._boxes.get(user)
        is_kept = box is not None and self._mail.keep(box, payload)
        self.kept += is_kept
        self.dropped += not is_kept
        return is_kept

    def _settle(self, names: Collection[User], link: Link) -> None:
        for peer in names:
            self._presence.settle(peer, link)

    def _keep_for(self, user: User, spoken: Spoken) -> None:
        box = self._boxes.get(user)
        if box is None:
            self._mail.open(user, spoken)
        elif box.is_live:
            box.is_live, box.sent = False, box.last

    def _new_token(self, box: Mailbox, socket: Socket, *used: str) -> str:
        token = self._ids("res_")
        box.socket, box.tokens = socket.holder.socket, (*used, token)
        return token


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
