"""Resumption: going on over a new socket where a user's last one left off (docs/protocol.md section 8)."""

from collections import Counter
from collections.abc import Mapping

from app.delivery.cluster import Cluster
from app.delivery.endpoint import Endpoint
from app.delivery.mail import Mail, Mailbox
from app.delivery.presence import Presence
from handlers.ports import Ids, Socket
from schemas.auth import Resume
from stores.base import User
from stores.bus import Box


class Resumption:
    """What users can resume with, and how far their clients have come for sure. `attempts` counts them by outcome."""

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        mail: Mail,
        presence: Presence,
        ids: Ids,
        *,
        cluster: Cluster | None = None,
    ) -> None:
        self._cluster = cluster
        self._endpoints = endpoints
        self._mail = mail
        self._presence = presence
        self._ids = ids
        self._boxes = mail.boxes
        self.attempts: Counter[str] = Counter(recovered=0, refused=0)

    def begin(self, user: User, socket: Socket) -> str:
        """Begin to number what comes for a user; return the token to resume with."""
        box = self._mail.open(user, socket.spoken)
        token = self._new_token(box, socket)
        self._write_tokens(box, is_new=True)
        if self._cluster is not None:
            self._hold_back(self._cluster, box)
        return token

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        """See `handlers.ports.Delivery`."""
        kept = None if self._cluster is None else await self._cluster.ledger.load(user)
        box = self._boxes.get(user)
        if box is not None and kept is not None and _goes_on(box, kept, resume):
            kept = None
        if self._cluster is not None and kept is not None:
            box = self._restore(self._cluster, user, resume, socket, kept)
        if box is None or not box.can_resume(resume):
            self.attempts["refused"] += 1
            return None
        self.attempts["recovered"] += 1
        if box.is_live:  # the store has lost, or another node has taken, whose socket this was
            self._part(box)
        box.sent, box.spoken = resume.offset, socket.spoken
        self._let_go(box, resume.offset)
        token = self._new_token(box, socket, resume.token)
        if self._cluster is not None:
            self._cluster.ledger.reopen(box, kept)
            self._hold_back(self._cluster, box)
            self._cluster.relay.catch_up(user)
        return token

    def confirm(self, user: User) -> None:
        """Take note that the user was heard after it was recovered: the token it used is good no more."""
        box = self._boxes.get(user)
        if box is not None and len(box.tokens) > 1:
            box.tokens = dict([box.tokens.popitem()])
            self._write_tokens(box)

    def handled(self, user: User, offset: int) -> None:
        """See `handlers.ports.Delivery`."""
        box = self._boxes.get(user)
        sight = self._presence.sight(user)
        if box is not None and box.is_numbered and sight is not None:
            self._let_go(box, offset)
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

    def restart(self, user: User) -> bool:
        """Drop what was kept for one whose socket is here and can resume, and number from 1; False if there is none."""
        box = self._boxes.get(user)
        if box is None or not box.is_numbered or box.socket not in self._endpoints:
            return False
        self._mail.restart(box)
        self._write_tokens(box, is_new=True)
        return True

    def _set_aside(self, cluster: Cluster, user: User) -> None:
        """Let go of a mailbox that others have gone on with, unnoticed here, and of the socket that it was for.

        What is not written comes again.
        """
        box = self._boxes.get(user)
        if box is None or not box.is_numbered:
            return
        self._part(box)
        cluster.relay.moved(user, len(box.writes))
        self._mail.hold(user, box.spoken)
        cluster.ledger.heard(user)

    def _part(self, box: Mailbox) -> None:
        """Close the socket that a mailbox is for, and keep what comes."""
        box.is_live = False
        self._presence.remove(box.user)
        endpoint = self._endpoints.get(box.socket)
        if endpoint is not None:
            endpoint.supersede()

    def _restore(self, cluster: Cluster, user: User, resume: Resume, socket: Socket, kept: Box) -> Mailbox | None:
        """Return what another node kept for a user; None if its home is elsewhere again by now."""
        if cluster.relay.elsewhere(user) is not None:
            return None
        self._set_aside(cluster, user)
        self._presence.recall(user)
        cluster.recognition.restore(user, kept.marks.values())
        return self._mail.restore(user, socket.spoken, kept, resume)

    def _hold_back(self, cluster: Cluster, box: Mailbox) -> None:
        """Have the client's next token be on its way to the store before it is on its way to the client."""
        endpoint = self._endpoints.get(box.socket)
        if endpoint is not None:
            cluster.ledger.precede(endpoint.outbox)

    def _let_go(self, box: Mailbox, offset: int) -> None:
        """Let go of what a client has handled, once it is written: by that it is known should another node send it."""
        self._mail.handled(box, offset if self._cluster is None else min(offset, box.written))

    def _write_tokens(self, box: Mailbox, *, is_new: bool = False) -> None:
        if self._cluster is not None:
            self._cluster.ledger.open(box, is_new=is_new)

    def _new_token(self, box: Mailbox, socket: Socket, *used: str) -> str:
        token = self._ids("res_")
        box.socket = socket.holder.socket
        box.tokens = {**{each: box.tokens[each] for each in used}, token: box.opened}
        return token


def _goes_on(box: Mailbox, kept: Box, resume: Resume) -> bool:
    """Whether a client goes on with a mailbox as it is here, and not with what others made of it in the store."""
    if not box.is_numbered or box.opened < kept.fence:
        return False
    fence = box.fence_of(resume)
    return fence is None or resume.offset <= box.reach(fence) or fence == box.opened
