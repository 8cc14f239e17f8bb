"""Several nodes on one Redis, all of which can be broken, and users who talk over them and miss nothing."""

import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import anyio.to_thread
import httpx2

from tests.hardening.crowd import REFUSED, Peer, all_of
from tests.support.server import Server, free_port, serving
from tests.support.tokens import Keys

SPOKEN = ["resume", "acks", "sessions", "notices"]
AGAIN_SECONDS = 0.05
DEAF_SECONDS = 2.0
LOOK_SECONDS = 0.5
COMING_SECONDS = 10.0
MOST_PENDING = 200
SETTLE_SECONDS = 40.0
BRIEFLY = 0.25


class Cluster:
    """Nodes that share a store. Each keeps its port through all its lives.

    `ports` is how each reaches Redis, unless the settings name another `store_url`.
    """

    def __init__(self, keys: Keys, folder: Path, ports: Sequence[int], **settings: object) -> None:
        self.keys = keys
        self._folder = folder
        self._settings = settings
        self._redis = ports
        self._ports = [free_port() for _ in ports]
        self._running: list[ExitStack] = [ExitStack() for _ in ports]
        self.nodes: list[Server | None] = [None for _ in ports]
        self.logs: list[Path] = []

    @property
    def urls(self) -> list[str]:
        """Where the nodes are, whether they run or not."""
        return [f"ws://127.0.0.1:{port}/ws" for port in self._ports]

    @property
    def living(self) -> list[Server]:
        """The nodes that run."""
        return [node for node in self.nodes if node is not None]

    async def start(self, *which: int) -> None:
        """Start these nodes, and wait until they are ready."""
        async with anyio.create_task_group() as tasks:
            for number in which:
                tasks.start_soon(anyio.to_thread.run_sync, self._start, number)

    async def kill(self, number: int) -> None:
        """Kill a node with SIGKILL."""
        self._node(number).process.kill()
        self._node(number).process.wait()
        self._ended(number)

    async def stop(self, number: int) -> None:
        """Have a node drain and end, which it has to do with success."""
        process = self._node(number).process
        process.terminate()
        code = await anyio.to_thread.run_sync(process.wait, 30)
        self._ended(number)
        assert code == 0, f"a node that was told to stop ended with {code}"

    def freeze(self, number: int) -> None:
        """Have a node stand still."""
        self._node(number).process.send_signal(signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Have it go on."""
        self._node(number).process.send_signal(signal.SIGCONT)

    async def ready(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until all that run are ready."""
        with anyio.fail_after(seconds):
            for node in self.living:
                while not await anyio.to_thread.run_sync(_is_ready, node):  # noqa: ASYNC110 - another process
                    await anyio.sleep(BRIEFLY)

    def close(self) -> None:
        """End all."""
        for number, node in enumerate(self.nodes):
            if node is not None:
                self.thaw(number)
                self._ended(number)

    def complaints(self) -> list[str]:
        """Return what the nodes wrote in their logs that is worse than a warning."""
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        return [line for line in lines if '"level":"warning"' not in line.replace(" ", "")]

    def _node(self, number: int) -> Server:
        node = self.nodes[number]
        assert node is not None, "this node does not run"
        return node

    def _start(self, number: int) -> None:
        folder = self._folder / f"life-{len(list(self._folder.iterdir()))}-of-{number}"
        folder.mkdir()
        url = f"redis://127.0.0.1:{self._redis[number]}/0"
        settings = {"drain_seconds": 1, "store_url": url, **self._settings, "port": self._ports[number]}
        node = self._running[number].enter_context(serving(self.keys, folder, **settings))
        self.logs.append(node.log)
        self.nodes[number] = node

    def _ended(self, number: int) -> None:
        self.nodes[number] = None
        self._running[number].close()


def _is_ready(node: Server) -> bool:
    with suppress(httpx2.TransportError):
        return node.get("/health/ready").status_code == 200
    return False


class Line(Peer):
    """One socket of a voice, which is told of all that comes."""

    def __init__(self, take: Callable[["Line", Any], None]) -> None:
        super().__init__()
        self._take = take
        self.heard_at = perf_counter()

    def took(self, event: Any) -> None:
        """Pass it on."""
        self.heard_at = perf_counter()
        self._take(self, event)


class Tally:
    """What all voices of a test went through."""

    def __init__(self) -> None:
        self.returns: list[float] = []
        self.closes: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.deaf = 0
        self.refused = 0
        self.gaps: list[str] = []
        self.twice: list[str] = []
        self.phantoms: list[str] = []
        self.disorder: list[str] = []
        self.nowhere: list[str] = []
        self.duplicates = 0
        self.starts = 0
        self.over: Counter[str] = Counter()
        self.slow: list[float] = []


class Voice:
    """One user, who talks to another and sends again what was not acknowledged when it has to connect again.

    It checks what it gets: offsets without a gap, nothing twice, and the other's messages in order.
    """

    def __init__(self, name: str, cluster: Cluster, tally: Tally, *, org: str | None = None, at: int = 0) -> None:
        self.name = name
        self.tally = tally
        self.other = ""
        self.session = ""
        self.said = 0
        self.pending: dict[str, int] = {}
        self.acked: set[int] = set()
        self.heard: dict[int, tuple[float, Line]] = {}
        self.line: Line | None = None
        self.is_in = False
        self.is_quiet = False
        self._urls = cluster.urls
        self._at = at
        self._token = cluster.keys.token(name, org)
        self._resume: dict[str, object] | None = None
        self._offset = 0
        self._last = -1
        self._sent_at: dict[str, float] = {}
        self._is_leaving = False

    async def live(self) -> None:
        """Be connected, until told to leave."""
        while not self._is_leaving:
            line = await self._come()
            self._speak_up(line)
            await line.is_gone.wait()
            self._lose(line)

    def _lose(self, line: Line) -> None:
        self.line, self.is_in = None, False
        self._at = self._elsewhere()
        if not self._is_leaving:
            self.tally.closes[line.code] += 1

    async def watch(self) -> None:
        """Give up the socket if nothing is heard over it, though asked for."""
        while not self._is_leaving:
            await anyio.sleep(LOOK_SECONDS)
            line = self.line
            if line is None or not self.is_in:
                continue
            if perf_counter() - line.heard_at > DEAF_SECONDS:
                self.tally.deaf += 1
                line.cut()
            else:
                line.send("PING", offset=self._offset)

    async def meet(self, other: "Voice") -> None:
        """Have a session with another."""
        self.other, other.other = other.name, self.name
        while not self.session or not other.session:
            if self.line is not None and self.is_in and not self.session:
                self.line.send("CONNECTION_REQUEST", targetId=other.name)
            await anyio.sleep(BRIEFLY)

    async def talk(self, rate: float) -> None:
        """Say something this often a second, now and then several things at once, until told to be quiet."""
        while not self.is_quiet:
            await anyio.sleep(random.expovariate(rate / 2))
            for _ in range(random.choice([1, 1, 1, 5])):
                self._say()

    async def leave(self) -> None:
        """Say goodbye."""
        self._is_leaving = True
        if self.line is not None:
            await self.line.leave()

    async def _come(self) -> Line:
        """Connect to the next node that lets us in."""
        began = perf_counter()
        while True:
            line = self.line = Line(self._take)
            try:
                await self._enter(line)
            except (*REFUSED, TimeoutError):
                self.tally.refused += 1
                self.line = None
                line.cut()
                self._at = self._elsewhere()
                await anyio.sleep(AGAIN_SECONDS)
            else:
                self.tally.returns.append(perf_counter() - began)
                return line

    def _elsewhere(self) -> int:
        """Return another node than the last one, whether it runs or not; the same if there is but one."""
        if len(self._urls) == 1:
            return 0
        return (self._at + random.randrange(1, len(self._urls))) % len(self._urls)

    async def _enter(self, line: Line) -> None:
        with anyio.fail_after(DEAF_SECONDS):
            await line.connect(self._urls[self._at])
            resume = {} if self._resume is None else {"resume": {**self._resume, "offset": self._offset}}
            answer = line.expect("AUTH_SUCCESS", "ERROR", "AUTH_FAILED")
            line.send("AUTH", token=self._token, capabilities=SPOKEN, **resume)
            success = await answer
            if "userId" not in success:
                raise TimeoutError
            if not success["recovered"]:
                await line.ask("PEER_REGISTERED", "PEER_REGISTER")
            await line.ask("PONG", "PING")

    def _speak_up(self, line: Line) -> None:
        """Send again what was not acknowledged, in order; from now on what is said goes out at once."""
        self.is_in = True
        for message_id in self.pending:
            self._send(line, message_id)

    def _say(self) -> None:
        if self.is_quiet or len(self.pending) >= MOST_PENDING:
            return
        message_id = f"{self.name} {self.said}"
        self.pending[message_id] = self.said
        self._sent_at[message_id] = perf_counter()
        self.said += 1
        if self.line is not None and self.is_in:
            self._send(self.line, message_id)

    def _send(self, line: Line, message_id: str) -> None:
        line.send("SEND_MESSAGE", sessionId=self.session, content=self.pending[message_id], messageId=message_id)

    def _take(self, line: Line, event: Any) -> None:
        if line is not self.line:
            return
        data = event["data"]
        if "offset" in event:
            self._count(event)
        match event["event"]:
            case "MESSAGE_RECEIVED":
                self._hear(line, data["content"])
            case "MESSAGE_ACK":
                self._acknowledged(data)
            case "AUTH_SUCCESS":
                self._authenticated(data)
            case "ERROR" | "AUTH_FAILED":
                self.tally.errors[data["code"]] += 1
            case name:
                self._met(line, name, data)

    def _met(self, line: Line, name: str, data: Any) -> None:
        """Take what tells of sessions."""
        match name:
            case "CONNECTION_REQUEST_RECEIVED":
                line.send("CONNECTION_RESPONSE", requestId=data["requestId"], accepted=True)
            case "CONNECTION_ACCEPTED" | "SESSION_CREATED":
                self.session = self.session or data["sessionId"]  # who asks once more may get another
            case "SESSION_ENDED":
                self.tally.over[data["reason"]] += 1

    def _count(self, event: Any) -> None:
        if event["offset"] != self._offset + 1:
            self.tally.gaps.append(f"{self.name}: {event['offset']} after {self._offset}, {event['event']}")
        self._offset = event["offset"]

    def _authenticated(self, success: Any) -> None:
        self._resume = {"token": success["resume"]["token"]}
        if not success["recovered"]:
            self.tally.starts += 1
            self._offset = 0

    def _hear(self, line: Line, number: int) -> None:
        now = perf_counter()
        if number in self.heard:
            at, over = self.heard[number]
            told = (
                f"{self.name}: {number} again after {now - at:.3f} s, {over.heard_at - at:.3f} s before the last there"
            )
            is_phantom = over is not line and over.heard_at - at < BRIEFLY
            (self.tally.phantoms if is_phantom else self.tally.twice).append(told)
            return
        self.heard[number] = now, line
        if number < self._last:
            self.tally.disorder.append(f"{self.name}: {number} after {self._last}")
        self._last = max(self._last, number)

    def _acknowledged(self, ack: Any) -> None:
        number = self.pending.pop(ack["messageId"], None)
        self.tally.duplicates += ack.get("duplicate", False)
        if number is None:
            return
        self.tally.slow.append(perf_counter() - self._sent_at.pop(ack["messageId"]))
        if self.other in ack["delivered"] or self.other in ack["queued"]:
            self.acked.add(number)
        else:
            self.tally.nowhere.append(f"{self.name}: {number}")


class Crowd:
    """Pairs of voices over the nodes of a cluster."""

    def __init__(self, cluster: Cluster, pairs: int) -> None:
        self.tally = Tally()
        self.pairs = [
            (
                Voice(f"ann-{number}", cluster, self.tally, org=_org(number), at=number % len(cluster.urls)),
                Voice(f"bob-{number}", cluster, self.tally, org=_org(number), at=number // 3 % len(cluster.urls)),
            )
            for number in range(pairs)
        ]
        self.voices = [voice for pair in self.pairs for voice in pair]

    @property
    def said(self) -> int:
        """How many messages were sent."""
        return sum(voice.said for voice in self.voices)

    @property
    def pending(self) -> int:
        """How many messages are not acknowledged."""
        return sum(len(voice.pending) for voice in self.voices)

    @property
    def lost(self) -> list[str]:
        """What was acknowledged and has not arrived."""
        ways = [way for ann, bob in self.pairs for way in ((ann, bob), (bob, ann))]
        return [f"{to.name}: {number}" for by, to in ways for number in sorted(by.acked - to.heard.keys())]

    async def settle(self) -> None:
        """Say no more, and wait until all is acknowledged and has arrived, or for long enough."""
        for voice in self.voices:
            voice.is_quiet = True
        with anyio.move_on_after(SETTLE_SECONDS):
            while self.pending or self.lost:  # noqa: ASYNC110 - other processes bring it about
                await anyio.sleep(BRIEFLY)

    async def hop(self) -> None:
        """Have some lose their sockets in the middle of what they say, and come back over other nodes, twice."""
        for _ in range(2):
            for voice in random.sample(self.voices, len(self.voices) // 3):
                if voice.line is not None:
                    voice.line.cut()
            await anyio.sleep(BRIEFLY)

    def reset(self) -> None:
        """Forget how long it took to come in at first."""
        self.tally.returns.clear()
        self.tally.refused = 0
        self.tally.starts = 0


@asynccontextmanager
async def talking(cluster: Cluster, pairs: int, rate: float) -> AsyncIterator[Crowd]:
    """Have pairs talk, each voice this often a second, until all is said."""
    crowd = Crowd(cluster, pairs)

    async def meet(number: int) -> None:
        ann, bob = crowd.pairs[number]
        await ann.meet(bob)

    async with anyio.create_task_group() as tasks:
        for voice in crowd.voices:
            tasks.start_soon(voice.live)
            tasks.start_soon(voice.watch)
        with anyio.fail_after(SETTLE_SECONDS):
            await all_of(meet, pairs, pairs)
        crowd.reset()
        for voice in crowd.voices:
            tasks.start_soon(voice.talk, rate)
        yield crowd
        for voice in crowd.voices:
            await voice.leave()
        tasks.cancel_scope.cancel()


def _org(number: int) -> str | None:
    return "acme" if number % 2 else None


def some(items: Iterable[str]) -> str:
    """Return the first of these, for a message."""
    listed = list(items)
    return f"{len(listed)}: {'; '.join(listed[:10])}"
