"""One node and its clients, by lot: they come, go, talk and are away, while the node is killed and its disk is slow.

Nothing here waits for time to pass. The dice say what is next, so that a seed is the same life each time.
"""

import random
from collections.abc import Sequence
from itertools import count

import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from schemas.peers import Profile
from stores.log import Appended, Event, MessageKey, Outcome
from stores.model import Holder, Peer, User
from stores.protocols import Stores, StoreUnreachableError

PROFILE = Profile(display_name="x", role="guest", ide="vim")
SESSION = "ses_1"
NOW = 1_700_000_000_000
KEPT = {Outcome.DELIVERED, Outcome.QUEUED}
SETTLING_ROUNDS = 400


class Said(msgspec.Struct, array_like=True, frozen=True):
    """A message: whose it is, its number, and over which connection of the sender it came first."""

    sender: str
    number: int
    over: int
    has_key: bool


class Message:
    """A message that its sender waits to see acknowledged.

    `starts` is how often each receiver had started over by then: one that does so later may never get it.
    """

    def __init__(self, said: Said, receivers: Sequence["Client"]) -> None:
        self.said = said
        self.receivers = receivers
        self.starts = {each: each.starts for each in receivers}


class Socket:
    """A connection of a client. `is_open` is the node's view: the client may be gone already."""

    def __init__(self, node: "Node", client: "Client") -> None:
        self.node = node
        self.client = client
        self.holder = Holder(node.stores.node, next(node.numbers))
        self.is_open = True
        self.pending = 0
        node.sockets[self.holder.socket] = self

    @property
    def is_connected(self) -> bool:
        """Whether the client is at the other end of it."""
        return self.client.socket is self

    def catch_up(self, first: int, payloads: Sequence[bytes]) -> None:
        for offset, payload in enumerate(payloads, first):
            self._hear(offset, payload)
        if payloads and not self.client.has_log:
            self.node.stores.log.trim(self.client.user, first + len(payloads) - 1)

    def take(self, offset: int, event: Event) -> None:
        if not self.is_open:
            return
        if offset and not self.client.has_log:
            self.node.stores.log.trim(self.client.user, offset)
        self._hear(offset, event.payload)

    def lost(self) -> None:
        self.node.drop(self)

    def _hear(self, offset: int, payload: bytes) -> None:
        if self.is_connected:
            self.client.hear(offset, msgspec.json.decode(payload, type=Said))


class Node:
    """The node: its sockets, and to which of them its users' events go."""

    def __init__(self, stores: Stores, tasks: TaskGroup, numbers: "count[int]") -> None:
        self.stores = stores
        self.numbers = numbers
        self.sockets: dict[int, Socket] = {}
        self.links: dict[User, Socket] = {}
        self._tasks = tasks

    def drop(self, socket: Socket) -> None:
        """Notice that a socket is gone, or close it."""
        if self.sockets.pop(socket.holder.socket, None) is None:
            return
        socket.is_open = False
        client = socket.client
        client.socket = None if client.socket is socket else client.socket
        if self.links.get(client.user) is socket:
            del self.links[client.user]
            self.stores.log.unfollow(client.user)
        self._tasks.start_soon(self.stores.peers.release, client.user, socket.holder)

    async def claim(self, socket: Socket) -> None:
        before = await self.stores.peers.claim(socket.client.user, socket.holder)
        if before is not None and before.socket in self.sockets:
            self.drop(self.sockets[before.socket])
        peer = Peer(user=socket.client.user, profile=PROFILE, status="online", address=b"a")
        await self.stores.peers.register(peer, socket.holder)

    async def follow(self, socket: Socket, offset: int | None) -> None:
        if socket.is_open and await self.stores.log.follow(socket.client.user, socket.holder, offset, socket):
            self.links[socket.client.user] = socket
        else:
            self.drop(socket)


