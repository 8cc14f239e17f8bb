"""The connections of one node to Redis, Valkey, or what Sentinels say is their master."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from stores.base import StoreUnreachableError
from stores.redis.rows import json
from stores.redis.space import Space

NAMESPACE = "peersync"
SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
SENTINEL_PORT = 26379
CONNECTIONS = 64
Argument = str | bytes | int | float
_org_of = msgspec.json.Decoder(str | None).decode


@contextmanager
def reaching() -> Iterator[None]:
    """Turn what the client raises when the server cannot be asked into `StoreUnreachableError`.

    uvloop raises `RuntimeError` where a connection was lost between its making and the first use.
    """
    try:
        yield
    except (RedisError, OSError, TimeoutError, RuntimeError) as error:
        raise StoreUnreachableError(f"Redis: {str(error) or type(error).__name__}") from error


class Client:
    """Runs scripts and commands; every method raises `StoreUnreachableError` while the server cannot be asked.

    `url` is `redis://`, `rediss://` (TLS) or `redis+sentinel://host:port,host:port/MASTER/DB`, with user and password
    where needed and the options of redis-py as its query; `namespace=NAME` there keeps deployments apart. `patience`
    is for how many seconds an answer is waited for.
    """

    def __init__(self, url: str, node: str, patience: float) -> None:
        bare, namespace = _without_namespace(url)
        self.space = Space(namespace)
        self.node = node
        self.patience = patience
        self.redis = _connect(bare, patience, retries=1)
        self._listening = _connect(bare, patience, retries=0)  # a connection made anew has missed something
        self._scripts: dict[str, Any] = {}
        self._orgs: set[str | None] = set()

    async def change(self, script: str, org: str | None, *arguments: Argument) -> list[Any]:
        """Run a script that changes records of an org; return the org's version by then, and what it answers."""
        key = self.space.org(org)
        if org not in self._orgs:
            await self.note(org)
        answer = await self.run(script, key, self.space.changes, json(org), self.node, *arguments)
        return answer if isinstance(answer, list) else [answer]

    async def run(self, script: str, key: str, *arguments: Argument) -> Any:  # noqa: ANN401 - as scripts answer
        """Run a script on an org's keys; return what it answers."""
        with reaching():
            return await self.script(script)(keys=[key], args=arguments)

    async def note(self, org: str | None) -> None:
        """Note that there is such an org."""
        with reaching():
            await self.redis.sadd(self.space.orgs, json(org))
        self._orgs.add(org)

    async def shared(self, name: str, value: bytes) -> bytes:
        """Return what this name stands for; if for nothing yet, from now on for this value."""
        key = f"{self.space.name}:{name}"
        with reaching():
            await self.redis.setnx(key, value)
            found = await self.redis.get(key)
        return found if isinstance(found, bytes) else value

    async def orgs(self) -> list[str | None]:
        """Return the orgs that have, or had, records."""
        with reaching():
            return [_org_of(org) for org in await self.redis.smembers(self.space.orgs)]

    async def hashes(self, *keys: str) -> list[dict[bytes, bytes]]:
        """Return these hashes, empty where there is none."""
        with reaching():
            async with self.redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    _ = pipeline.hgetall(key)
                return await pipeline.execute()

    def script(self, source: str) -> Any:  # noqa: ANN401 - redis-py's type is of both its clients
        """Return a script to call, also within a pipeline; the server gets its text only once."""
        known = self._scripts.get(source)
        if known is None:
            known = self._scripts[source] = self.redis.register_script(source)
        return known

    async def time(self) -> float:
        """Return the server's time, seconds since 1970."""
        with reaching():
            seconds, microseconds = await self.redis.time()
        return float(seconds) + float(microseconds) / 1_000_000

    async def ping(self) -> None:
        """Return if the server answers."""
        with reaching():
            await self.redis.ping()

    @asynccontextmanager
    async def subscribed(self, *channels: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """Listen to channels, in order; the iterator, of channels and messages, raises once the connection is lost."""
        pubsub = self._listening.pubsub(ignore_subscribe_messages=True)
        try:
            with reaching():
                await pubsub.subscribe(*channels)
            yield _messages(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Close all connections."""
        for redis in (self.redis, self._listening):
            await redis.aclose(close_connection_pool=True)


async def _messages(pubsub: Any) -> AsyncIterator[tuple[str, bytes]]:  # noqa: ANN401 - untyped in redis-py
    while True:
        with reaching():
            message = await pubsub.get_message(timeout=None)
        if message is not None and message["type"] == "message":
            yield message["channel"].decode(), message["data"]


def check_url(url: str) -> None:
    """Raise `ValueError` for a URL that cannot be understood, or has an option that redis-py does not know."""
    try:
        _ = Client(url, "", 1).redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except TypeError as error:
        raise ValueError(str(error).rpartition("() ")[2]) from None


def _connect(url: str, patience: float, retries: int) -> Redis:
    options: dict[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), retries, supported_errors=(LostConnectionError,)),
        "protocol": 2,
    }
    parts = urlsplit(url)
    if parts.scheme in SENTINEL_SCHEMES:
        return _behind_sentinels(url, options)
    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=patience, **options)
    return Redis(connection_pool=pool)


def _behind_sentinels(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    places, _, login = reversed(parts.netloc.rpartition("@"))
    user, _, password = login.partition(":")
    hosts = [place.partition(":") for place in places.split(",")]
    sentinels = [(host, int(port or SENTINEL_PORT)) for host, _, port in hosts]
    master, _, database = parts.path.strip("/").partition("/")
    is_tls = SENTINEL_SCHEMES[parts.scheme] == "rediss"
    options |= dict(parse_qsl(parts.query)) | {"db": int(database or 0), "ssl": is_tls}
    if user:
        options["username"] = user
    if password:
        options["password"] = password
    theirs = {"socket_timeout": options["socket_timeout"], "ssl": is_tls}
    sentinel = Sentinel(sentinels, sentinel_kwargs=theirs, **options)  # type: ignore[no-untyped-call]
    found: Redis = sentinel.master_for(master)
    return found


def _without_namespace(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    namespace = query.pop("namespace", NAMESPACE)
    return urlunsplit(parts._replace(query=urlencode(query))), namespace
