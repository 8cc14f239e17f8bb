"""A search for the costliest input: mutates frames, keeps what costs most, and tries on from there.

`python -m tests.hardening.search [EVALUATIONS]` prints what it found. The same seed tries the same inputs as far as the
measured times agree, which decide from which input it goes on.
"""

import asyncio
import cProfile
import pstats
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from app.tables import load_routes
from tests.hardening.hostile import BINARY, CONTINUATION, FIN, PING, PONG, TEXT, frame
from tests.hardening.inprocess import Client, Cost, SkippingLoop, World, world
from tests.support.tokens import Keys

SEED = 1
SMALL_ORG, LARGE_ORG = 450, 2000
MAX_FRAMES = 4
MAX_BYTES = 1_048_576
MAX_BYTES_CONNECTED = 65_536
EVENTS_A_WINDOW = 6  # at 200 events a second, in a window of 30 ms
LONG_SECONDS, VERY_LONG_SECONDS = 0.002, 0.1
MAX_PARTS = 2000
BETTER = 1.05
EVENTS_PER_SECOND, BYTES_PER_SECOND = 200, 8_388_608
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|\btrue\b|\bfalse\b|\bnull\b')
NAME = re.compile(rb'"event" ?: ?"(\w+)"')
LITERALS = (
    *(
        b'"\\ud83d"',
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\\u001f"',
        b'"\\\\"',
        b'"\xc3\xa9"',
        b'"\xf0\x9f\x98\x80"',
        b'""',
    ),
    *(b"null", b"true", b"0", b"-1", b"1", b"1e308", b"1e999", b"0.1", b"9" * 400, b"1." + b"0" * 400 + b"1"),
    *(b"[]", b"{}", b'{"a":1}', b'{"\\ud83d":1}', b'"online"', b'"away"', b'"busy"', b'"guest"', b'"observer"'),
    *(b'"hidden"', b'"everyone"', b'"vim"', b'"Peer number"', b'"a"', b'"1"', b'"ffffffffffffff"', b'"7d0"'),
    *(b'"s-1"', b'"s-5"', b'"s-89"', b'"s-300"', b'"s-nobody"', b'"attacker"', b'["s-1","s-2","s-3"]'),
    *(b'"ses_big0"', b'"ses_big1"', b'"ses_pair3"', b'"ses_none"'),
    *(b'"req_in0"', b'"req_in3"', b'"req_out0"', b'"req_out5"', b'"req_none"'),
)
KEYS = (b"ref", b"data", b"event", b"x", b"\\ud83d", b"")
PADDING = (b" ", b"\n", b"x", b"\\u0001", b"\\ud83d", b"\\\\", b"\\n", b"\xc3\xa9", b"\xef\xac\x83", b"[", b"1")
BY_FIELD: dict[str, bytes] = {
    "sessionId": b'"ses_big0"',
    "targetId": b'"s-5"',
    "requestId": b'"req_in0"',
    "content": b'{"a":"b"}',
    "to": b'["s-1","s-2"]',
    "offset": b"0",
    "limit": b"1000",
    "cursor": b'"1"',
    "lanOnly": b"true",
    "accepted": b"true",
    "status": b'"away"',
    "role": b'"guest"',
    "ide": b'"vim"',
    "visibility": b'"hidden"',
    "metadata": b'{"os":"x","publicKey":"k","capabilities":["a","b"]}',
    "capabilities": b'["acks","sessions"]',
    "client": b'{"name":"x","version":"1"}',
    "resume": b'{"token":"t","offset":1}',
}


class Shape(Struct, frozen=True):
    """How a message goes over the wire: as text or binary, in fragments of so many bytes, as a control frame."""

    first: int = FIN | TEXT
    fragment: int = 0


