"""Decides which HTTP connections and requests are served (docs/protocol.md section 7)."""

from collections.abc import Callable

import msgspec

from app.admission.addresses import Addresses
from app.admission.http_budget import HttpBudget
from app.admission.pending import PendingConnections
from app.admission.rejections import RejectionLog
from app.wire.http import MAX_HEAD_BYTES, HttpProtocol
from schemas.errors import Limit

REQUEST_SECONDS = 10.0
GRACE_SECONDS = 1.0

_MALFORMED = b"400 Bad Request", "BAD_REQUEST", "This is not an HTTP request"
_TIMEOUT = b"408 Request Timeout", "REQUEST_TIMEOUT", f"The request took longer than {REQUEST_SECONDS:g} seconds"
_TOO_LARGE = (
    b"431 Request Header Fields Too Large",
    "HEAD_TOO_LARGE",
    f"The request head exceeds {MAX_HEAD_BYTES} bytes",
)
_TOO_MANY = b"503 Service Unavailable", "TOO_MANY_CONNECTIONS", "Too many pending connections; try again later"


class HttpAdmission:
    """See `app.wire.http.Admission`. At most `limit` pending connections, and `REQUEST_SECONDS` for each request.

    A connection counts against `limit` only after `GRACE_SECONDS`. So all clients may reconnect at once, as they do
    after a restart, and their requests are read before they count.
    """

    def __init__(
        self,
        limit: int,
        budget: HttpBudget,
        addresses: Addresses,
        rejections: RejectionLog,
        monotonic: Callable[[], float],
    ) -> None:
        self._pending: PendingConnections[HttpProtocol] = PendingConnections(limit, REQUEST_SECONDS, GRACE_SECONDS)
        self._budget = budget
        self._addresses = addresses
        self._rejections = rejections
        self._monotonic = monotonic

    def __len__(self) -> int:
        """Return how many connections are pending."""
        return len(self._pending)

    def address(self, host: str) -> bytes:
        """Return the salted hash of an address."""
        return self._addresses.hashed(host)

    def add_pending(self, connection: HttpProtocol) -> None:
        """Start to wait for a request on this connection."""
        self._pending.add(connection, connection.address, self._monotonic())

    def remove_pending(self, connection: HttpProtocol) -> None:
        """Stop waiting: the connection is closed or has been upgraded."""
        self._pending.remove(connection)

    def too_large(self, connection: HttpProtocol) -> None:
        """Reject a connection whose request head is too long."""
        self._refuse(connection, Limit.HTTP_HEAD, *_TOO_LARGE)

    def malformed(self, connection: HttpProtocol) -> None:
        """Reject a connection that does not speak HTTP."""
        self._refuse(connection, Limit.HTTP_MALFORMED, *_MALFORMED)

    def charge(self, connection: HttpProtocol, price: float) -> float:
        """Charge for a request; return 0 if it is admitted, else the seconds until it would be.

        A trusted proxy names the client to charge, so clients behind one proxy do not share a budget.
        """
        host = connection.client[0] if connection.client else ""
        client = self._addresses.client(host, connection.headers)
        address = connection.address if client == host else self.address(client)
        wait = self._budget.charge(address, price)
        if wait:
            self._rejections.note(Limit.HTTP_REQUESTS, address)
        return wait

    def sweep(self) -> None:
        """Close expired connections. If too many are pending, evict some of the address with the most."""
        now = self._monotonic()
        for connection in self._pending.expired(now):
            self._refuse(connection, Limit.HTTP_SECONDS, *_TIMEOUT)
        self._budget.evict_expired()
        while (to_evict := self._pending.to_evict(now)) is not None:
            self._refuse(to_evict, Limit.HTTP_CONNECTIONS, *_TOO_MANY)

    def _refuse(self, connection: HttpProtocol, limit: Limit, status: bytes, code: str, message: str) -> None:
        self._pending.remove(connection)
        self._rejections.note(limit, connection.address)
        connection.refuse(status, msgspec.json.encode({"code": code, "message": message}))