class Client:
    """A user who talks to all others. What was not acknowledged it sends again over its next connection."""

    def __init__(self, life: "Life", name: str, *, has_log: bool) -> None:
        self.life = life
        self.user = User(name)
        self.has_log = has_log
        self.token = ""
        self.offset = 0
        self.over = 0
        self.sent = 0
        self.starts = 0
        self.socket: Socket | None = None
        self.is_coming = False
        self.heard: set[tuple[str, int]] = set()
        self.promised: set[tuple[str, int]] = set()
        self.latest: dict[tuple[str, int], int] = {}
        self.waiting: dict[int, Message] = {}

    @property
    def missing(self) -> set[tuple[str, int]]:
        """What was acknowledged to its sender, and neither came nor was given up."""
        return self.promised - self.heard

    @property
    def state(self) -> str:
        where = "here" if self.socket else "coming" if self.is_coming else "away"
        return f"{self.user.id} is {where}, misses {sorted(self.missing)}, waits for {sorted(self.waiting)}"

    def hear(self, offset: int, said: Said) -> None:
        name = self.user.id
        if self.has_log:
            assert offset == self.offset + 1, f"{name} got {offset} after {self.offset}"
            self.offset = offset
        assert (said.sender, said.number) not in self.heard, f"{name} got {said} twice"
        self.heard.add((said.sender, said.number))
        if said.has_key and self.life.is_tight:
            return  # one that was refused, and is sent again, comes after those that found room before
        for over in (said.over, 0) if said.has_key else (said.over,):
            before = self.latest.get((said.sender, over), 0)
            assert before < said.number, f"{name} got {said} after {before}"
            self.latest[said.sender, over] = said.number

    async def come(self, node: Node) -> None:
        """Connect, authenticate, and send again what was not acknowledged. The answer to that may be lost."""
        socket = Socket(node, self)
        try:
            offset = await self._authenticate(node, socket)
            if self.socket is socket:
                await node.follow(socket, offset)
            for message in list(self.waiting.values()):
                if self.socket is socket:
                    self._append(message)
        except StoreUnreachableError:
            node.drop(socket)
        finally:
            self.is_coming = False

    async def _authenticate(self, node: Node, socket: Socket) -> int | None:
        log, dice = node.stores.log, self.life.dice
        token = f"{self.user.id} {next(node.numbers)}" if self.has_log else None
        await node.claim(socket)
        offset: int | None = None
        is_recovered = self.token != "" and await log.resume(
            self.user, socket.holder, self.token, self.offset, token or ""
        )
        if not socket.is_open:
            return None
        if is_recovered:
            offset = self.offset
        else:
            assert self.token == "" or self.life.may_refuse, f"{self.user.id} was refused at {self.offset}"
            if not await log.start(self.user, socket.holder, token):
                node.drop(socket)
                return None
            if token is not None:
                offset = 0
                self.starts += 1
                self.promised.clear()
        if socket.holder.socket not in node.sockets or dice.random() < self.life.trouble / 4:
            if not is_recovered and dice.random() < 0.5:
                node.drop(socket)
            return offset
        self.socket, self.over = socket, next(node.numbers)
        if token is not None:
            self.token, self.offset = token, offset or 0
        return offset

    def act(self, socket: Socket) -> None:
        node, dice = socket.node, self.life.dice
        number = dice.random()
        if number < 0.6:
            self.say(has_key=dice.random() < 0.7)
        elif number < 0.75 and self.has_log:
            node.stores.log.confirm(self.user)
            node.stores.log.trim(self.user, self.offset)
        elif number < 0.88:
            node.drop(socket)
        else:
            self.socket = None  # which the node notices later, if at all

    def say(self, *, has_key: bool) -> None:
        """Send a message to some of the others."""
        others = [each for each in self.life.clients if each is not self]
        receivers = self.life.dice.sample(others, self.life.dice.randint(1, len(others)))
        self.sent += 1
        message = Message(Said(self.user.id, self.sent, self.over, has_key), receivers)
        if has_key:
            self.waiting[self.sent] = message
        self._append(message)

    def _append(self, message: Message) -> None:
        socket, said = self.socket, message.said
        assert socket is not None
        payload = msgspec.json.encode(said)
        receivers = message.receivers if said.has_key else self._beyond(socket.node, message, payload)
        events = [Event(each.user, payload, "if_room") for each in receivers]
        key = MessageKey.of(SESSION, self.user, str(said.number), NOW) if said.has_key else None
        outcomes: dict[User, Outcome] = {}

        def done(user: User, appended: Appended) -> None:
            assert user not in outcomes, f"{user.id} was told of twice"
            outcomes[user] = appended.outcome
            if len(outcomes) == len(events) and said.has_key and self.socket is socket:
                self._acknowledged(message, outcomes)

        try:
            socket.node.stores.log.append(events, key, done)
        except StoreUnreachableError:
            socket.node.drop(socket)

    def _beyond(self, node: Node, message: Message, payload: bytes) -> list["Client"]:
        """Hand a message directly to sockets of version 1, as the hub does; return the other receivers."""
        links = [node.links.get(each.user) for each in message.receivers]
        near = [link for link in links if link is not None and not link.client.has_log and not link.pending]
        for link in near:
            link.take(0, Event(link.client.user, payload))
        return [each for each in message.receivers if each not in {link.client for link in near}]

    def _acknowledged(self, message: Message, outcomes: dict[User, Outcome]) -> None:
        self.waiting.pop(message.said.number, None)
        for each in message.receivers:
            outcome = outcomes[each.user]
            assert outcome in KEPT or self.life.may_refuse, f"{message.said} to {each.user.id}: {outcome}"
            if outcome in KEPT and each.has_log and each.starts == message.starts[each]:
                each.promised.add((message.said.sender, message.said.number))