class Message(Struct, frozen=True):
    """One message, and how it is framed."""

    text: bytes
    shape: Shape = Shape()

    @property
    def wire(self) -> bytes:
        """The frames as bytes."""
        first, size = self.shape.first, self.part
        if first in {FIN | PING, FIN | PONG}:
            return frame(first, self.text[:125])
        if not size or len(self.text) <= size:
            return frame(first, self.text)
        parts = [self.text[start : start + size] for start in range(0, len(self.text), size)]
        middle = b"".join(frame(CONTINUATION, part) for part in parts[1:-1])
        return frame(first & ~FIN, parts[0]) + middle + frame(FIN | CONTINUATION, parts[-1])

    @property
    def frames(self) -> int:
        """How many frames it has."""
        if not self.part or self.shape.first in {FIN | PING, FIN | PONG}:
            return 1
        return max(1, -(-len(self.text) // self.part))

    @property
    def part(self) -> int:
        """How many bytes each fragment has; 0 if there are none."""
        return max(self.shape.fragment, len(self.text) // MAX_PARTS) if self.shape.fragment else 0


Input = tuple[Message, ...]


class Class(Struct, frozen=True):
    """Whose input it is: a socket in this state, of a user in this org."""

    name: str
    state: str
    org: str
    max_bytes: int
    bytes_per_second: int


CLASSES = (
    Class("unauthenticated", "connected", "large", MAX_BYTES_CONNECTED, MAX_BYTES_CONNECTED),
    Class("authenticated", "authenticated", "large", MAX_BYTES, BYTES_PER_SECOND),
    Class("registered, 450 peers", "registered", "small", MAX_BYTES, BYTES_PER_SECOND),
    Class("registered, 2,000 peers", "registered", "large", MAX_BYTES, BYTES_PER_SECOND),
)


class Found(Struct, frozen=True):
    """An input, how many bytes it has on the wire, and what it costs each time."""

    input: Input
    cost: Cost
    of: Class
    size: int

    @property
    def per_event(self) -> float:
        """CPU seconds an event."""
        return self.cost.seconds / self.events

    @property
    def events(self) -> int:
        """How many events it has; a fragment counts as one (protocol.md section 3)."""
        return sum(message.frames for message in self.input)

    @property
    def per_byte(self) -> float:
        """CPU seconds a byte."""
        return self.cost.seconds / self.size

    @property
    def load(self) -> float:
        """CPU seconds a second, if it is sent as often as the default limits allow."""
        return self.cost.seconds / max(self.events / EVENTS_PER_SECOND, self.size / self.of.bytes_per_second)

    @property
    def spread(self) -> float:
        """Bytes sent for a byte received."""
        return self.cost.sent / self.size

    @property
    def kind(self) -> str:
        """What it is like: the events it has, and the answers."""
        names = sorted({_name(message) for message in self.input})
        return f"{'+'.join(names)} → {', '.join(self.cost.answers[:3]) or 'nothing'}"


def _name(message: Message) -> str:
    if message.shape.first in {FIN | PING, FIN | PONG}:
        return "ping" if message.shape.first == FIN | PING else "pong"
    found = NAME.findall(message.text)
    name = (found[-1].decode()[:20] if found else "?") + (" (parts)" if message.shape.fragment else "")
    return name + (" (binary)" if message.shape.first == FIN | BINARY else "")


OBJECTIVES: dict[str, Callable[[Found], float]] = {
    "load": lambda found: found.load,
    "per event": lambda found: found.per_event,
    "per byte": lambda found: found.per_byte,
    "spread": lambda found: found.spread,
}


class Mutator:
    """Makes inputs of one class from others, or from events that would do."""

    def __init__(self, random: Random, seeds: list[bytes], max_bytes: int) -> None:
        self._random = random
        self._seeds = seeds
        self._max_bytes = max_bytes
        self._changes = (
            (self._replace, 5),
            (self._lengthen, 5),
            (self._insert, 4),
            (self._repeat, 4),
            (self._nest, 2),
            (self._fill, 3),
            (self._bytes, 1),
            (self._rename, 1),
        )

    def seed(self) -> Input:
        """Return an event that would do."""
        return (Message(self._random.choice(self._seeds)),)

    def mutate(self, input_: Input) -> Input:
        """Return an input a little different."""
        messages = list(input_)
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            at = self._random.randrange(len(messages))
            dice = self._random.random()
            if dice < 0.1 and len(messages) < MAX_FRAMES:
                messages.insert(at, self._random.choice([messages[at], *self.seed()]))
            elif dice < 0.15 and len(messages) > 1:
                del messages[at]
            elif dice < 0.22:
                messages[at] = replace(messages[at], shape=self._shape())
            elif dice < 0.27:
                messages[at] = self.seed()[0]
            else:
                text = self._change(messages[at].text)
                messages[at] = replace(messages[at], text=text[: self._max_bytes - 20])
        return tuple(messages)

    def _shape(self) -> Shape:
        first = self._random.choice((TEXT, TEXT, TEXT, TEXT, BINARY, PING, PONG))
        return Shape(FIN | first, self._random.choice((0, 0, 0, 0, 1, 16, 1000)))

    def _change(self, text: bytes) -> bytes:
        changes, weights = zip(*self._changes, strict=True)
        change: Callable[[bytes], bytes] = self._random.choices(changes, weights)[0]
        return change(text)

    def _token(self, text: bytes, *, is_string: bool = False) -> tuple[int, int] | None:
        spots = [match.span() for match in TOKEN.finditer(text[:20_000])]
        if is_string:
            spots = [spot for spot in spots if text[spot[0]] == ord('"')]
        return self._random.choice(spots) if spots else None

    def _replace(self, text: bytes) -> bytes:
        spot = self._token(text)
        return text if spot is None else text[: spot[0]] + self._random.choice(LITERALS) + text[spot[1] :]

    def _lengthen(self, text: bytes) -> bytes:
        """Put something into a string, many times, mostly as often as it just fits a limit of its field."""
        spot = self._token(text, is_string=True)
        if spot is None:
            return text
        times = self._random.choice((1, 8, 64, 125, 250, 1000, 4000, 30_000, 500_000))
        start = spot[0] + 1
        return text[:start] + self._random.choice(PADDING) * times + text[start:]

    def _insert(self, text: bytes) -> bytes:
        """Add a member to an object, maybe one that is there already."""
        spots = [match.start() for match in re.finditer(rb"\{", text[:20_000])]
        if not spots:
            return text
        at = self._random.choice(spots) + 1
        name = self._random.choice([*KEYS, *(name.encode() for name in BY_FIELD)])
        comma = b"" if text[at : at + 1] == b"}" else b","
        value = BY_FIELD.get(name.decode(), b"") if self._random.random() < 0.5 else b""
        return text[:at] + b'"' + name + b'":' + (value or self._random.choice(LITERALS)) + comma + text[at:]

    def _repeat(self, text: bytes) -> bytes:
        """Repeat what stands between two commas, or a slice of a few bytes."""
        times = self._random.choice((2, 8, 64, 1000, 30_000))
        commas = [match.start() for match in re.finditer(rb",", text[:20_000])]
        if len(commas) > 1 and self._random.random() < 0.7:
            at = self._random.randrange(len(commas) - 1)
            start, end = commas[at], commas[at + 1]
        else:
            start = self._random.randrange(len(text) or 1)
            end = start + self._random.randint(1, 12)
        piece = text[start:end]
        times = min(times, self._max_bytes // max(1, len(piece)))
        return text[:start] + piece * times + text[end:]

    def _nest(self, text: bytes) -> bytes:
        spot = self._token(text)
        if spot is None:
            return text
        depth = self._random.choice((1, 10, 100, 400, 900, 1100, 30_000))
        opening, closing = self._random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[[],", b"]")))
        return text[: spot[0]] + opening * depth + text[spot[0] : spot[1]] + closing * depth + text[spot[1] :]

    def _fill(self, text: bytes) -> bytes:
        """Make a list of a value, or of several."""
        spot = self._token(text)
        if spot is None:
            return text
        times = self._random.choice((2, 30, 64, 1000, 10_000, 100_000))
        value = text[spot[0] : spot[1]]
        times = min(times, self._max_bytes // (len(value) + 1))
        return text[: spot[0]] + b"[" + b",".join([value] * times) + b"]" + text[spot[1] :]

    def _bytes(self, text: bytes) -> bytes:
        if not text:
            return b"{}"
        at = self._random.randrange(len(text))
        match self._random.randrange(3):
            case 0:
                return text[:at]
            case 1:
                return text[:at] + text[at + 1 :]
            case _:
                return text[:at] + bytes([self._random.randrange(128)]) + text[at + 1 :]

    def _rename(self, text: bytes) -> bytes:
        other = NAME.search(self._random.choice(self._seeds))
        assert other
        return NAME.sub(b'"event":"' + other[1] + b'"', text)


class Search(Struct):
    """One class's search: of each kind of input it keeps the costliest, by each objective."""

    world: World
    of: Class
    mutator: Mutator
    random: Random
    best: dict[str, dict[str, Found]] = field(default_factory=lambda: {name: {} for name in OBJECTIVES})
    client: Client | None = None

    async def run(self, evaluations: int, seeds: list[bytes]) -> None:
        """Try so many inputs."""
        for text in seeds:
            await self._try((Message(text),))
        for _ in range(evaluations):
            await self._try(self.mutator.mutate(self._parent()))

    def _parent(self) -> Input:
        if self.random.random() < 0.1:
            return self.mutator.seed()
        objective = self.random.choice(("load", "load", "per event", "per byte", "spread"))
        ranked = sorted(self.best[objective].values(), key=OBJECTIVES[objective], reverse=True)
        return ranked[min(int(self.random.expovariate(0.15)), len(ranked) - 1)].input

    async def _try(self, input_: Input) -> None:
        found = await self.measure(input_)
        for objective, value in OBJECTIVES.items():
            if value(found) > BETTER * self._known(objective, found):
                again = await self.measure(input_)
                surer = min(found, again, key=lambda each: each.cost.seconds)
                if value(surer) > BETTER * self._known(objective, surer):
                    self.best[objective][surer.kind] = surer

    def _known(self, objective: str, found: Found) -> float:
        known = self.best[objective].get(found.kind)
        return 0.0 if known is None else OBJECTIVES[objective](known)

    async def top(self, objective: str, count: int) -> list[Found]:
        """Return the costliest, without the messages that add nothing, and of each kind only the first."""
        value = OBJECTIVES[objective]
        ranked = sorted(self.best[objective].values(), key=value, reverse=True)[: 3 * count]
        told: dict[str, Found] = {}
        for found in ranked:
            least = await self._reduced(found, value)
            if value(least) > value(told.get(least.kind, found)) or least.kind not in told:
                told[least.kind] = least
        return sorted(told.values(), key=value, reverse=True)[:count]

    async def _reduced(self, found: Found, value: Callable[[Found], float]) -> Found:
        """Drop each message without which it costs as much."""
        for message in found.input:
            rest = tuple(each for each in found.input if each is not message)
            if rest:
                less = await self.measure(rest)
                if value(less) > 0.9 * value(found):
                    return await self._reduced(less, value)
        return found

    async def measure(self, input_: Input) -> Found:
        """Return what an input costs: the least of three times, each some events at the rate that is allowed."""
        wires = [message.wire for message in input_]
        size = sum(map(len, wires))
        first = await self._once(wires)
        if first.seconds > VERY_LONG_SECONDS:
            return Found(input_, first, self.of, size)
        if first.seconds > LONG_SECONDS or first.is_closed:
            costs = [first] + [await self._once(wires) for _ in range(2)]
            return Found(input_, min(costs, key=lambda cost: cost.seconds), self.of, size)
        times = max(1, EVENTS_A_WINDOW // len(wires))
        costs = [await self._once(wires * times) for _ in range(3)]
        least = min(costs, key=lambda cost: cost.seconds)
        cost = Cost(least.seconds / times, least.sent // times, least.answers, least.is_closed)
        return Found(input_, cost, self.of, size)

    async def _once(self, wires: list[bytes]) -> Cost:
        if self.client is None or self.client.wire.is_closing() or self.of.state == "connected":
            await self.leave()
            self.client = await self.world.attacker(self.of.state, self.of.org)
        elif self.of.state == "registered":
            await self.world.restore(self.of.org)
        cost = await self.world.cost(self.client, wires)
        if cost.is_closed or "PEER_REGISTERED" in cost.answers:
            await self.leave()
        return cost

    async def leave(self) -> None:
        """Let the attacker's socket go."""
        if self.client is not None:
            self.client.protocol.connection_lost(None)
            self.client = None
            await asyncio.sleep(1)

    async def where(self, found: Found) -> str:
        """Return the functions in which the time goes."""
        profile = cProfile.Profile()
        wires = [message.wire for message in found.input]
        await self._once(wires)
        profile.enable()
        for _ in range(1 if found.cost.seconds > LONG_SECONDS else 100):
            await self._once(wires)
        profile.disable()
        stats: Any = pstats.Stats(profile)
        own = sorted(((entry[2], place) for place, entry in stats.stats.items() if _is_server(place)), reverse=True)
        whole = sum(seconds for seconds, _ in own) or 1.0
        return ", ".join(f"{_place(place)} {seconds / whole:.0%}" for seconds, place in own[:4])


def _is_server(place: tuple[str, int, str]) -> bool:
    """Whether this is of the server, and not of what runs it here."""
    others = ("tests/", "asyncio/", "selectors", "anyio", "runtime.py", "builtins.sum", "epoll", "_thread", "'int'")
    return not any(part in f"{place[0]} {place[2]}" for part in others)


def _place(place: tuple[str, int, str]) -> str:
    file, line, function = place
    return function if file == "~" else f"{Path(file).parent.name}/{Path(file).name}:{line} {function}"


def seeds(world_: World, of: Class) -> list[bytes]:
    """Return an event of each name, with all its fields and with the required ones only."""
    made = []
    for route in load_routes(()).values():
        fields = msgspec.structs.fields(route.message)
        values = {info.encode_name: _value(info.encode_name, world_, of) for info in fields}
        needed = {info.encode_name: values[info.encode_name] for info in fields if info.required}
        made += [_event(route.event, values), _event(route.event, needed)]
    return list(dict.fromkeys(made))


def _value(name: str, world_: World, of: Class) -> bytes:
    if name == "token":
        return f'"{world_.token(of.org)}"'.encode()
    return BY_FIELD.get(name, b'"m"')


def _event(name: str, values: dict[str, bytes]) -> bytes:
    members = b",".join(b'"%b":%b' % (key.encode(), value) for key, value in values.items())
    return b'{"event":"%b","data":{%b}}' % (name.encode(), members)


async def search(keys: Keys, evaluations: int, *, is_explained: bool) -> AsyncIterator[str]:
    """Return a report, class by class."""
    async with world(keys, SMALL_ORG, LARGE_ORG) as made:
        for of in CLASSES:
            random = Random(f"{SEED} {of.name}")
            each = seeds(made, of)
            mutator = Mutator(random, each, of.max_bytes)
            work = Search(made, of, mutator, random)
            await work.run(evaluations, each)
            for objective in OBJECTIVES:
                yield "\n".join(await _told(work, objective, is_explained=is_explained))
            await work.leave()


async def _told(work: Search, objective: str, *, is_explained: bool) -> list[str]:
    ranked = await work.top(objective, 10 if objective == "load" else 6)
    lines = [f"\n## {work.of.name}, by {objective}\n", "| input | bytes | us/event | ns/byte | CPU s/s | out/in |"]
    lines += ["|---|---|---|---|---|---|", *map(_row, ranked)]
    if is_explained:
        for found in ranked:
            lines += ["", f"- `{shown(found.input)}`", f"  in {await work.where(found)}"]
    return lines


def _row(found: Found) -> str:
    return (
        f"| {found.kind}{' (closed)' if found.cost.is_closed else ''} | {found.size:,} | {found.per_event * 1e6:,.0f} |"
        f" {found.per_byte * 1e9:,.1f} | {found.load:.2f} | {found.spread:,.0f} |"
    )


def shown(input_: Input) -> str:
    """Return an input, shortened."""
    return " ; ".join(_short(message.text) for message in input_)


def _short(text: bytes) -> str:
    plain = re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN", text.decode(errors="replace")[:60_000])
    told = re.sub(r"(.{1,40}?)\1{3,}", lambda match: f"({match[1]} {len(match[0]) // len(match[1])} times)", plain)
    return told.replace("|", "/").replace("`", "'")[:240]


def main(evaluations: int) -> None:
    """Search, and print what was found."""

    async def tell(folder: str) -> None:
        async for part in search(Keys(Path(folder)), evaluations, is_explained=True):
            sys.stdout.write(part + "\n")
            sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(tell(folder))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
