"""Clients that hop between nodes while they talk, and what becomes of nodes and their connections, by lot."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

import anyio
import msgspec
from anyio.abc import TaskGroup

from schemas.peers import Profile
from stores.log import Appended, Event, MessageKey, Outcome
from stores.model import Holder, Peer, User
from stores.protocols import Listener, Stores, StoreUnreachableError
from stores.redis.stores import RedisStores
from tests.support.proxy import Proxy

PROFILE = Profile(display_name="x", role="guest", ide="vim")
RETRY = 0.05
OFTEN = 0.01
PATIENCE = 3.0
_numbers = count(1)


class Said(msgspec.Struct, array_like=True, frozen=True):
    """A message: whose it is, its number, and over which connection of the sender it came."""

    sender: str
    number: int
    over: int
    has_key: bool


class Node(Listener):
    """A node, as far as the log is concerned: its sockets, and which of them its users' events go to."""

    def __init__(self, tasks: TaskGroup, stores: Stores, proxy: Proxy | None) -> None:
        self.tasks = tasks
        self.stores = stores
        self.proxy = proxy
        self.is_dead = False
        self.sockets: dict[int, Socket] = {}
        self.links: dict[User, Socket] = {}
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        stores.listener = self

    async def start(self) -> None:
        started = anyio.Event()
        self.tasks.start_soon(self._live, started)
        await started.wait()

    async def _live(self, started: anyio.Event) -> None:
        with self._scope:
            await self.stores.run(started.set)
        self._ended.set()

    async def kill(self) -> None:
        """End it as a crash does: its sockets are gone, and what it had not sent, too."""
        self.is_dead = True
        self._scope.cancel()
        for socket in list(self.sockets.values()):
            socket.end()
        await self._ended.wait()
        if self.proxy is not None and isinstance(self.stores, RedisStores):
            self.proxy.thaw()
            await self.stores.client.close()

    def superseded(self, user: User, holder: Holder) -> None:
        socket = self.sockets.get(holder.socket)
        if socket is not None:
            self.drop(socket)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Have a dead node's calls end as those do that get no answer, whatever redis-py makes of it."""
        try:
            yield
        except AttributeError as error:
            if not self.is_dead:
                raise
            raise StoreUnreachableError from error

    def drop(self, socket: "Socket") -> None:
        """Notice the end of a socket."""
        if self.sockets.pop(socket.holder.socket, None) is None or self.is_dead:
            return
        socket.end()
        if self.links.get(socket.user) is socket:
            del self.links[socket.user]
            self.stores.log.unfollow(socket.user)
        self.tasks.start_soon(self._release, socket)

    async def _release(self, socket: "Socket") -> None:
        while not self.is_dead:
            with suppress(StoreUnreachableError), self.closing():
                await self.stores.peers.release(socket.user, socket.holder)
                socket.released.set()
                return
            await anyio.sleep(RETRY)


class Socket:
    """A socket of a client, and the reader of its events. `is_open` is for the node: the client may be gone already."""

    def __init__(self, client: "Client", node: Node) -> None:
        self.client = client
        self.user = client.user
        self.node = node
        self.holder = Holder(node.stores.node, next(_numbers))
        self.is_open = True
        self.released = anyio.Event()
        self.pending = 0
        self.last: dict[tuple[str, int], int] = {}
        node.sockets[self.holder.socket] = self

    def end(self) -> None:
        self.is_open = False
        if self.client.socket is self:
            self.client.socket = None

    def catch_up(self, first: int, payloads: Sequence[bytes]) -> None:
        for offset, payload in enumerate(payloads, first):
            self.client.hear(self, offset, payload)
        if self.client.token is None and payloads:
            self.node.stores.log.trim(self.user, first + len(payloads) - 1)

    def take(self, offset: int, event: Event) -> None:
        if not self.is_open or self.node.is_dead:
            return
        if self.client.token is None and offset:
            self.node.stores.log.trim(self.user, offset)
        self.client.hear(self, offset, event.payload)

    def lost(self) -> None:
        self.node.drop(self)


