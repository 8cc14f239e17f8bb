"""The channel of one node: what other nodes send it, by way of the scripts that append and claim."""

import logging
from collections.abc import Awaitable, Callable, Iterator

import anyio
import msgspec
from msgspec import Struct

from stores.log import Event
from stores.model import User
from stores.protocols import StoreUnreachableError
from stores.redis.client import Client
from stores.redis.keyspace import shard_of
from stores.redis.snapshot import START

RETRY_SECONDS = 0.2
LENGTHS = 8
_logger = logging.getLogger(__name__)


class Header(Struct, array_like=True, frozen=True):
    """Whom a message is for, and the last change of that user's shard which the sender knew."""

    user: User
    shard: int
    seen: str


class Meta(Struct, array_like=True, frozen=True):
    """What the receiving node has to know of an event besides its payload: ids of users of the same org."""

    about: str | None
    names: tuple[str, ...]


class Appended(Struct, frozen=True):
    """Events that were appended to a user's log, the first of them with the offset `first`."""

    header: Header
    epoch: str
    first: int
    events: list[Event]


class Superseded(Struct, frozen=True):
    """Another socket holds the claim of a user; `socket` is the one of this node that held it before."""

    user: User
    socket: int


_encode = msgspec.json.Encoder().encode
_header_of = msgspec.json.Decoder(Header).decode
_user_of = msgspec.json.Decoder(User).decode
_meta_of = msgspec.json.Decoder(Meta).decode
NO_META = _encode(Meta(None, ()))


def header(user: User, shard: int, seen: str) -> bytes:
    """Return what a message begins with; the script adds epoch and offset, and the events."""
    return b"A" + _encode(Header(user, shard, seen)) + b"\n"


def meta(event: Event) -> bytes:
    """Return an event's meta data."""
    if not event.names:
        return NO_META if event.about is None else sender(event.about)
    about = None if event.about is None else event.about.id
    return _encode(Meta(about, tuple(user.id for user in event.names)))


def sender(user: User) -> bytes:
    """Return the meta data of what this user sends."""
    return _encode(Meta(user.id, ()))


def broken(user: User) -> bytes:
    """Return a message by which the node of the user's socket reads the log again: no log has this epoch."""
    return header(user, shard_of(user.org), START) + b" 0\n"


def superseded(user: User) -> bytes:
    """Return a message's beginning; the script adds the number of the socket."""
    return b"S" + _encode(user) + b"\n"


def parse(message: bytes) -> Appended | Superseded:
    """Return what a message says; raises `msgspec.DecodeError` or `ValueError` for one that cannot be understood."""
    line, _, rest = message.partition(b"\n")
    if line[:1] == b"S":
        return Superseded(_user_of(line[1:]), int(rest))
    head = _header_of(line[1:])
    numbers, _, body = rest.partition(b"\n")
    epoch, _, first = numbers.partition(b" ")
    return Appended(head, epoch.decode(), int(first), list(_events(head.user, body)))


def _events(user: User, body: bytes) -> Iterator[Event]:
    at = 0
    while at < len(body):
        size, meta_size = int.from_bytes(body[at : at + 4], "big"), int.from_bytes(body[at + 4 : at + 8], "big")
        at += LENGTHS
        payload, about = body[at : at + size], body[at + size : at + size + meta_size]
        at += size + meta_size
        yield Event(user, payload) if about == NO_META else _event(user, payload, _meta_of(about))


def _event(user: User, payload: bytes, known: Meta) -> Event:
    about = None if known.about is None else User(known.about, user.org)
    return Event(user, payload, about=about, names=tuple(User(each, user.org) for each in known.names))


class Channel:
    """Listens for this node; `connected` is awaited over each new subscription, since messages may have been missed."""

    def __init__(
        self, client: Client, take: Callable[[Appended | Superseded], None], connected: Callable[[], Awaitable[None]]
    ) -> None:
        self._client = client
        self._take = take
        self._connected = connected
        self.is_up = False

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                name = self._client.keys.node(self._client.node)
                async with self._client.subscribed(name) as messages, anyio.create_task_group() as tasks:
                    tasks.start_soon(self._catch_up)
                    async for _, message in messages:
                        self._hear(message)
            except* StoreUnreachableError:
                self.is_up = False
            await anyio.sleep(RETRY_SECONDS)

    async def _catch_up(self) -> None:
        await self._connected()
        self.is_up = True

    def _hear(self, message: bytes) -> None:
        """Take in a message; one that cannot be understood, as of another version, is logged and left out.

        The gap that it leaves is filled from the log.
        """
        try:
            self._take(parse(message))
        except (msgspec.MsgspecError, ValueError):
            _logger.exception("left out a message of another node")
