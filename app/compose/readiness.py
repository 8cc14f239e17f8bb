"""Readiness: whether this node should receive traffic (docs/protocol.md section 6)."""

from collections.abc import Callable

import anyio

from app.auth.issuer import IssuerKeys
from app.cached import CachedValue
from stores.protocols import Stores, StoreUnreachableError

PING_SECONDS = 3.0
CACHE_SECONDS = 1.0


class Readiness:
    """Checks readiness. Pings the store at most once every `CACHE_SECONDS`."""

    def __init__(self, stores: Stores, issuer: IssuerKeys | None, monotonic: Callable[[], float]) -> None:
        self._stores = stores
        self._issuer = issuer
        self._store_fault = CachedValue(self._ping, CACHE_SECONDS, monotonic)
        self.is_draining = False

    async def reasons(self) -> list[str]:
        """Return why this node is not ready; empty if it is ready."""
        if self.is_draining:
            return ["draining"]
        reasons: list[str] = []
        if self._issuer is not None and not self._issuer.is_ready:
            reasons.append("issuer's keys not fetched yet (JWT_JWKS_URL)")
        fault = await self._store_fault.get()
        return [*reasons, fault] if fault else reasons

    async def _ping(self) -> str:
        """Return why the store is unreachable; empty if it responds."""
        try:
            with anyio.fail_after(PING_SECONDS):
                await self._stores.ping()
        except StoreUnreachableError as error:
            return f"store unreachable: {error}"
        except TimeoutError:
            return f"store unreachable: no response within {PING_SECONDS:g} s"
        return ""