class Client:
    """A user who sends to all others. What was not acknowledged it sends again over its next connection."""

    def __init__(self, harness: "Harness", user: User, token: str | None) -> None:
        self.harness = harness
        self.dice = harness.dice
        self.user = user
        self.token = token
        self.offset = 0
        self.socket: Socket | None = None
        self.last: Socket | None = None
        self.heard: dict[Said, str] = {}
        self.latest: dict[str, int] = {}
        self.promised: set[tuple[str, int]] = set()
        self.unsure: dict[int, set[User]] = {}
        self.over = 0
        self.sent = 0

    @property
    def others(self) -> list[User]:
        return [user for user in self.harness.clients if user != self.user]

    @property
    def missing(self) -> list[tuple[str, int]]:
        """What was acknowledged to its sender, and never came."""
        known = {(said.sender, said.number) for said in self.heard}
        return sorted(self.promised - known)

    def hear(self, socket: Socket, offset: int, payload: bytes) -> None:
        """Take an event; a client with a token that is gone from there does not get it."""
        said = msgspec.json.decode(payload, type=Said)
        if self.token is not None:
            if self.socket is not socket:
                return
            assert offset == self.offset + 1, f"{self.user.id} got {offset} after {self.offset}"
            self.offset = offset
        again = [how for each, how in self.heard.items() if (each.sender, each.number) == (said.sender, said.number)]
        how = f"{offset} over {socket.holder} at {time.monotonic() % 1000:.3f}"
        assert not again, f"{self.user.id} got {said} as {how} and {again}"
        self.heard[said] = how
        if said.has_key and self.token is not None:
            assert self.latest.get(said.sender, 0) < said.number, f"{said} after {self.latest[said.sender]}"
            self.latest[said.sender] = said.number
        connection = said.sender, said.over
        assert socket.last.get(connection, 0) < said.number, f"{said} after {socket.last[connection]}"
        socket.last[connection] = said.number

    async def come(self, node: Node, patience: float = PATIENCE) -> bool:
        """Connect and authenticate; the answer may be lost, or take too long.

        A user of version 1 loses what reached a socket that it has left, unless that was noticed before.
        """
        if self.last is not None and self.token is None and not self.harness.trouble:
            await self.last.released.wait()
        socket = self.last = Socket(self, node)
        try:
            with node.closing(), anyio.fail_after(patience):
                is_there = await self._authenticate(node, socket)
        except (StoreUnreachableError, TimeoutError):
            is_there = False
        if not is_there:
            node.drop(socket)
            return False
        if not socket.is_open or node.is_dead:
            return False
        node.links[self.user] = socket
        return True

    async def _authenticate(self, node: Node, socket: Socket) -> bool:
        log, user, holder = node.stores.log, self.user, socket.holder
        before = await node.stores.peers.claim(user, holder)
        if before is not None and before.node == node.stores.node:
            node.superseded(user, before)
        offset, token = None, self.token
        if token is None:
            if not await log.start(user, holder, None):
                return False
        else:
            offset, token = self.offset, f"token {next(_numbers)}"
            if not await log.resume(user, holder, self.token or "", offset, token):
                assert await self.harness.holder(node, user) != holder, f"{user.id} was refused at {offset}"
                return False
            if self.dice.random() < self.harness.trouble / 5:
                return False
        if not socket.is_open or node.is_dead:
            return False
        self.socket, self.token = socket, token
        self.over = next(_numbers)
        return await log.follow(user, holder, offset, socket)

    async def live(self, steps: int) -> None:
        for _ in range(steps):
            if self.socket is None:
                if await self.come(self.dice.choice(self.harness.nodes), self.dice.choice([0.02, 0.2, PATIENCE])):
                    self.say_again()
                else:
                    await anyio.sleep(RETRY)
            else:
                await self.act(self.socket)
            await anyio.sleep(self.dice.choice([0, 0, 0.001, 0.01, 0.03]))

    async def act(self, socket: Socket) -> None:
        number, node = self.dice.random(), socket.node
        if number < 0.6:
            self.say(socket, has_key=self.dice.random() < 0.7)
        elif number < 0.75 and self.token is not None:
            node.stores.log.confirm(self.user)
            node.stores.log.trim(self.user, self.offset)
        elif number < 0.9:
            node.drop(socket)
        elif self.harness.trouble or self.token is not None:
            self.socket = None
            if self.dice.random() < 0.5:
                await self.come(self.dice.choice(self.harness.nodes))
                self.say_again()

    def say(self, socket: Socket, *, has_key: bool) -> None:
        """Send a message to all others; one without a key directly to a socket of version 1, where it can be."""
        self.sent += 1
        said = Said(self.user.id, self.sent, self.over, has_key)
        if has_key:
            self.unsure[self.sent] = set(self.others)
            self._append(socket, said, self.others)
            return
        links = [socket.node.links.get(user) for user in self.others]
        near = {link.user: link for link in links if link and link.client.token is None and not link.pending}
        for link in near.values():
            link.take(0, _event(link.user, said))
        self._append(socket, said, [user for user in self.others if user not in near])

    def say_again(self) -> None:
        if self.socket is not None:
            for number in sorted(self.unsure):
                self._append(self.socket, Said(self.user.id, number, self.over, has_key=True), self.others)

    def _append(self, socket: Socket, said: Said, users: Sequence[User]) -> None:
        key = None
        if said.has_key:
            key = MessageKey.of("ses_1", self.user, str(said.number), int(time.time() * 1000))

        def done(user: User, appended: Appended) -> None:
            assert appended.outcome in {Outcome.DELIVERED, Outcome.QUEUED}, f"{said} to {user.id}: {appended}"
            if socket.node.is_dead or (said.has_key and self.socket is not socket):
                return
            self.harness.clients[user].promised.add((said.sender, said.number))
            if said.has_key and said.number in self.unsure:
                self.unsure[said.number].discard(user)
                if not self.unsure[said.number]:
                    del self.unsure[said.number]

        with suppress(StoreUnreachableError):
            socket.node.stores.log.append([_event(user, said) for user in users], key, done)


