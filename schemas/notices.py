"""Notices: what a client is told ahead of time, if it asked for that (protocol.md section 8)."""

from typing import ClassVar, Literal

from schemas.events import ServerEvent


class ServerNotice(ServerEvent, frozen=True):
    """Tells a socket with the capability `notices` what is about to happen, so that it can act before.

    `draining`: this node stops, and closes the socket with 1012 within `closes_in_seconds`; until then all goes on.
    `token-expiring`: the token expires at `expires_at`, written as timestamps of messages are; a new AUTH renews it.
    `slow`: half of what may wait for the socket waits; if the client does not read faster, it is closed with 4008.
    """

    event: ClassVar[str] = "SERVER_NOTICE"
    kind: Literal["draining", "token-expiring", "slow"]
    closes_in_seconds: float | None = None
    expires_at: str | None = None
