"""Several nodes in one process: what delivers is the real thing, Redis is a double, with any delay between them.

What a node writes goes to the store in one queue, and the answers come back in another. Changes, and what other nodes
sent, come to it in a third, in the order in which the store told them. Nothing moves by itself.
"""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, cast

import anyio
from msgspec import Struct

from app.delivery.cluster import cluster
from app.delivery.endpoint import Endpoint
from app.delivery.handover import Handover
from app.delivery.hub import Hub
from app.delivery.mail import Mail
from app.delivery.nodes import Followers, Nodes
from app.delivery.outbox import Flusher, Outbox
from app.delivery.presence import Presence
from app.delivery.resumption import Resumption
from handlers.ports import Socket
from schemas.auth import Resume
from schemas.capabilities import Spoken
from schemas.errors import CloseCode
from schemas.peers import Profile
from stores.base import Holder, Peer, Revocation, StoreUnreachableError, User
from stores.bus import Home
from stores.redis.bus import RedisBus
from stores.redis.changer import Changer
from stores.redis.client import Argument, Client, Wire
from stores.redis.pipe import _call_all
from stores.redis.reading import Reading
from stores.redis.records import RedisPeers
from stores.redis.refill import refill
from stores.redis.replica import Replica
from stores.redis.rows import home_of, home_row, peer_of
from stores.redis.rows import json as encoded
from stores.redis.settling import Settling
from stores.redis.space import Space
from tests.support.doubles import CountingIds, RecordingTransport, Turns

SPOKEN: Spoken = frozenset({"resume", "acks"})
SPACE = Space("mesh")
MOST_MARKS = 64
PLENTY = 1 << 30
APART = 1_000_000


class Kept(Struct):
    """What is kept for a user, as `scripts.WRITE` has it; `opened` is by which fence and write its tokens were."""

    tokens: bytes | None = None
    bases: bytes | None = None
    opened: tuple[int, int] | None = None
    last: int = 0
    seen: bytes | None = None
    mail: list[bytes] = []
    marks: list[bytes] = []

    def is_stale(self, fence: int, serial: int) -> bool:
        return self.opened is not None and self.opened[0] == fence and serial <= self.opened[1]

    def is_foreign(self, fence: int) -> bool:
        return self.opened is not None and self.opened[0] != fence

    def keep(self, first: int, last: int, seen: str, frames: list[bytes], marks: bytes) -> int:
        have = self.last
        if last <= have:
            return 1
        begin = last - len(frames)
        if have < begin and first <= begin:
            return 2
        self.mail = [] if begin > have else self.mail
        self.mail = self.mail + frames[max(0, have - begin) :]
        self.mail = self.mail[first - last - 1 :] if last >= first else []
        self.last, self.seen = last, seen.encode()
        if marks:
            self.marks = [*self.marks, marks][-MOST_MARKS:]
        return 1

    def open(self, opened: tuple[int, int], tokens: str, bases: str, is_new: bool, last: int) -> None:
        if is_new:
            self.mail, self.last = [], last
        self.tokens, self.bases, self.opened = tokens.encode(), bases.encode(), opened


class Filled:
    """Who filled the store in this life, by the versions up to which they knew, and what they wrote."""

    def __init__(self, life: bytes, least: int, below: int) -> None:
        self.life, self.least, self.below, self.most = life, least, below, -1
        self.written: dict[tuple[str, str], tuple[int, Any]] = {}


