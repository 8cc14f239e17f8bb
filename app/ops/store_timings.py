"""Store timings: how long each store operation takes, and how often the store is unreachable."""

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, cast

from app.histogram import Histogram
from stores.protocols import PeerRecords, RequestRecords, Revocations, SessionRecords, Stores, StoreUnreachableError


class StoreTimings:
    """Durations and errors by operation, such as `peers.claim`."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self.seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.errors: Counter[str] = Counter()

    def timed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a coroutine function that calls `call` and records its duration and errors."""

        async def timed(*args: object, **kwargs: object) -> object:
            began = self._timer()
            try:
                return await call(*args, **kwargs)
            except StoreUnreachableError:
                self.errors[operation] += 1
                raise
            finally:
                self.seconds[operation].observe(self._timer() - began)

        return timed


class TimedStores:
    """See `Stores`. Times the operations on records; passes on the parts that never wait, such as the directory."""

    def __init__(self, stores: Stores, timings: StoreTimings) -> None:
        self.directory = stores.directory
        self.log = stores.log
        self.node = stores.node
        self.listener = stores.listener
        self.peers = cast("PeerRecords", _Timed("peers", stores.peers, timings))
        self.requests = cast("RequestRecords", _Timed("requests", stores.requests, timings))
        self.sessions = cast("SessionRecords", _Timed("sessions", stores.sessions, timings))
        self.revocations = cast("Revocations", _Timed("revocations", stores.revocations, timings))
        self.ping = timings.timed("ping", stores.ping)
        self.run = stores.run
        self.stats = stores.stats
        self.close = stores.close
        self._stores = stores

    @property
    def salt(self) -> bytes:
        """See `Stores`."""
        return self._stores.salt

    @property
    def ahead(self) -> float | None:
        """See `Stores`."""
        return self._stores.ahead


class _Timed:
    """A proxy for an object; it times the object's coroutine functions."""

    def __init__(self, name: str, records: object, timings: StoreTimings) -> None:
        self._name = name
        self._records = records
        self._timings = timings

    def __getattr__(self, method: str) -> object:
        """Return the method, and cache it."""
        found: Any = getattr(self._records, method)
        if inspect.iscoroutinefunction(found):
            found = self._timings.timed(f"{self._name}.{method}", found)
        setattr(self, method, found)
        return found
