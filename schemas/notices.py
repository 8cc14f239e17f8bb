"""Notices: what a client is told ahead of time, if it asked for that (docs/protocol.md section 8)."""

from typing import ClassVar, Literal

from schemas.capabilities import Capability
from schemas.events import ServerEvent
from schemas.examples import TIMESTAMP, Example
from schemas.fields import Timestamp


class ServerNotice(ServerEvent, frozen=True):
    """Warns a client before something happens.

    - `draining`: this node shuts down and closes the socket with 1012 within `closes_in_seconds`; until then all goes
    on.
    - `token-expiring`: the token expires at `expires_at`; a new `AUTH` renews it.
    - `slow`: the client reads too slowly; if it does not catch up, the server closes the socket with 4008.
    """

    event: ClassVar[str] = "SERVER_NOTICE"
    is_numbered: ClassVar[bool] = False
    capability: ClassVar[Capability] = "notices"
    example: ClassVar[Example] = {"kind": "token-expiring", "expiresAt": TIMESTAMP}
    kind: Literal["draining", "token-expiring", "slow"]
    closes_in_seconds: float | None = None
    expires_at: Timestamp | None = None