class Store:
    """What Redis has of the users without an org; `execute` and `change` do what its scripts do."""

    def __init__(self) -> None:
        self.version = self.fence = 0
        self.homes: dict[str, Home] = {}
        self.holders: dict[str, bytes] = {}
        self.peers: dict[str, bytes] = {}
        self.kept: dict[str, Kept] = {}
        self.told: dict[str, deque[tuple[str, bytes]]] = {}
        self.lives = 0
        self.filled = Filled(b"", 0, 0)

    def execute(self, command: list[Argument]) -> object:
        """Do a command of a node's pipe."""
        name, first, *rest = command
        if name == "PUBLISH":
            queue = self.told.get(str(first))
            if queue is not None:
                queue.append(("parcels", cast("bytes", rest[0])))
            return 0
        _, _, writes, _, _, node, *arguments = rest
        return self.write(str(node), cast("bytes", writes), cast("list[bytes]", arguments))

    def write(self, node: str, writes: bytes, arguments: list[bytes]) -> list[int]:
        """See `scripts.WRITE`."""
        answers = []
        for kind, user, fence, serial, *about in json.loads(writes):
            count = about[3] if kind == "keep" else -1
            marks, frames = (arguments[0], arguments[1 : count + 1]) if kind == "keep" else (b"", [])
            del arguments[: count + 1]
            home = self.homes.get(user)
            if home is None or home.fence != fence:
                answers.append(0 if home else 2)
                continue
            answers.append(1)
            kept = self.kept.setdefault(user, Kept())
            if kept.is_stale(fence, serial):
                continue
            if kind == "keep" and kept.is_foreign(fence):
                answers[-1] = 2
            elif kind == "keep":
                first, last, seen, _ = about
                answers[-1] = kept.keep(first, last, seen, frames, marks)
            elif kind == "open":
                kept.open((fence, serial), *about)
            else:
                self._forget(node, user)
        return answers

    def read(self) -> Reading:
        """Return what a node that reads everything anew finds."""
        reading = Reading(None)
        reading.version, reading.homes = self.version, dict(self.homes)
        reading.peers = {user: peer_of(row) for user, row in self.peers.items()}
        reading.places = dict.fromkeys(self.peers, 1)
        return reading

    def load(self, user: str) -> list[object]:
        """See `scripts.LOAD_BOX`."""
        kept = self.kept.get(user) or Kept()
        opened = None if kept.opened is None else b"%d %d" % kept.opened
        return [kept.tokens, kept.last, kept.seen, opened, kept.bases, kept.marks, kept.mail]

    def change(self, name: str, node: str, user: str, *about: Any) -> list[Any]:
        """See `scripts.CHANGE`; the answer begins with the version."""
        made: list[Any] = getattr(self, f"_{name}")(node, user, *about)
        return [self.version, *made]

    def empty(self) -> None:
        """Lose everything but the count of what changed, for nobody waits in vain here."""
        for each in self.homes, self.holders, self.peers, self.kept:
            each.clear()
        self.lives += 1

    def refill(self, node: str, life: bytes, _loss: str, is_last: int, version: int, *rest: Any) -> list[int]:
        """See `scripts.REFILL`."""
        _placed, _fenced, *fields = rest
        if self.filled.life != life:
            self.filled = Filled(life, version, version + APART)
        filled = self.filled
        is_ahead = filled.most < version < filled.below
        filled.least = min(filled.least, version) if is_ahead else filled.least
        for name, field, value, kind, about, is_own in zip(*(fields[at::6] for at in range(6)), strict=True):
            if name not in ("holders", "peers", "homes") or not (is_ahead or is_own):
                continue
            record = home_of(value) if name == "homes" else value
            if self._fill(version, name, field, record, about) and kind:
                self._tell(kind, node, about)
            if is_ahead:
                filled.written[name, field] = version, record
        if is_ahead and is_last:
            filled.most = version
            self._drop_outdated(node, version)
        return [self.version]

    def _fill(self, version: int, name: str, field: str, value: Any, about: bytes) -> bool:
        known: dict[str, Any] = getattr(self, name)
        is_missing = self._is_missing(known, name, field, value, about)
        if known.get(field) == value or not (is_missing or self._is_outdated(version, name, field)):
            return False
        if name == "homes":
            self.holders.pop(field, None)
            self.filled.written.pop(("holders", field), None)
        known[field] = value
        return True

    def _is_missing(self, known: dict[str, Any], name: str, field: str, value: Any, about: bytes) -> bool:
        if name == "homes" and field in known:
            return bool(value.fence > known[field].fence)
        is_at_home = name != "holders" or (field in self.homes and home_row(self.homes[field]) == about)
        return field not in known and (name, field) not in self.filled.written and is_at_home

    def _is_outdated(self, version: int, name: str, field: str) -> bool:
        found = getattr(self, name).get(field)
        by, value = self.filled.written.get((name, field), (version, None))
        is_as_written = found is not None and by < version and found == value
        return is_as_written and (
            name != "peers" or field not in self.homes or self._is_outdated(version, "homes", field)
        )

    def _drop_outdated(self, node: str, version: int) -> None:
        for name, field in sorted(self.filled.written, reverse=True) if self.filled.least < version else ():
            if self._is_outdated(version, name, field):
                del getattr(self, name)[field]
                if name != "holders":
                    self._tell("gone" if name == "peers" else "left", node, encoded(field))

    def _claim(self, node: str, user: str, holder: bytes, socket: int) -> list[Any]:
        before = self.holders.get(user)
        self.holders[user] = holder
        self._settle(node, user, socket)
        return [before]

    def _adopt(self, node: str, user: str, fence: int, holder: bytes) -> list[int]:
        if self._is_home_since(node, user, 0, fence):
            return [1]
        if not self._is_fence(user, fence):
            return [0]
        if self.holders.get(user) == holder:
            del self.holders[user]
        self._settle(node, user, 0)
        return [1]

    def _reclaim(self, node: str, user: str, fence: int, holder: bytes, socket: int) -> list[int]:
        if self._is_home_since(node, user, socket, fence):
            return [1]
        if not self._is_fence(user, fence):
            return [0]
        self.holders[user] = holder
        self._settle(node, user, socket)
        return [1]

    def _register(self, node: str, user: str, holder: bytes, peer: bytes) -> list[int]:
        if self.holders.get(user) != holder:
            return [0]
        self.peers[user] = peer
        self._tell("peer", node, b"1", peer)
        return [1]

    def _is_fence(self, user: str, fence: int) -> bool:
        return user in self.homes and self.homes[user].fence == fence

    def _is_home_since(self, node: str, user: str, socket: int, fence: int) -> bool:
        home = self.homes.get(user)
        return home is not None and (home.node, home.socket) == (node, socket) and home.fence >= fence

    def _settle(self, node: str, user: str, socket: int) -> None:
        self.fence += 1
        self.homes[user] = Home(node, socket, self.fence)
        self._tell("home", node, *map(encoded, (user, node, socket, self.fence)))

    def _forget(self, node: str, user: str) -> None:
        self.kept.pop(user, None)
        if user not in self.holders and user not in self.peers:
            self.homes.pop(user, None)
            self._tell("left", node, encoded(user))

    def _tell(self, kind: str, node: str, *about: bytes) -> None:
        self.version += 1
        told = b",".join((encoded(kind), encoded(node), b"null", encoded(self.version), *about))
        for queue in self.told.values():
            queue.append(("change", b"[[" + told + b"]]"))


