"""A link: a registered user's socket, as events and presence updates reach it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.delivery.endpoint import Endpoint
from app.wire.codec import with_offset, with_ref
from schemas.errors import CloseCode
from stores.log import Event, Log
from stores.model import User

if TYPE_CHECKING:
    from app.delivery.presence import Presence
    from app.delivery.presence_log import PresenceCursor

VERSION_1_OFFSET = -1
NUMBERED_FROM = 0


class Link:
    """See the module, and `stores.log.Reader`.

    `offset` is that of the last event sent over it; `VERSION_1_OFFSET` if its events have no offsets. If they do,
    everything goes through the log, as if one event were always `pending`. It is not told of
    presence changes up to `since`, before it registered. `cursor` is how far it was told, if it speaks `resume`.
    """

    __slots__ = (
        "_log",
        "_presence",
        "address",
        "cursor",
        "endpoint",
        "offset",
        "outbox",
        "pending",
        "since",
        "spoken",
        "user",
    )

    def __init__(self, user: User, endpoint: Endpoint, presence: "Presence", log: Log) -> None:
        self.user = user
        self.endpoint = endpoint
        self.outbox = endpoint.outbox
        self.address = endpoint.address
        self.spoken = endpoint.spoken
        self.offset = NUMBERED_FROM if "resume" in endpoint.spoken else VERSION_1_OFFSET
        self.pending = int("resume" in endpoint.spoken)
        self.since = 0
        self.cursor: PresenceCursor | None = None
        self._presence = presence
        self._log = log

    def catch_up(self, first: int, payloads: Sequence[bytes]) -> None:
        """See `Reader`. The outbox has room for all of it: it is no fault of the socket."""
        self.outbox.grant(sum(map(len, payloads)))
        is_numbered = self.offset >= NUMBERED_FROM
        for offset, payload in enumerate(payloads, first):
            self.outbox.put(with_offset(payload, offset) if is_numbered else payload)
        if is_numbered:
            self.offset = first + len(payloads) - 1
            self._presence.catch_up(self)
        elif payloads and self.outbox.is_open:
            self._log.trim(self.user, first + len(payloads) - 1)

    def take(self, offset: int, event: Event) -> None:
        """See `Reader`. What a socket of version 1 was handed is not kept any longer; a closed one takes nothing."""
        if not self.outbox.is_open:
            return
        if self._presence.pending:
            self._settle(event)
        frame = event.payload if event.ref is None else with_ref(event.payload, event.ref)
        if self.offset >= NUMBERED_FROM:
            self.offset = offset
            frame = with_offset(frame, offset)
        elif offset:
            self._log.trim(self.user, offset)
        self.outbox.put(frame)

    def lost(self) -> None:
        self.endpoint.close(CloseCode.RESTART, "The store has lost events of this connection; reconnect")

    def _settle(self, event: Event) -> None:
        if event.about is not None:
            self._presence.settle(event.about, self)
        for peer in event.names:
            self._presence.settle(peer, self)
