"""Watching stores: how long each operation takes, and how often the store could not be reached."""

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, cast

from app.histogram import Histogram
from stores.protocols import PeerRecords, RequestRecords, Revocations, SessionRecords, Stores, StoreUnreachableError


class StoreTimings:
    """What was seen, by operation, such as `peers.claim`."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self.seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.errors: Counter[str] = Counter()

    def timed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a coroutine function that does the same as `call`, and is watched."""

        async def watched(*args: object, **kwargs: object) -> object:
            began = self._timer()
            try:
                return await call(*args, **kwargs)
            except StoreUnreachableError:
                self.errors[operation] += 1
                raise
            finally:
                self.seconds[operation].observe(self._timer() - began)

        return watched


class TimedStores:
    """See `Stores`: the records of others, watched. What never waits, the directory above all, is theirs as it is."""

    def __init__(self, stores: Stores, watch: StoreTimings) -> None:
        self.directory = stores.directory
        self.log = stores.log
        self.node = stores.node
        self.listener = stores.listener
        self.peers = cast("PeerRecords", _Timed("peers", stores.peers, watch))
        self.requests = cast("RequestRecords", _Timed("requests", stores.requests, watch))
        self.sessions = cast("SessionRecords", _Timed("sessions", stores.sessions, watch))
        self.revocations = cast("Revocations", _Timed("revocations", stores.revocations, watch))
        self.ping = watch.timed("ping", stores.ping)
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
    """Stands in for an object, its coroutine functions watched."""

    def __init__(self, name: str, records: object, watch: StoreTimings) -> None:
        self._name = name
        self._records = records
        self._watch = watch

    def __getattr__(self, method: str) -> object:
        """Return the method, found once."""
        found: Any = getattr(self._records, method)
        if inspect.iscoroutinefunction(found):
            found = self._watch.timed(f"{self._name}.{method}", found)
        setattr(self, method, found)
        return found