class Until(Awaitable[None]):
    """Waits for a condition that a `Task` looks at."""

    def __init__(self, is_so: Callable[[], bool]) -> None:
        self._is_so = is_so

    def __await__(self) -> Generator[Callable[[], bool], None, None]:
        while not self._is_so():
            yield self._is_so


class Task:
    """A coroutine that goes on when it is told to."""

    def __init__(self, work: Coroutine[Any, None, None]) -> None:
        self._work = work
        self._is_ready: Callable[[], bool] = lambda: True
        self.is_over = False

    @property
    def is_ready(self) -> bool:
        return self._is_ready()

    def go_on(self) -> None:
        try:
            self._is_ready = self._work.send(None)
        except StopIteration:
            self.is_over = True

    def close(self) -> None:
        self._work.close()


class Line:
    """How a node asks the store, in place of a `Client` and a `Changer`; each question by itself."""

    def __init__(self, node: str, store: Store) -> None:
        self.node = node
        self.space = SPACE
        self.patience = 1.0
        self.replica: Replica
        self._store = store
        self.asked: list[Callable[[], None]] = []
        self.is_deaf = False

    async def run(self, _script: str, _key: str, user: str) -> object:
        return await self._ask(partial(self._store.load, user))

    async def make(self, name: str, _org: None, *about: object) -> list[Any]:
        version, *answer = await self._ask(partial(self._store.change, name, self.node, *about))  # type: ignore[arg-type]
        if self.is_deaf:
            raise StoreUnreachableError("Redis: the answer was lost")
        await Until(lambda: self.replica._orgs[None].version >= version)
        return answer

    async def _ask(self, question: Callable[[], list[Any]]) -> list[Any]:
        answers: list[list[Any]] = []
        self.asked.append(lambda: answers.append(question()))
        await Until(lambda: bool(answers))
        return answers[0]

    async def note(self, _org: None) -> None:
        pass

    async def change(self, _script: str, _org: None, *about: Any) -> None:
        await self._ask(partial(self._store.refill, self.node, *about))


