"""What the search for the costliest input finds costs a real server no more than was paid for either."""

import asyncio
import re
import sys
from collections.abc import Callable, Iterator

import pytest
from msgspec import Struct
from msgspec.structs import replace

from tests.hardening import kinds
from tests.hardening.attackers import Attack
from tests.hardening.costs import Scene, Table, make_sessions, scene
from tests.hardening.inprocess import SkippingLoop
from tests.hardening.mutations import Input, Message
from tests.hardening.search import Part, search, shown
from tests.support.server import Server, serving
from tests.support.tokens import Keys

EVALUATIONS = 3000
STRANGERS, STRANGER_CPU_RATE = 100, 0.002
TOKEN_CPU_RATE = 0.5
SECONDS = 10
RESIDENTS = 490
PACE = 195
TRIED = 5
TOKEN = re.compile(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="CPU time is read from /proc, and sockets wait in epoll"),
]

Scale = Callable[[int], int]


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with the default limits."""
    with serving(keys, tmp_path_factory.mktemp("search"), log_level="error", auth_failures_per_minute=60) as server:
        yield server


def test_search(keys: Keys, server: Server, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
    """The costliest inputs of each class, found in this process, are sent to a server as often as it takes them."""
    parts = _found(keys, scale(EVALUATIONS))
    with capsys.disabled():
        sys.stdout.write("\n".join(line for part in parts for line in part.lines) + "\n")
    title = f"The same, sent to a server for {scale(SECONDS)} s"
    table = Table(capsys, title, "class", "input", "CPU ms/s each", "p99 PONG ms", "closed with")
    with scene(server, RESIDENTS) as stage:
        token = keys.token("attacker")
        session, big = asyncio.run(make_sessions(server, token))
        stage.idle(scale(SECONDS))
        names = {b"ses_big": big.encode(), b"ses_pair": session.encode(), b'"s-': b'"r-'}
        target = Target(server.port, scale(SECONDS), token, names)
        for part in parts:
            for found in part.costliest[:TRIED]:
                _try(stage, table, part, found.input, target.attack(part, found.input))
    table.check()


def _found(keys: Keys, evaluations: int) -> list[Part]:
    async def collected() -> list[Part]:
        return [part async for part in search(keys, evaluations, is_explained=True)]

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(collected())


class Target(Struct):
    """A real server, and what it has in the place of the names of the one that was searched."""

    port: int
    seconds: float
    token: str
    names: dict[bytes, bytes]

    def attack(self, part: Part, input_: Input) -> Attack:
        """Return the attack that sends it as often as it is taken: by strangers, or by somebody with a token."""
        if part.of.state == "connected":
            blob = kinds.many(b"".join(message.wire for message in input_))
            return Attack(self.port, STRANGERS, self.seconds, blob, sources=STRANGERS)
        opening, awaits = kinds.event("AUTH", token=self.token, capabilities=["sessions"]), b"AUTH_SUCCESS"
        if part.of.state == "registered":
            opening, awaits = opening + kinds.event("PEER_REGISTER"), b"PEER_REGISTERED"
        wire = b"".join(self._renamed(message).wire for message in input_)
        pace = PACE / sum(message.frames for message in input_)
        return Attack(self.port, 1, self.seconds, wire, opening, awaits, pace)

    def _renamed(self, message: Message) -> Message:
        text = TOKEN.sub(self.token.encode(), message.text)
        for name, real in self.names.items():
            text = re.sub(name + (b"[0-9]*" if name.startswith(b"ses") else b""), real, text)
        return replace(message, text=text)


def _try(stage: Scene, table: Table, part: Part, input_: Input, attack: Attack) -> None:
    figures, outcome = stage.attack(attack)
    most = TOKEN_CPU_RATE if attack.count == 1 else attack.count * STRANGER_CPU_RATE
    codes = ", ".join(f"{times:,} of {code}" for code, times in sorted(outcome.codes.items()))
    cells = f"{figures.rate * 1000 / attack.count:.2f}", f"{figures.p99:.1f}", codes
    table.add(part.of.name, shown(input_)[:100], *cells, is_good=figures.rate <= most)
