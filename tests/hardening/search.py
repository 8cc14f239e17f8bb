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

from msgspec import Struct, field

from tests.hardening.hostile import BINARY, FIN, PING, PONG
from tests.hardening.inprocess import Client, Cost, SkippingLoop, World, world
from tests.hardening.mutations import NAME, Input, Message, Mutator, seeds
from tests.support.tokens import Keys

SEED = 1
SMALL_ORG, LARGE_ORG = 450, 2000
MAX_BYTES = 1_048_576
MAX_BYTES_CONNECTED = 65_536
EVENTS_A_WINDOW = 6  # at 200 events a second, in a window of 30 ms
LONG_SECONDS, VERY_LONG_SECONDS = 0.02, 0.1
BETTER = 1.05
EVENTS_PER_SECOND, BYTES_PER_SECOND = 200, 8_388_608
TOLD, TOLD_BESIDES = 10, 6


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
        """How many events it has; a fragment counts as one (docs/protocol.md section 3)."""
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
    def family(self) -> tuple[str, int]:
        """What it is held against: inputs of its kind, and of about its size."""
        return self.kind, self.size.bit_length() // 5

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


class Search(Struct):
    """One class's search: of each kind of input it keeps the costliest, by each objective."""

    world: World
    of: Class
    mutator: Mutator
    random: Random
    best: dict[str, dict[tuple[str, int], Found]] = field(default_factory=lambda: {name: {} for name in OBJECTIVES})
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
                    self.best[objective][surer.family] = surer

    def _known(self, objective: str, found: Found) -> float:
        known = self.best[objective].get(found.family)
        return 0.0 if known is None else OBJECTIVES[objective](known)

    async def top(self, objective: str, count: int) -> list[Found]:
        """Return the costliest, without the messages that add nothing, and of each kind only the first."""
        value = OBJECTIVES[objective]
        ranked = sorted(self.best[objective].values(), key=value, reverse=True)[: 3 * count]
        told: dict[tuple[str, int], Found] = {}
        for found in ranked:
            least = await self._reduced(found, value)
            if least.family not in told or value(least) > value(told[least.family]):
                told[least.family] = least
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


class Part(Struct):
    """What was found in one class: the costliest by load, and the lines of a report."""

    of: Class
    costliest: list[Found]
    lines: list[str]


async def search(keys: Keys, evaluations: int, *, is_explained: bool) -> AsyncIterator[Part]:
    """Return what is found, class by class."""
    async with world(keys, SMALL_ORG, LARGE_ORG) as made:
        for of in CLASSES:
            random = Random(f"{SEED} {of.name}")
            each = seeds(made.forged(of.org) if of.state == "connected" else made.token(of.org))
            work = Search(made, of, Mutator(random, each, of.max_bytes), random)
            await work.run(evaluations, each)
            part = Part(of, await work.top("load", TOLD), [])
            for objective in OBJECTIVES:
                ranked = part.costliest if objective == "load" else await work.top(objective, TOLD_BESIDES)
                part.lines += [f"\n{of.name.capitalize()}, by {objective}:\n", *_table(ranked)]
                if is_explained:
                    for found in ranked:
                        part.lines += ["", f"- `{shown(found.input)}`", f"  in {await work.where(found)}"]
            await work.leave()
            yield part


def _table(ranked: list[Found]) -> list[str]:
    return [
        "| input | bytes | us/event | ns/byte | CPU s/s | out/in |",
        "|---|---|---|---|---|---|",
        *map(_row, ranked),
    ]


def _row(found: Found) -> str:
    return (
        f"| {found.kind}{' (closed)' if found.cost.is_closed else ''} | {found.size:,} | {found.per_event * 1e6:,.0f} |"
        f" {found.per_byte * 1e9:,.1f} | {found.load:.3f} | {found.spread:,.0f} |"
    )


def shown(input_: Input) -> str:
    """Return an input, shortened."""
    return " ; ".join(_short(message.text) for message in input_)


def _short(text: bytes) -> str:
    plain = re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN", text[:60_000].decode("ascii", errors="backslashreplace"))
    told = re.sub(r"(.{1,40}?)\1{3,}", lambda match: f"({match[1]} {len(match[0]) // len(match[1])} times)", plain)
    return told.replace("|", "/").replace("`", "'")[:240]


def main(evaluations: int) -> None:
    """Search, and print what was found."""

    async def tell(folder: str) -> None:
        async for part in search(Keys(Path(folder)), evaluations, is_explained=True):
            sys.stdout.write("\n".join(part.lines) + "\n")
            sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(tell(folder))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