class Engine:
    """What the stores are, and what may happen to them."""

    may_lose = True

    async def open(self) -> Stores:
        """Start the node, or start it anew after it was killed."""
        raise NotImplementedError

    def kill(self, stores: Stores) -> None:
        """End the node without a word."""

    def work(self, dice: random.Random) -> None:
        """Do some of what the engine does in the background, or have it fail."""

    def settle(self) -> None:
        """Do all of it."""


class Life:
    """One seed. `trouble` says how much goes wrong, from 0 to 1; `is_tight` that logs are small."""

    def __init__(self, seed: int, engine: Engine, *, is_tight: bool) -> None:
        self.dice = random.Random(seed)
        self.engine = engine
        self.trouble = (0, 0.5, 1)[seed % 3]
        self.is_tight = is_tight
        self.has_lapsed = False
        self.numbers = count(1)
        self.clients = [Client(self, name, has_log=name < "c") for name in ("ann", "bob", "cat", "dan")]

    @property
    def may_refuse(self) -> bool:
        """Whether a client may have to start over."""
        return self.is_tight or self.has_lapsed or (self.engine.may_lose and self.trouble > 0)

    async def run(self, steps: int) -> None:
        while steps > 0:
            async with anyio.create_task_group() as tasks:
                node = Node(await self.engine.open(), tasks, self.numbers)
                await self._enter(node)
                steps = await self._live(node, tasks, steps)
                if steps <= 0:
                    await self._settle(node, tasks)
                tasks.cancel_scope.cancel()
            for client in self.clients:
                client.socket = None
                client.is_coming = False
            self.engine.kill(node.stores)

    async def _enter(self, node: Node) -> None:
        """Have those registered of whom the engine knows nothing."""
        for client in self.clients:
            if node.stores.directory.peer(client.user) is None:
                await self._patiently(client, node)

    async def _patiently(self, client: Client, node: Node) -> None:
        async with anyio.create_task_group() as tasks:
            client.is_coming = True
            tasks.start_soon(client.come, node)
            while client.is_coming or node.stores.directory.peer(client.user) is None:
                self.engine.settle()
                await anyio.lowlevel.checkpoint()

    async def _live(self, node: Node, tasks: TaskGroup, steps: int) -> int:
        """Live until the node is killed; return how many steps are left."""
        while steps > 0:
            steps -= 1
            for _ in range(self.dice.randrange(4)):
                await anyio.lowlevel.checkpoint()
            if self.dice.random() < 0.4:
                self.engine.work(self.dice)
            if self.dice.random() < self.trouble / 50:
                return steps
            self._step(node, tasks)
        return 0

    def _step(self, node: Node, tasks: TaskGroup) -> None:
        client = self.dice.choice(self.clients)
        if client.socket is not None and not client.is_coming:
            client.act(client.socket)
        elif not client.is_coming:
            client.is_coming = True
            tasks.start_soon(client.come, node)
        elif self.dice.random() < 0.2 and node.sockets:
            node.drop(self.dice.choice(list(node.sockets.values())))

    async def _settle(self, node: Node, tasks: TaskGroup) -> None:
        """Have all come and hear what they were promised."""
        for _ in range(SETTLING_ROUNDS):
            self.engine.settle()
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
            for client in self.clients:
                if client.socket is None and not client.is_coming:
                    client.is_coming = True
                    tasks.start_soon(client.come, node)
            if all(each.socket and not each.waiting and not each.missing for each in self.clients):
                return
        raise AssertionError("; ".join(each.state for each in self.clients))
