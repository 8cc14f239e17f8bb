"""The keys of an identity provider: fetches them from `JWT_JWKS_URL`, caches them and refreshes them."""

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
import httpx2
from structlog.typing import FilteringBoundLogger

from app.auth.algorithms import Key
from app.auth.jwks import IssuerError, KeySet, parse_key_set
from app.settings import Algorithm
from stores.protocols import StoreUnreachableError

FETCH_SECONDS = 5.0
FETCH_BYTES = 262_144
FIRST_RETRY_SECONDS = 0.5
INTERVALS_PER_REFRESH = 10
MAX_CANDIDATES = 4


class Fetch(Protocol):
    """Fetches a JWK set."""

    async def __call__(self) -> bytes:
        """Return the document; raises `IssuerError` if it cannot be fetched."""

    async def close(self) -> None:
        """Close the connections."""


class IssuerKeys:
    """The issuer's public keys. While the issuer is down, the last good keys stay in use.

    Fetches at the start, with a backoff of at most one interval until the issuer answers. Then it fetches every ten
    intervals, and every interval while the issuer is down. An unknown `kid` triggers one fetch that all callers share,
    but at most one per interval.
    """

    def __init__(
        self,
        fetch: Fetch,
        interval: float,
        monotonic: Callable[[], float],
        log: FilteringBoundLogger,
        algorithms: Sequence[Algorithm] = ("RS256",),
    ) -> None:
        self._fetch = fetch
        self._algorithms = algorithms
        self._interval = interval
        self._monotonic = monotonic
        self._log = log
        self._set = KeySet({}, ())
        self._is_down = False
        self._fetched_at = 0.0
        self._fetching = anyio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether any keys have been fetched."""
        return bool(self._set.keys)

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the key with this `kid`; without a `kid`, all keys if there are at most `MAX_CANDIDATES`, else none.

        If the `kid` is unknown, refreshes first and waits for the issuer. Raises `StoreUnreachableError` until the
        first fetch has succeeded.
        """
        if not self.is_ready:
            raise StoreUnreachableError("the issuer's keys (JWT_JWKS_URL) have not been fetched yet")
        if kid is None:
            return list(self._set.keys.values()) if len(self._set.keys) <= MAX_CANDIDATES else []
        if kid not in self._set.keys:
            await self.refresh()
        key = self._set.keys.get(kid)
        return [] if key is None else [key]

    async def refresh(self) -> None:
        """Fetch the keys, unless they were fetched within the last interval; wait for a fetch that is under way."""
        async with self._fetching:
            if self._is_due():
                await self._update()

    async def run(self) -> None:
        """Fetch the keys at the start and then regularly, until cancelled."""
        pause = FIRST_RETRY_SECONDS
        while True:
            await self.refresh()
            pause = min(2 * pause, self._interval) if self._is_down else INTERVALS_PER_REFRESH * self._interval
            await anyio.sleep(pause)

    async def close(self) -> None:
        """Close the connections to the issuer."""
        await self._fetch.close()

    def _is_due(self) -> bool:
        return not self.is_ready or self._monotonic() - self._fetched_at >= self._interval

    async def _update(self) -> None:
        self._fetched_at = self._monotonic()
        try:
            found = parse_key_set(await self._fetch(), self._algorithms)
        except IssuerError as error:
            self._is_down = True
            self._log.warning("issuer keys not fetched", reason=str(error), keys_in_use=list(self._set.keys))
            return
        self._is_down = False
        if (list(found.keys), found.ignored) != (list(self._set.keys), self._set.ignored):
            before, after = list(self._set.keys), list(found.keys)
            self._log.info("issuer keys changed", before=before, after=after, ignored=found.ignored)
        self._set = found


class Fetcher:
    """See `Fetch`. Fetches the JWK set from a URL: in at most 5 seconds and 256 KiB, without following redirects."""

    def __init__(self, url: str) -> None:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        self._client = httpx2.AsyncClient(headers=headers, timeout=FETCH_SECONDS, follow_redirects=False)
        self._url = url

    async def __call__(self) -> bytes:
        """See `Fetch`."""
        try:
            with anyio.fail_after(FETCH_SECONDS):
                return await self._get()
        except IssuerError:
            raise
        except TimeoutError:
            raise IssuerError(f"no complete response within {FETCH_SECONDS:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the last good keys stay in use
            raise IssuerError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """See `Fetch`."""
        await self._client.aclose()

    async def _get(self) -> bytes:
        body = bytearray()
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != httpx2.codes.OK:
                raise IssuerError(f"the response status was {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > FETCH_BYTES:
                    raise IssuerError(f"the response has more than {FETCH_BYTES} bytes")
        return bytes(body)
