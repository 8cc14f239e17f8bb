"""The keys of an identity provider, fetched from `JWT_JWKS_URL`, kept, and fetched anew."""

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
FIRST_PAUSE_SECONDS = 0.5
REGULARLY = 10
MAX_TRIED = 4


class Fetch(Protocol):
    """How a JWK set is got."""

    async def __call__(self) -> bytes:
        """Return what is there; raises `IssuerError`."""

    async def close(self) -> None:
        """Let go of the connections."""


class IssuerKeys:
    """The issuer's public keys. The last good ones stay in use while the issuer cannot be asked.

    It is asked at the start, until it answers; then every ten intervals, and every interval while it is down; and for
    a `kid` that is not known, by one question for all who wait, but not if it was asked within the last interval.
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
        self._asked_at = 0.0
        self._asking = anyio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether there are keys."""
        return bool(self._set.keys)

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the key with this `kid`; without a `kid`, all keys if there are at most `MAX_TRIED`, else none.

        Waits for the issuer if it is asked for the sake of the `kid`. Raises `StoreUnreachableError` before it has
        answered for the first time.
        """
        if not self.is_ready:
            raise StoreUnreachableError("the keys of the issuer (JWT_JWKS_URL) could not be fetched yet")
        if kid is None:
            return list(self._set.keys.values()) if len(self._set.keys) <= MAX_TRIED else []
        if kid not in self._set.keys:
            await self.refresh()
        key = self._set.keys.get(kid)
        return [] if key is None else [key]

    async def refresh(self) -> None:
        """Ask the issuer, unless that has been done within the last interval; return once it is done."""
        async with self._asking:
            if self._is_due():
                await self._ask()

    async def run(self) -> None:
        """Ask the issuer at the start and regularly, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self.refresh()
            pause = min(2 * pause, self._interval) if self._is_down else REGULARLY * self._interval
            await anyio.sleep(pause)

    async def close(self) -> None:
        """Let go of the connections to the issuer."""
        await self._fetch.close()

    def _is_due(self) -> bool:
        return not self.is_ready or self._monotonic() - self._asked_at >= self._interval

    async def _ask(self) -> None:
        self._asked_at = self._monotonic()
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
    """See `Fetch`. Fetches the JWK set at a URL: within 5 seconds, 256 KiB at most, and no redirect is followed."""

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
            raise IssuerError(f"no whole answer within {FETCH_SECONDS:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever goes wrong on the way, the last good keys stay in use
            raise IssuerError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """See `Fetch`."""
        await self._client.aclose()

    async def _get(self) -> bytes:
        body = bytearray()
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != httpx2.codes.OK:
                raise IssuerError(f"the answer was {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > FETCH_BYTES:
                    raise IssuerError(f"the answer has more than {FETCH_BYTES} bytes")
        return bytes(body)
