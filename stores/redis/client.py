"""The connections of one node to Redis, Valkey, or what Sentinels say is their master."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import anyio
from hiredis import Reader, pack_command
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

from stores.protocols import StoreUnreachableError
from stores.redis.keyspace import Keyspace
from stores.redis.lua import read_scripts
from stores.redis.url import SENTINEL_OPTIONS, SENTINEL_SCHEMES, check_form, places

NAMESPACE = "peersync"
SENTINEL_PORT = 26379
CONNECTIONS = 64
READ_BYTES = 65_536
Argument = str | bytes | int | float
_pack: Callable[[tuple[Argument, ...]], bytes] = cast("Any", pack_command)


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
    where needed and the options of `stores.redis.url` as its query; `namespace=NAME` there keeps deployments apart,
    and `sentinel_username` and `sentinel_password` are for the Sentinels. `patience` is for how many seconds an answer
    is waited for.
    """

    def __init__(self, url: str, node: str, patience: float) -> None:
        bare, namespace = _without_namespace(url)
        self.keys = Keyspace(namespace)
        self.scripts = read_scripts()
        self.node = node
        self.patience = patience
        self.redis = _connect(bare, patience, retries=1)
        self._listening = _connect(bare, patience, retries=0)  # a connection made anew has missed something
        self._wiring = _connect(bare, patience, retries=0, socket_timeout=None)  # timed by load, not by command
        self._loaded: dict[str, AsyncScript] = {}

    async def run(self, script: str, keys: Sequence[str], *arguments: Argument) -> Any:  # noqa: ANN401 - as scripts answer
        """Run a script by its name; return what it answers. If the connection is lost meanwhile it may run twice."""
        loaded = self._loaded.get(script)
        if loaded is None:
            loaded = self._loaded[script] = self.redis.register_script(self.scripts[script].text)
        with reaching():
            return await loaded(keys=keys, args=arguments)

    async def ask(self, *commands: Sequence[Argument]) -> list[Any]:
        """Send these commands together; return what each answers."""
        with reaching():
            async with self.redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    _ = pipeline.execute_command(*command)
                return await pipeline.execute()

    async def shared(self, key: str, value: bytes) -> bytes:
        """Return what this key has; if nothing yet, from now on this value."""
        _, found = await self.ask(("SET", key, value, "NX"), ("GET", key))
        return found if isinstance(found, bytes) else value

    async def ping(self) -> None:
        """Return if the server answers."""
        with reaching():
            await self.redis.ping()

    @asynccontextmanager
    async def subscribed(self, *channels: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """Listen to channels, in order; the iterator, of channels and messages, raises once the connection is lost.

        What is told once this is entered is heard: the server has confirmed each channel by then.
        """
        pubsub = self._listening.pubsub()
        try:
            with reaching():
                await pubsub.subscribe(*channels)
                with anyio.fail_after(self.patience):
                    early = await _confirmed(pubsub, len(channels))
            yield _messages(pubsub, self.patience, early)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def wired(self, *scripts: str) -> AsyncIterator["Wire"]:
        """Have a connection of one's own; the server knows these scripts, given by their names, by then."""
        pool = self._wiring.connection_pool
        with reaching():
            with anyio.fail_after(self.patience):
                connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            wire = Wire(connection, self.patience)
            await wire.ask([("SCRIPT", "LOAD", self.scripts[script].text) for script in scripts])
            yield wire
        finally:
            with anyio.CancelScope(shield=True):
                await connection.disconnect(nowait=True)
                await pool.release(connection)

    async def close(self) -> None:
        """Close all connections; those that break meanwhile are closed as well."""
        for redis in (self.redis, self._listening, self._wiring):
            with suppress(StoreUnreachableError), reaching():
                await redis.aclose(close_connection_pool=True)


class Wire:
    """A connection to write to without waiting for answers; raises `StoreUnreachableError` once it is lost."""

    def __init__(self, connection: AbstractConnection, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._stream: Any = connection._reader  # noqa: SLF001 - see `read`
        self._parser = Reader()

    async def send(self, commands: Sequence[Sequence[Argument]]) -> None:
        """Write these; one that cannot be written within `patience` has lost the connection."""
        packed = [_pack(tuple(command)) for command in commands]
        if not self._connection.is_connected:  # else redis-py would make another one
            raise StoreUnreachableError("Redis: the connection was lost")
        try:
            with reaching(), anyio.fail_after(self._patience):
                await self._connection.send_packed_command(packed, check_health=False)
        except RuntimeError as error:  # as uvloop has it of a connection that is closing
            raise StoreUnreachableError(f"Redis: {error}") from error

    async def answers(self, count: int) -> list[Any]:
        """Return the answers to so many, all of which come within `patience`; one that is an error raises, too."""
        with reaching(), anyio.fail_after(self._patience):
            return [await self._connection.read_response() for _ in range(count)]

    async def read(self, is_due: Callable[[], bool]) -> list[Any]:
        """Return the answers that come next, one at least; they are waited for as long as none `is_due`.

        One that became due meanwhile has as much time from then on.

        redis-py takes some 30 us for an answer. So its parser is passed by: nothing may be left in it.
        """
        answers: list[Any] = []
        while not answers:
            was_due = is_due()
            with anyio.move_on_after(self._patience) as waiting, reaching():
                data = await self._stream.read(READ_BYTES)
                if not data:
                    raise LostConnectionError("it was closed")
                self._parser.feed(data)
                while (answer := self._parser.gets()) is not False:
                    if isinstance(answer, Exception):
                        raise StoreUnreachableError(f"Redis: {answer}")
                    answers.append(answer)
            if waiting.cancelled_caught and was_due:
                raise StoreUnreachableError("Redis: no answer in time")
        return answers

    async def ask(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Write these, and return their answers; nothing else may be without an answer."""
        await self.send(commands)
        return await self.answers(len(commands))


async def _confirmed(pubsub: Any, count: int) -> list[Any]:  # noqa: ANN401 - untyped in redis-py
    """Wait until so many channels are subscribed to; return the messages that came over the first of them before."""
    early = []
    while count:
        message = await pubsub.get_message(timeout=None)
        if message["type"] == "subscribe":
            count -= 1
        else:
            early.append(message)
    return early


async def _messages(pubsub: Any, patience: float, early: Iterable[Any]) -> AsyncIterator[tuple[str, bytes]]:  # noqa: ANN401
    """Yield what comes. A server that says nothing is asked if it is there: one whose machine is gone never closes."""
    for message in early:
        yield message["channel"].decode(), message["data"]
    is_asked = False
    while True:
        with reaching():
            message = await pubsub.get_message(timeout=patience)
            if message is None and is_asked:
                raise LostConnectionError("nothing comes from it any more")
            is_asked = message is None
            if is_asked:
                await pubsub.ping()
        if message is not None and message["type"] == "message":
            yield message["channel"].decode(), message["data"]


class _Sentinels(Sentinel):
    """Those that are asked; one that refuses to answer is no better than one that is away."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the master is; whoever knew is asked first the next time. Raises `MasterNotFoundError`."""
        why = ""
        for sentinel in list(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except (RedisError, OSError) as error:
                why = f": {error}"
                continue
            known = masters.get(service_name)
            if known and self.check_master_state(known, service_name):
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return known["ip"], known["port"]
        raise MasterNotFoundError(f"No master found for {service_name!r}{why}")


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to what the Sentinels say is the master; where all are in use, one is waited for."""

    async def aclose(self) -> None:
        """Close them, and those to the Sentinels."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def check_url(url: str) -> None:
    """Raise `ValueError` for a URL that cannot be understood, or has an option that we do not know."""
    check_form(urlsplit(url))
    try:
        _ = Client(url, "", 1).redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except RedisError as error:
        raise ValueError(str(error)) from None


def _connect(url: str, patience: float, retries: int, **others: object) -> Redis:
    options: dict[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), retries, supported_errors=(LostConnectionError,)),
        "protocol": 2,
        **others,
    }
    parts = urlsplit(url)
    if parts.scheme in SENTINEL_SCHEMES:
        return _behind_sentinels(parts, options, patience)
    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=patience, **options)
    return Redis(connection_pool=pool)


def _behind_sentinels(parts: SplitResult, options: dict[str, Any], patience: float) -> Redis:
    name, _, database = parts.path.strip("/").partition("/")
    if not name or not (database or "0").isdecimal():
        raise ValueError("after the Sentinels come the name of the master and the number of its database")
    is_tls = SENTINEL_SCHEMES[parts.scheme] == "rediss"
    login = parts.netloc.rpartition("@")[0]
    query = dict(parse_qsl(parts.query))
    theirs = {SENTINEL_OPTIONS[option]: query.pop(option) for option in SENTINEL_OPTIONS if option in query}
    if "username" in theirs and "password" not in theirs:
        raise ValueError("sentinel_username needs a sentinel_password")
    asked = parse_url(f"redis://{login}@/{database}?{urlencode(query)}")
    tls = {option: value for option, value in asked.items() if option.startswith("ssl_")} | {"ssl": is_tls}
    sentinels = [(place.hostname or "", place.port or SENTINEL_PORT) for place in places(parts)]
    found = _Sentinels(sentinels, sentinel_kwargs={**options, **tls, **theirs})  # type: ignore[no-untyped-call]
    master = {"max_connections": CONNECTIONS, "timeout": patience, **options, **asked, **tls}
    return Redis(connection_pool=_MasterPool(name, found, **master))  # type: ignore[no-untyped-call]


def _without_namespace(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    namespace = query.pop("namespace", NAMESPACE)
    return urlunsplit(parts._replace(query=urlencode(query))), namespace
