"""The handover: what a node does as users come to it from other nodes, go to them, and are sent to from there."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from app.delivery.cluster import Cluster
from app.delivery.endpoint import Endpoint
from app.delivery.hub import Hub
from app.delivery.mail import Mail, Mailbox
from app.delivery.marks import mark_in
from app.delivery.parcels import Arrival, Message
from app.delivery.presence import Presence
from app.wire.codec import without_offset
from handlers.ports import Receipt
from schemas.capabilities import Spoken
from schemas.errors import CloseCode
from stores.base import Peer, User
from stores.bus import Box, Home


class Handover:
    """See `app.delivery.nodes.House`."""

    def __init__(
        self, endpoints: Mapping[int, Endpoint], hub: Hub, mail: Mail, presence: Presence, cluster: Cluster
    ) -> None:
        self._endpoints = endpoints
        self._hub = hub
        self._mail = mail
        self._presence = presence
        self._relay = cluster.relay
        self._ledger = cluster.ledger
        self._recognition = cluster.recognition

    def deliver(self, node: str, message: Message, receipt: Receipt | None) -> None:
        """See `House`. What the client has handled over another node is not delivered again."""
        user = message.user
        link, box = self._presence.links.get(user), self._mail.boxes.get(user)
        if self._is_unsettled(user):
            self._relay.defer(node, message, receipt)
        elif isinstance(receipt, Arrival) and self._relay.is_early(user, receipt):
            self._relay.refuse(user, receipt)
        elif message.place is not None and (box is None or box.began_after(message.place)):
            self._hub.dropped += 1
            if receipt is not None:
                receipt.withdraw(user.id)
        elif self._has(node, message, box, receipt):
            if receipt is not None:
                receipt.note(user.id, is_queued=link is None)
        elif link is None:
            self._hub.keep_here(user, message.frame, receipt=receipt, mark=message.mark)
        else:
            self._hub.hand_over(
                link, message.frame, message.about, names=message.names, receipt=receipt, mark=message.mark
            )

    def moved(self, user: User, home: Home, *, is_claimed: bool) -> None:
        """See `House`. What was kept and is not written goes on to the user's new home."""
        endpoint, box = self._endpoints.get(home.socket), self._mail.boxes.get(user)
        self._presence.forget(user)
        self._recognition.forget(user)
        self._relay.moved(user, 0 if box is None else len(box.writes))
        frames = self._mail.take(user)
        if endpoint is not None and is_claimed:
            endpoint.supersede()
        elif endpoint is not None:
            endpoint.close(CloseCode.RESTART, "This node was cut off; connect again")
        if box is not None and not box.is_numbered:
            for at, frame in enumerate(frames, 1):
                self._relay.send(self._relay.message(user, frame, mark=box.marks.get(at)))
        self._relay.catch_up(user)

    def is_here(self, user: User) -> bool:
        """See `House`."""
        return user in self._presence.links

    def users(self) -> Iterable[User]:
        """See `House`."""
        return self._presence.links.keys()

    def send_back(self, user: User) -> None:
        """See `House`."""
        endpoint = self.endpoint(user)
        if endpoint is not None:
            endpoint.close(CloseCode.RESTART, "The store has lost this connection; connect again")

    def has_socket(self, number: int) -> bool:
        """See `House`."""
        return number in self._endpoints

    def is_held(self, user: User) -> bool:
        """See `House`."""
        box = self._mail.boxes.get(user)
        return box is not None and box.is_held

    def expect(self, user: User, spoken: Spoken, home: Home) -> None:
        """See `House`."""
        socket = self._socket(user)
        if socket is not None and socket != home.socket:
            self.moved(user, Home(home.node, socket, 0), is_claimed=True)
        if user not in self._presence.links and user not in self._mail.boxes:
            self._mail.hold(user, spoken)

    def adopt(self, user: User, spoken: Spoken, before: Home, kept: Box) -> None:
        """Keep what comes for a user whose node is gone, after what that one wrote; not if it came back meanwhile."""
        known = self._mail.boxes.get(user)
        if not self._hub.is_home(user) or (known is not None and not known.is_held):
            return
        if "resume" in spoken:
            box = self._mail.restore(user, spoken, kept)
            box.follow(before.fence, box.last)
            self._ledger.open(box)
            self._recognition.restore(user, kept.marks.values())
            self._presence.recall(user)
        else:
            self._mail.take(user)
            self._mail.open(user, spoken)
        self._relay.catch_up(user)

    def endpoint(self, user: User) -> Endpoint | None:
        """Return the socket that a user is registered over; None if it is not of this node."""
        socket = self._socket(user)
        return None if socket is None else self._endpoints[socket]

    def merge(self, user: User, kept: Box, before: Home) -> None:
        """Take in what others wrote for a user whom they took over, though its socket was here all the time.

        Where they went on from what this node had numbered stands there by the fence that it had before.
        """
        link = self._presence.links.get(user)
        box = None if link is None else link.box
        if link is None or box is None:
            return
        own = set(map(without_offset, box.frames))
        base = kept.bases.get(before.fence, box.written)
        box.bases = kept.bases
        box.follow(kept.fence, kept.last)
        for node, number in kept.seen.items():
            box.seen[node] = max(number, box.seen.get(node, 0))
        marks = {place.offset: mark for place, mark in kept.marks.items() if place.fence > before.fence}
        for number, frame in enumerate(kept.frames, kept.last - len(kept.frames) + 1):
            payload = without_offset(frame)
            mark = marks.pop(number, None) or mark_in(payload)
            if number > base and payload not in own and not self._recognition.was_sent(user, mark, None):
                link.outbox.put(self._mail.number(box, payload))
        for mark in kept.marks.values():
            self._recognition.was_sent(user, mark, None)
        self._ledger.rewrite(box)
        self._ledger.precede(link.outbox)

    def claimed(self, user: User) -> None:
        """Take note that whether a user could be claimed back is known."""
        self._ledger.decide(user)
        self._relay.catch_up(user)
        self._relay.decided(user)

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """See `House`."""
        if after is not None:
            if before is None or before.looks != after.looks:
                self._presence.announce(after)
        elif before is not None:
            if before.status != "offline":
                self._presence.announce(replace(before, status="offline"))
            if before.user in self._mail.boxes and not self.is_here(before.user):
                self._hub.forget(before.user)

    def rewrite(self) -> None:
        """See `House`. Of the others who are away, too, for whoever adopts them.

        Where another node is the home by now, it gets what this one numbered: the store has lost it.
        """
        for box in self._mail.boxes.values():
            if not box.is_broken and not box.is_held:
                box.written = min(box.written, box.base)
                self._ledger.rewrite(box)

    def _socket(self, user: User) -> int | None:
        """Return the number of the socket that a user is registered over; None if it is not of this node."""
        link = self._presence.links.get(user)
        if link is None:
            return None
        return next((socket for socket, each in self._endpoints.items() if each.outbox is link.outbox), None)

    def _is_unsettled(self, user: User) -> bool:
        """Whether it is not known yet how far a user has come, or whether this node is still its home."""
        return self.is_held(user) or self._ledger.is_contested(user) or self._relay.awaits_writes(user)

    def _has(self, node: str, message: Message, box: Mailbox | None, receipt: Receipt | None) -> bool:
        """Whether an event is here already, or was handled by the client over its last node."""
        if box is not None and message.place is not None and box.has(message.place):
            self._recognition.was_sent(message.user, message.mark, None)
            return True
        is_known = False
        if box is not None and box.is_numbered:
            is_known = message.number <= box.seen.get(node, 0)
            if not is_known:
                box.saw(node, message.number)
        is_known = is_known or self._recognition.was_sent(message.user, message.mark, receipt)
        if is_known and box is not None and receipt is not None and message.mark is not None:
            self._ledger.await_first(box, message.mark, receipt)
        return is_known
