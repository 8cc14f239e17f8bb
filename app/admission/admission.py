"""All admission limits of one application, and what clients have used of them."""

import secrets
from collections.abc import Callable, Collection

from app.admission.addresses import Addresses, ConnectionCounts
from app.admission.allowance import Allowance
from app.admission.auth_throttle import AuthThrottle
from app.admission.debts import Debts
from app.admission.delay import Delay
from app.admission.http_admission import HttpAdmission
from app.admission.http_budget import HttpBudget
from app.admission.logins import UserLogins
from app.admission.rejections import RejectionLog
from app.admission.upgrade_policy import UpgradePolicy
from app.logger import Logger
from app.settings import Settings
from schemas.prices import LATEST_SECONDS, STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND

SALT_BYTES = 32


class Admission:
    """Holds every limit that is checked before an event is handled. `connections` are the open sockets."""

    def __init__(
        self, settings: Settings, connections: Collection[object], log: Logger, monotonic: Callable[[], float]
    ) -> None:
        self.addresses = Addresses(secrets.token_bytes(SALT_BYTES), settings.trusted_proxies)
        self.rejections = RejectionLog(log, monotonic)
        self.connection_counts = ConnectionCounts()
        self.auth_throttle = AuthThrottle(settings.auth_failures_per_minute, self.rejections, monotonic)
        self.http_auth_throttle = AuthThrottle(settings.auth_failures_per_minute, self.rejections, monotonic)
        self.logins = UserLogins(self.rejections.note, monotonic)
        self.debts = Debts(monotonic)
        self.strangers: Allowance[bytes] = Allowance(
            STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND, monotonic, longest_wait=LATEST_SECONDS
        )
        self.delay = Delay(self.strangers, settings.max_unauthenticated)
        self.upgrades = UpgradePolicy(settings, connections, self.connection_counts, self.rejections)
        self._http_budget = HttpBudget(settings.http_requests_per_second, monotonic)
        self.http = HttpAdmission(
            settings.max_http_connections, self._http_budget, self.addresses, self.rejections, monotonic
        )

    def evict_expired(self) -> None:
        """Remove addresses and users whose limits have recovered."""
        for table in (self.auth_throttle, self.http_auth_throttle, self.logins, self.debts, self.strangers):
            table.evict_expired()

    def sizes(self) -> dict[str, int]:
        """Return the number of entries in each table."""
        return {
            "addresses": len(self.connection_counts),
            "http": len(self.http),
            "auth_failures": len(self.auth_throttle) + len(self.http_auth_throttle),
            "http_budgets": len(self._http_budget),
            "logins": len(self.logins),
            "debts": len(self.debts),
            "strangers": len(self.strangers),
            "delayed": len(self.delay),
        }
