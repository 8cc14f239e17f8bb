"""The upgrade policy: decides at the upgrade who may open a socket (docs/protocol.md section 7)."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from msgspec import Struct

from app import origins
from app.admission.rejections import RejectionLog
from app.settings import Settings
from schemas.errors import Limit

RETRY_SECONDS = 10
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class UpgradeRefusal(Struct, frozen=True):
    """The HTTP response to a rejected upgrade; `retry_after` is in seconds, None if a retry cannot succeed."""

    status: HTTPStatus
    code: str
    message: str
    retry_after: int | None = None


class Origins:
    """The origins whose web pages may open sockets (RFC 6454 section 7). Editors send no `Origin` and always may.

    `ALLOWED_ORIGINS` lists the origins. If it is empty, `CORS_ORIGIN` does, and in development every loopback origin is
    allowed too.
    """

    def __init__(self, settings: Settings) -> None:
        self._allowed = origins.matcher(settings.allowed_origins or origins.parsed(settings.cors_origin))
        self._allows_loopback = not settings.allowed_origins and settings.app_env == "development"

    def allow(self, origin: str | None) -> bool:
        """Whether a page of this origin may open a socket."""
        if origin is None or self._allowed.fullmatch(origin):
            return True
        return self._allows_loopback and _host(origin) in LOOPBACK


class UpgradePolicy:
    """Rejects upgrades by origin, by the number of open `sockets`, and by the number from the same address."""

    def __init__(
        self,
        settings: Settings,
        sockets: Collection[object],
        by_address: Mapping[bytes, int],
        rejections: RejectionLog,
    ) -> None:
        self._origins = Origins(settings)
        self._most = settings.max_connections
        self._most_per_address = settings.max_connections_per_address
        self._sockets = sockets
        self._by_address = by_address
        self._rejections = rejections

    def refuse(self, origin: str | None, address: bytes) -> UpgradeRefusal | None:
        """Return how to reject an upgrade from this origin and address; None to accept it."""
        if not self._origins.allow(origin):
            self._rejections.note(Limit.ORIGIN, address)
            return UpgradeRefusal(HTTPStatus.FORBIDDEN, "ORIGIN_NOT_ALLOWED", "This origin may not open a socket")
        if len(self._sockets) >= self._most:
            self._rejections.note(Limit.CONNECTIONS, address)
            message = "Node has reached its connection limit; try again later"
            return UpgradeRefusal(HTTPStatus.SERVICE_UNAVAILABLE, "TOO_MANY_CONNECTIONS", message, RETRY_SECONDS)
        if 0 < self._most_per_address <= self._by_address.get(address, 0):
            self._rejections.note(Limit.CONNECTIONS_PER_ADDRESS, address)
            message = f"Your address already has {self._most_per_address} connections, the maximum"
            return UpgradeRefusal(HTTPStatus.TOO_MANY_REQUESTS, "TOO_MANY_CONNECTIONS", message, RETRY_SECONDS)
        return None


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