class Harness:
    """The nodes and their clients; `trouble` is how much of it there is, from 0 to 1."""

    def __init__(self, seed: int, trouble: float) -> None:
        self.dice = random.Random(seed)
        self.trouble = trouble
        self.nodes: list[Node] = []
        self.clients: dict[User, Client] = {}

    async def holder(self, node: Node, user: User) -> Holder | None:
        """Return who holds the claim of a user."""
        claims = getattr(node.stores.log, "_claims", None)
        if claims is not None:
            found: Holder | None = claims.get(user)
            return found
        return await node.stores.log.claims.holder(user)  # type: ignore[attr-defined, no-any-return]

    async def move_in(self, names: Sequence[str], with_token: int) -> None:
        """Have all users come for the first time, and go; so many of them with a token."""
        for number, name in enumerate(names):
            user, node = User(name), self.nodes[0]
            client = self.clients[user] = Client(self, user, f"first of {name}" if number < with_token else None)
            while not await self._enter(client, node):
                pass

    async def _enter(self, client: Client, node: Node) -> bool:
        socket = Socket(client, node)
        try:
            await node.stores.peers.claim(client.user, socket.holder)
            peer = Peer(client.user, PROFILE, "online", b"a")
            return await node.stores.peers.register(peer, socket.holder) and await node.stores.log.start(
                client.user, socket.holder, client.token
            )
        except StoreUnreachableError:  # where the machine has much to do
            return False
        finally:
            node.drop(socket)

    async def live(self, steps: int) -> None:
        async with anyio.create_task_group() as tasks:
            for client in self.clients.values():
                tasks.start_soon(client.live, steps)

    async def settle(self, seconds: float) -> None:
        """Have all clients come who are not there, and say again what was not acknowledged, until all is heard."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in self.clients.values():
                if client.socket is None and await client.come(self.dice.choice(self.nodes)):
                    client.say_again()
            if all(client.socket and not client.unsure for client in self.clients.values()) and not self.why:
                return
            await anyio.sleep(OFTEN)
        raise AssertionError(self.why)

    @property
    def why(self) -> str:
        """What is still missing."""
        found = []
        for client in self.clients.values():
            must_hear = client.token is not None or not self.trouble
            if must_hear and client.missing:
                found.append(f"{client.user.id} at {client.offset} misses {client.missing}")
            if client.unsure:
                found.append(f"{client.user.id} was not answered {client.unsure}")
        return "; ".join(found)


def _event(user: User, said: Said) -> Event:
    return Event(user, msgspec.json.encode(said), "if_room")
