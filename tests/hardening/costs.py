"""What an attack costs: a server, residents, a neighbour and attackers in processes of their own, and the figures."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec import Struct

from tests.hardening import attackers, bursts
from tests.hardening.crowd import Peer
from tests.support.server import ROOT, Server

PATIENCE = 120
SESSION = 30
SETTLE = 0.5
WELL_MS = 100
LATE_MS, TRIES = 30, 3
_Outcome = TypeVar("_Outcome", attackers.Outcome, bursts.Outcome)


class Helper:
    """A process that answers each line with one line of JSON, from its first line on."""

    def __init__(self, module: str, *arguments: str, tokens: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.hardening.{module}", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._write(" ".join(tokens))
        self._read()

    def ask(self) -> Any:
        """Return what the process tells."""
        self._write("")
        return self._read()

    def _write(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def _read(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"{self.process.args!r} ended"
        return json.loads(line)

    def end(self) -> None:
        """End it."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                if stream:
                    stream.close()
        self.process.wait(10)


class Figures(Struct):
    """What an attack of so many seconds cost: CPU seconds of the server, and how a neighbour fared (milliseconds).

    `cpu` is what the attack adds to the usual work, until all is worked off, `behind` seconds after the attack.
    `own_lag` is how late the neighbour's own process was at most, which makes its other figures worse.
    """

    cpu: float
    seconds: float
    behind: float
    p50: float
    p99: float
    worst: float
    message_p99: float
    own_lag: float

    @property
    def rate(self) -> float:
        """CPU seconds a second."""
        return self.cpu / self.seconds


class Scene:
    """A server, the neighbour beside the attacks, and the crowd of residents."""

    def __init__(self, server: Server, neighbour: Helper, crowd: Helper | None) -> None:
        self.server = server
        self.crowd = crowd
        self._neighbour = neighbour
        self._idle_rate = 0.0

    def attack(self, attack: attackers.Attack) -> tuple[Figures, attackers.Outcome]:
        """Have it attacked, and return what that cost."""
        return self._measured("attackers", attack, attackers.Outcome, attack.seconds)

    def burst(self, burst: bursts.Burst) -> tuple[Figures, bursts.Outcome]:
        """Have it asked all at once, and return what that cost."""
        return self._measured("bursts", burst, bursts.Outcome, 1)

    def idle(self, seconds: float) -> Figures:
        """Return, and take for what is always there, what the server and the neighbour cost without an attack."""
        self._neighbour.ask()
        cpu = cpu_seconds(self.server)
        time.sleep(seconds)
        figures = Figures(cpu=cpu_seconds(self.server) - cpu, seconds=seconds, behind=0, **self._neighbour.ask())
        self._idle_rate = figures.rate
        return figures

    def _measured(self, module: str, job: Struct, kind: type[_Outcome], span: float) -> tuple[Figures, _Outcome]:
        """Measure, and again if the neighbour's own process was late, since its figures say nothing then."""
        for _ in range(TRIES - 1):
            figures, outcome = self._measured_once(module, job, kind, span)
            if figures.own_lag < LATE_MS or figures.worst > 2 * figures.own_lag:
                return figures, outcome
        return self._measured_once(module, job, kind, span)

    def _measured_once(self, module: str, job: Struct, kind: type[_Outcome], span: float) -> tuple[Figures, _Outcome]:
        self._neighbour.ask()
        cpu, began = cpu_seconds(self.server), time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"tests.hardening.{module}"],
            cwd=ROOT,
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            check=True,
            timeout=PATIENCE,
        )
        told = self._neighbour.ask()
        ended = time.monotonic()
        self._settle()
        lasted = time.monotonic() - began
        spent = max(0.0, cpu_seconds(self.server) - cpu - self._idle_rate * lasted)
        figures = Figures(cpu=spent, seconds=span, behind=time.monotonic() - ended, **told)
        return figures, msgspec.json.decode(done.stdout, type=kind)

    def _settle(self) -> None:
        """Wait until the neighbour is served as usual, all that was sent being worked off."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(SETTLE)
            if self._neighbour.ask()["worst"] < WELL_MS:
                return
        raise AssertionError("the neighbour is not served any more")


class Table:
    """Rows of figures, printed as they come, and those that are beyond their bounds."""

    def __init__(self, capsys: pytest.CaptureFixture[str], title: str, *columns: str) -> None:
        self._capsys = capsys
        self.failed: list[str] = []
        self._print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")

    def add(self, *cells: str, is_good: bool) -> None:
        """Print a row."""
        row = f"| {' | '.join(cells)} |"
        self._print(row + ("" if is_good else " **beyond**"))
        if not is_good:
            self.failed.append(row)

    def _print(self, text: str) -> None:
        with self._capsys.disabled():
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def check(self) -> None:
        """Raise `AssertionError` with the rows beyond their bounds."""
        assert not self.failed, "\n" + "\n".join(self.failed)


@contextmanager
def scene(server: Server, residents: int = 0, capabilities: str = "", large: int = 0) -> Iterator[Scene]:
    """Let the neighbour and so many residents in, some of them with the largest profile."""
    keys, port = server.keys, str(server.port)
    helpers: list[Helper] = []
    try:
        crowd = None
        if residents:
            tokens = [keys.token(f"r-{number}") for number in range(residents)]
            crowd = Helper("residents", port, capabilities, str(large), tokens=tokens)
            helpers.append(crowd)
        neighbour = Helper("neighbour", port, tokens=[keys.token(f"neighbour-{number}") for number in range(2)])
        helpers.append(neighbour)
        yield Scene(server, neighbour, crowd)
    finally:
        for helper in helpers:
            helper.end()


def cpu_seconds(server: Server) -> float:
    """Return the CPU time that the server's process has taken, of all its threads, in user and kernel."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    with suppress(OSError):
        return time.clock_gettime((~server.process.pid << 3) | 2)  # the same, to the nanosecond
    return ticks / 100


async def make_sessions(server: Server, token: str, *, pairs: int = 1) -> tuple[str, str]:
    """Make sessions of two and one of many; return the ids of the last of two, and of the other."""
    peer = await Peer().connect(server.url)
    await peer.ask("AUTH_SUCCESS", "AUTH", token=token, capabilities=["sessions"])
    await peer.ask("PEER_REGISTERED", "PEER_REGISTER")
    session = ""
    for number in range(pairs):
        accepted = await peer.ask("CONNECTION_ACCEPTED", "CONNECTION_REQUEST", targetId=f"r-{SESSION + 1 + number}")
        session = accepted["sessionId"]
    big = (await peer.ask("CONNECTION_ACCEPTED", "CONNECTION_REQUEST", targetId="r-2"))["sessionId"]
    for number in range(3, SESSION + 1):
        await peer.ask("CONNECTION_ACCEPTED", "SESSION_INVITE", sessionId=big, targetId=f"r-{number}")
    peer.cut()
    await peer.is_gone.wait()
    return session, big