class Settled:
    """In place of `Settling`: nobody waits, for what is kept is never lost but where the test has it so."""

    async def settled(self, user: User) -> None:
        pass


class Answers:
    """The answers of the store that have come, in place of a `Wire`."""

    def __init__(self) -> None:
        self.there: deque[object] = deque()

    async def answers(self, count: int) -> list[object]:
        return [self.there.popleft() for _ in range(count)]


class Seat(RecordingTransport):
    """A client's socket: `came` is what was written to it, which the client is yet to read."""

    def __init__(self, number: int, node: "Node") -> None:
        super().__init__()
        self.holder = Holder(node.name, number)
        self.node = node
        self.address = b"here"
        self.spoken = SPOKEN
        self.outbox = Outbox(self, node.flusher, PLENTY, self.supersede)
        self.came: deque[bytes] = deque()
        self.is_open = True

    def write(self, payloads: list[bytes]) -> None:
        self.came += payloads

    def supersede(self) -> None:
        self.close(CloseCode.SUPERSEDED, "")

    def close(self, code: int, reason: str) -> None:
        self.is_open = False
        if code == CloseCode.ABNORMAL:
            self.outbox.discard()
        else:
            self.outbox.close()
        self.node.lose(self)

    def revoke(self, revocation: Revocation) -> User | None:
        return None


