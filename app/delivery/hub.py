"""The hub: from a user to its socket, or to its mail while it is away."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Raw
from msgspec.structs import replace

from app.delivery.mail import Mail, Mailbox
from app.delivery.nodes import Message, Nodes
from app.delivery.outbox import Outbox
from app.delivery.presence import Link, Presence
from app.wire.codec import encode, with_offset, with_ref, without_offset
from handlers.ports import Ids, Receipt, Socket
from schemas.auth import Resume
from schemas.capabilities import VERSION_1, Spoken
from schemas.errors import CloseCode
from schemas.events import ServerEvent
from stores.base import Directory, Holder, Peer, Revocation, User
from stores.bus import Box


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

    def close(self, code: CloseCode, reason: str) -> None:
        """Close; for the sessions this is a drop."""
        ...


class Hub:
    """See `handlers.ports.Delivery`."""

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        mail: Mail,
        presence: Presence,
        directory: Directory,
        ids: Ids,
        *,
        nodes: Nodes | None = None,
    ) -> None:
        self._nodes = nodes
        self._early: dict[User, list[tuple[Message, Receipt | None]]] = {}
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
        mark: str = "",
    ) -> None:
        """See `Delivery`. What is the same for all and needs no receipt takes the short way, as most does."""
        if event.has_variants or ref is not None or receipt is not None or names:
            self._send_each(users, event, about, names=names, ref=ref, receipt=receipt or Receipt(), mark=mark)
            return
        payload = encode(event)
        links = self._links
        pending = self._presence.pending
        for user in users:
            if user == about:
                continue
            link = links.get(user)
            if link is None:
                self._keep(user, payload, about)
            elif link.box is not None:
                self._hand_over(link, payload, about)
            else:
                if pending and about is not None:
                    self._presence.settle(about, link)
                link.outbox.put(payload)
                self.delivered += 1

    async def admit(self, user: User, socket: Socket) -> str | None:
        """See `Delivery`."""
        if not self._is_home(user):
            return None
        old, spoken = self._boxes.get(user), socket.spoken
        self._early.pop(user, None)
        self._presence.restart(user)
        if "resume" in spoken:
            token = self._new_token(self._mail.open(user, spoken), socket)
            self._write_tokens(user, is_new=True)
            return token
        if self._nodes is not None:
            self._nodes.bus.forget(user)
        if old is not None and old.is_numbered:
            self._mail.take(user)
        if self._directory.peer(user) is not None:
            self._mail.open(user, spoken)
        return None

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        """See `Delivery`."""
        box, fresh = self._boxes.get(user), range(0)
        if self._nodes is not None and (box is None or not box.is_numbered):
            kept = await self._nodes.bus.load(user)
            if not self._is_home(user):
                return None
            box = self._mail.restore(user, socket.spoken, kept, resume.offset)
            fresh = range(box.sent + 1, box.last + 1)
            self._take_early(user)
            self._presence.recall(user)
        if box is None or not box.can_resume(resume):
            self.resumes["refused"] += 1
            return None
        self.resumes["recovered"] += 1
        box.sent, box.spoken = resume.offset, socket.spoken
        self._mail.handled(box, resume.offset)
        token = self._new_token(box, socket, resume.token)
        self._write(box, fresh)  # what was still to be written has the fence of the user's last socket
        return token

    def confirm(self, user: User) -> None:
        """See `Delivery`."""
        box = self._boxes.get(user)
        if box is not None and len(box.tokens) > 1:
            box.tokens = box.tokens[-1:]
            self._write_tokens(user)

    def handled(self, user: User, offset: int) -> None:
        """See `Delivery`."""
        box = self._boxes.get(user)
        sight = self._presence.sight(user)
        if box is not None and box.is_numbered and sight is not None:
            self._mail.handled(box, offset if self._nodes is None else min(offset, box.written))
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
        if not self._is_home(user):
            return
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
            self._write_tokens(user, is_new=True)
        else:
            self._mail.take(user)
            if self._nodes is not None:
                self._nodes.bus.forget(user)
                self._nodes.forget(user)

    def supersede(self, holder: Holder) -> None:
        """Close the socket that another one took the place of; one of another node closes as the user's home moves."""
        endpoint = self._endpoints.get(holder.socket)
        if endpoint is not None and (self._nodes is None or holder.node == self._nodes.bus.node):
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

    def deliver(self, message: Message, receipt: Receipt | None) -> None:
        """See `app.delivery.nodes.House`. What the client has handled over another node is not delivered again."""
        user = message.user
        link, box = self._links.get(user), self._boxes.get(user)
        if message.offset and box is not None and box.is_held:
            self._put_off(message, receipt)
            return
        if message.offset and not _is_missing(message, box, receipt):
            if box is not None and box.base is not None:
                self._was_sent(user, message.mark, None)
            return
        if message.is_again and box is not None and not self._was_missed(message, box, receipt):
            return
        if self._was_sent(user, message.mark, receipt):
            return
        if link is None:
            self._keep(user, message.frame, message.about, names=message.names, receipt=receipt, mark=message.mark)
            return
        self._settle(message.names, link)
        self._hand_over(link, message.frame, message.about, receipt=receipt, mark=message.mark)
        if receipt is not None:
            receipt.delivered.append(user.id)

    def _put_off(self, message: Message, receipt: Receipt | None) -> None:
        """Have an event that another node had numbered wait until it is known from where the client goes on."""
        if receipt is not None:
            receipt.hold()
        self._early.setdefault(message.user, []).append((message, receipt))

    def _take_early(self, user: User) -> None:
        """Deliver what waited for that; if the client starts over, it is of no use any more."""
        for message, receipt in self._early.pop(user, ()):
            self.deliver(message, receipt)
            if receipt is not None:
                receipt.settle()

    def _was_missed(self, message: Message, box: Mailbox, receipt: Receipt | None) -> bool:
        """Whether an event that a gone node did not confirm has not come to the client, nor waits for it.

        Of what its client had from that node besides what was written it is not known what it was: so much of what is
        sent again is neither sent twice nor said to have arrived.
        """
        if hash(message.frame) in box.past:
            if receipt is not None:
                receipt.queued.append(message.user.id)
            return False
        if box.phantoms:
            box.phantoms -= 1
            return False
        return True

    def _was_sent(self, user: User, mark: str, receipt: Receipt | None) -> bool:
        """Whether a message was sent to a user of this node before, which is noted in the receipt."""
        if not mark or self._nodes is None or self._nodes.is_new(user, mark):
            return False
        if receipt is not None:
            receipt.delivered.append(user.id)
        return True

    def moved(self, user: User, socket: int, *, is_claimed: bool) -> None:
        """See `app.delivery.nodes.House`. What was kept and is not written goes on to the user's new home."""
        endpoint, box = self._endpoints.get(socket), self._boxes.get(user)
        self._presence.forget(user)
        if self._nodes is not None:
            self._nodes.forget(user)
        early = self._early.pop(user, ())
        frames = self._mail.take(user)
        if endpoint is not None and is_claimed:
            endpoint.supersede()
        elif endpoint is not None:
            endpoint.close(CloseCode.RESTART, "This node was cut off; connect again")
        if self._nodes is not None and box is not None and not box.is_numbered:
            for frame in frames:
                self._nodes.forward(user, frame)
            for message, receipt in early:
                self._nodes.forward(user, message.frame, receipt=receipt, offset=message.offset, mark=message.mark)
                if receipt is not None:
                    receipt.settle()

    def is_here(self, user: User) -> bool:
        """See `app.delivery.nodes.House`."""
        return user in self._links

    def adopt(self, user: User, spoken: Spoken, kept: Box) -> None:
        """Keep what comes for a user whose node is gone, after what that one wrote; not if it was claimed meanwhile."""
        if not self._is_home(user):
            return
        if "resume" in spoken:
            box = self._mail.restore(user, spoken, kept, 0)
            fresh = range(box.sent + 1, box.last + 1)
            self._take_early(user)
            self._write(box, fresh)
            self._presence.recall(user)
            return
        came = self._mail.take(user)
        box = self._mail.open(user, spoken)
        for frame in (*kept.frames, *came):
            self._mail.keep(box, frame)

    def expect(self, user: User, spoken: Spoken) -> None:
        """See `app.delivery.nodes.House`."""
        if user not in self._links and user not in self._boxes:
            self._mail.hold(user, spoken)

    def endpoint(self, user: User) -> Endpoint | None:
        """Return the socket that a user is registered over; None if it is not of this node."""
        link = self._links.get(user)
        found = (each for each in self._endpoints.values() if link is not None and each.outbox is link.outbox)
        return next(found, None)

    def written(self, user: User) -> int:
        """Return up to which number a user's events stand in the store, as far as is known.

        What another node numbered after that is taken in from now on.
        """
        box = self._boxes.get(user)
        if box is None:
            return 0
        box.base = box.written
        return box.written

    def merge(self, user: User, kept: Box, written: int) -> None:
        """Take in what another node wrote for a user whom it took over, though its socket was here all the time.

        Up to `written` that is from here.
        """
        link = self._links.get(user)
        box = None if link is None else link.box
        if link is None or box is None:
            return
        box.base, own, before = written, set(map(without_offset, box.frames)), box.last
        for number, frame in enumerate(kept.frames, kept.last - len(kept.frames) + 1):
            if number > written and without_offset(frame) not in own:
                link.outbox.put(self._mail.number(box, without_offset(frame)))
        self._write(box, range(before + 1, box.last + 1))

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """See `app.delivery.nodes.House`."""
        if after is not None:
            if before is None or before.looks != after.looks:
                self._presence.announce(after)
        elif before is not None:
            if before.status != "offline":
                self._presence.announce(replace(before, status="offline"))
            if before.user in self._boxes and before.user not in self._links:
                self.forget(before.user)

    def rewrite(self) -> None:
        """See `app.delivery.nodes.House`. Of the others who are away, too, for whoever adopts them."""
        for box in self._boxes.values():
            if not box.is_broken:
                self._write(box)

    def _write(self, box: Mailbox, fresh: range = range(0)) -> None:
        """Write all of a mailbox anew; the `fresh` ones for the first time, so that they go on if they cannot be."""
        if self._nodes is None:
            return
        bus = self._nodes.bus
        last = box.last if box.is_numbered else len(box.frames)
        first = last - len(box.frames) + 1
        bus.open(box.user, box.tokens, is_new=True, last=first - 1)
        for number, frame in enumerate(box.frames, first):
            kept = self._nodes.writing(box, without_offset(frame), number) if number in fresh else None
            bus.keep(box.user, frame, first, number, kept)
        box.written = last

    def _write_tokens(self, user: User, *, is_new: bool = False) -> None:
        box = self._boxes.get(user)
        if self._nodes is not None and box is not None and box.is_numbered:
            self._nodes.bus.open(user, box.tokens, is_new=is_new)

    def _send_each(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None,
        *,
        names: Collection[User],
        ref: Raw | None,
        receipt: Receipt,
        mark: str,
    ) -> None:
        """Send to each user the variant that it speaks, encoded once, and write down what became of it."""
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
            is_here = link is not None or user in self._boxes
            if not payload or (is_here and self._was_sent(user, mark, receipt)):
                continue
            if link is not None:
                self._settle(names, link)
                self._hand_over(link, payload, about, ref=ref, receipt=receipt, mark=mark)
                receipt.delivered.append(user.id)
            else:
                self._keep(user, payload, about, names=names, receipt=receipt, mark=mark)

    def _spoken(self, user: User, link: Link | None) -> Spoken | None:
        """Return what a user speaks that is here, is away from here, or is elsewhere; None if it is nowhere."""
        if link is not None:
            return link.spoken
        box = self._boxes.get(user)
        if box is not None:
            return box.spoken
        return None if self._nodes is None else self._nodes.spoken(user)

    def _hand_over(
        self,
        link: Link,
        payload: bytes,
        about: User | None,
        *,
        ref: Raw | None = None,
        receipt: Receipt | None = None,
        mark: str = "",
    ) -> None:
        """Send a frame over a user's socket, numbered and kept if it can resume."""
        if about is not None and self._presence.pending:
            self._presence.settle(about, link)
        box = link.box
        frame = payload if box is None else self._mail.number(box, payload)
        link.outbox.put(frame if ref is None else _referring(payload, ref, box))
        self.delivered += 1
        if box is not None and self._nodes is not None:
            self._nodes.write_down(box, payload, receipt, mark)

    def _keep(
        self,
        user: User,
        payload: bytes,
        about: User | None = None,
        *,
        names: Collection[User] = (),
        receipt: Receipt | None = None,
        mark: str = "",
    ) -> None:
        """Keep a frame for a user who is away from here, or send it on to where its home is."""
        box, nodes = self._boxes.get(user), self._nodes
        if box is None and self._forward(user, payload, about, names=names, receipt=receipt, mark=mark):
            return
        is_kept = box is not None and self._mail.keep(box, payload)
        self.kept += is_kept
        self.dropped += not is_kept
        if is_kept and receipt is not None:
            receipt.queued.append(user.id)
        if box is not None and box.is_numbered and nodes is not None:
            if is_kept:
                nodes.write_down(box, payload, receipt, mark)
            else:
                nodes.bus.forget(user)

    def _forward(
        self,
        user: User,
        payload: bytes,
        about: User | None,
        *,
        names: Collection[User],
        receipt: Receipt | None,
        mark: str,
    ) -> bool:
        nodes = self._nodes
        return nodes is not None and nodes.forward(user, payload, about=about, names=names, receipt=receipt, mark=mark)

    def _settle(self, names: Collection[User], link: Link) -> None:
        for peer in names:
            self._presence.settle(peer, link)

    def _is_home(self, user: User) -> bool:
        """Whether what comes for the user is for this node to keep; not if another socket, elsewhere, is its by now."""
        return self._nodes is None or self._nodes.elsewhere(user) is None

    def _keep_for(self, user: User, spoken: Spoken) -> None:
        if not self._is_home(user):
            return
        box = self._boxes.get(user)
        if box is None:
            self._mail.open(user, spoken)
        elif box.is_live:
            box.is_live, box.sent = False, box.last

    def _new_token(self, box: Mailbox, socket: Socket, *used: str) -> str:
        token = self._ids("res_")
        box.socket, box.tokens = socket.holder.socket, (*used, token)
        return token


def _is_missing(message: Message, box: Mailbox | None, receipt: Receipt | None) -> bool:
    """Whether the client has yet to get an event that its last node numbered; what it handled there has arrived."""
    if box is None or box.base is None:
        return False
    if message.offset > box.base:
        return True
    if receipt is not None:
        receipt.delivered.append(message.user.id)
    return False


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