class Node:
    """One node, as `app.runtime` puts it together; the queues are for the test to move on."""

    def __init__(self, name: str, store: Store, monotonic: Callable[[], float]) -> None:
        self.name = name
        self.line = Line(name, store)
        self.replica = self.line.replica = Replica(cast("Client", self.line))
        self.replica._orgs[None].version = store.version
        self.told = store.told[SPACE.node(name)] = deque()
        self.bus = RedisBus(cast("Client", self.line), self.replica, cast("Changer", self.line))
        self.pipe = self.bus._pipe
        self.pipe.is_away = False
        self.up: deque[list[Argument]] = deque()
        self.is_reading = False
        self.answers = Answers()
        changer, settling = cast("Changer", self.line), cast("Settling", Settled())
        self.peers = RedisPeers(cast("Client", self.line), self.replica, changer, 1.0, settling)
        self.turns, self.tasks = Turns(), list[Task]()
        self.flusher = Flusher(self.turns.call_soon, self.turns.call_later, PLENTY)
        self.endpoints: dict[int, Seat] = {}
        made = cluster(self.bus, monotonic)
        assert made is not None
        self.relay, self.ledger = made.relay, made.ledger
        directory, endpoints = self.replica.directory, cast("dict[int, Endpoint]", self.endpoints)
        self.presence = Presence(directory, 10, monotonic, has_nodes=True)
        self.mail = Mail(events=PLENTY, size=PLENTY, total_size=PLENTY, on_overflow=lambda _: None)
        ids = CountingIds()
        self.resumption = Resumption(endpoints, self.mail, self.presence, lambda of: ids(f"{name} {of}"), cluster=made)
        self.hub = Hub(endpoints, self.mail, self.presence, directory, self.resumption, cluster=made)
        self.handover = Handover(endpoints, self.hub, self.mail, self.presence, made)
        self.relay.deliver = self.handover.deliver
        followers = Followers(self._adopt, self._reassert, self._enforce, self.spawn)
        self.bus.watcher = Nodes(self.bus, directory, made, self.handover, followers)
        for user, home in store.homes.items():
            self.replica._put_home(User(user), home)
        for peer in store.peers.values():
            self.replica.directory.put_peer(peer_of(peer), 1)

    def spawn(self, work: Awaitable[None]) -> None:
        self.tasks.append(Task(cast("Coroutine[Any, None, None]", work)))

    def lose(self, seat: Seat) -> None:
        """Take note that a socket is closed."""
        self.endpoints.pop(seat.holder.socket, None)
        for user in list(self.presence.links):
            self.hub.lost(user, cast("Endpoint", seat))

    async def enter(self, user: User, seat: Seat, resume: Resume | None) -> None:
        """Do what follows from AUTH, and from PEER_REGISTER where the client has to start over."""
        socket = cast("Socket", seat)
        self.endpoints[seat.holder.socket] = seat
        previous = await self.peers.claim(user, seat.holder)
        if previous is not None:
            self.hub.detach(user)
            self.hub.supersede(previous)
        token = None if resume is None else await self.hub.recover(user, resume, socket)
        is_recovered = token is not None
        if token is None:
            token = await self.hub.admit(user, socket)
        seat.outbox.put(encoded({"token": token, "recovered": is_recovered}))
        if await self.peers.register(_peer(user), seat.holder):
            self.hub.attach(user, socket)
        else:
            seat.close(CloseCode.SUPERSEDED, "")

    async def _adopt(self, user: User, home: Home) -> None:
        """Do what `Takeover` does."""
        is_ours = False
        with suppress(StoreUnreachableError):
            is_ours = await self.bus.adopt(user, home)
        if is_ours:
            self.handover.adopt(user, SPOKEN, home, await self.bus.load(user))

    async def _reassert(self, user: User, before: Home, adopted: Home) -> None:
        """Do what `Takeover` does."""
        seat = cast("Seat | None", self.handover.endpoint(user))
        if seat is not None and await self.bus.reclaim(user, adopted, seat.holder.socket):
            if await self.peers.register(_peer(user), seat.holder):
                self.handover.merge(user, await self.bus.load(user), before)
        elif not self.hub.is_home(user):
            self.handover.moved(user, before, is_claimed=seat is not None)
        self.handover.claimed(user)

    async def _enforce(self, revocation: Revocation) -> None:
        pass

    async def come_back(self, store: Store, *, is_empty: bool) -> None:
        """Do what a node does as it comes back to the store, which may have lost everything; what was told is lost."""
        if is_empty:
            await refill(cast("Client", self.line), self.replica, b"%d" % store.lives, "emptied")
            self.bus.watcher.emptied()
        told = [(kind, data) for kind, data in self.told if kind == "parcels"]
        self.told.clear()
        self.told += told
        self.replica._replace(store.read())
        self.is_reading = False

    def send(self) -> None:
        """Put what is due on its way to the store."""
        self.pipe._due = anyio.Event()
        load = self.pipe._load()
        self.up += [list(command) for command in load.commands]
        _call_all(load.sent)

    def take_answers(self) -> None:
        """Take the answers to the oldest load."""
        Task(self.pipe._answer(cast("Wire", self.answers))).go_on()

    def hear(self) -> None:
        """Take in what the store told next."""
        kind, data = self.told.popleft()
        (self.replica.hear if kind == "change" else self.bus.hear)(data)

    def moves(self, *, is_cut: bool) -> list[Callable[[], None]]:
        """Return what could happen next here; one that is cut off from the store has only its own tasks."""
        moves: list[Callable[[], None]] = []
        if self.pipe._due.is_set() and not is_cut:
            moves.append(self.send)
        if self.pipe._loads and len(self.answers.there) >= len(self.pipe._loads[0].commands) and not is_cut:
            moves.append(self.take_answers)
        if self.told and not self.is_reading and not is_cut:
            moves.append(self.hear)
        self.tasks = [task for task in self.tasks if not task.is_over]
        return moves + [task.go_on for task in self.tasks if task.is_ready]


def _peer(user: User) -> Peer:
    return Peer(user, Profile(user.id, "guest", "other"), "online", b"here", spoken=SPOKEN)
