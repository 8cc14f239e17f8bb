"""A pair of peers beside an attack, in a process of their own: `python -m tests.hardening.neighbour PORT`.

Both PING and talk at a steady pace, however late the answers are, until dozens are waited for.
Tokens come as the first line of standard input; each
further line asks for the latencies since the last one, in milliseconds, as JSON.
"""

import asyncio
import gc
import json
import re
import sys
import time

from tests.hardening.crowd import percentile
from tests.hardening.hostile import FIN, TEXT, frame
from tests.hardening.rawsocket import UPGRADE

PAUSE = 0.02
MOST_AWAITED = 50
PONG = re.compile(rb'\{"event":"PONG","data":\{"timestamp":\d+\},"ref":(\d+)\}')
MESSAGE = re.compile(rb'"content":"We talk. (\d+)"')


class Awaited:
    """What was asked, by number, and how long the answers took. What came after its turn only is taken for lost."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self._number = 0
        self._since: dict[int, float] = {}
        self.took: list[float] = []

    def ask(self) -> int | None:
        """Return the number of the next question; None if too many are waited for."""
        if len(self._since) >= MOST_AWAITED:
            return None
        self._number += 1
        self._since[self._number] = time.perf_counter()
        return self._number

    def look(self, text: bytes, now: float) -> None:
        """Note the answers in this."""
        for found in self._pattern.findall(text):
            for number in [number for number in self._since if number <= int(found)]:
                self.took.append(now - self._since.pop(number))

    def take(self) -> list[float]:
        """Return how long the answers took since the last time, and how long the others are waited for already."""
        now = time.perf_counter()
        took, self.took = self.took, []
        return took + [now - since for since in self._since.values()]


class Line(asyncio.Protocol):
    """One peer's socket: notes when what it waits for comes."""

    def __init__(self) -> None:
        self.is_gone = False
        self.text = b""
        self.pongs = Awaited(PONG)
        self.messages = Awaited(MESSAGE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(UPGRADE)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.text = (self.text[-500:] + data)[-max(4000, len(data)) :]
        self.pongs.look(self.text, now)
        self.messages.look(self.text, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True

    def say(self, event: str, **data: object) -> None:
        """Send an event."""
        self._transport.write(frame(FIN | TEXT, json.dumps({"event": event, "data": data}).encode()))

    def ping(self) -> None:
        """Send a PING."""
        number = self.pongs.ask()
        if number is not None:
            self._transport.write(frame(FIN | TEXT, b'{"event":"PING","ref":%d}' % number))

    async def until(self, part: str) -> str:
        """Wait for an event, and return what came last."""
        for _ in range(2000):
            if part.encode() in self.text:
                return self.text.decode(errors="replace")
            await asyncio.sleep(0.01)
        raise AssertionError(f"{part} did not come: {self.text!r}")


async def main(port: int, tokens: list[str]) -> None:
    """Come in, talk, and answer questions."""
    ann, bob = [await _enter(port, token) for token in tokens]
    ann.say("CONNECTION_REQUEST", targetId="neighbour-1")
    request = (await bob.until("CONNECTION_REQUEST_RECEIVED")).split('"requestId":"')[-1].split('"')[0]
    bob.say("CONNECTION_RESPONSE", requestId=request, accepted=True)
    session = (await bob.until("SESSION_CREATED")).split('"sessionId":"')[-1].split('"')[0]
    lag: list[float] = []
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, _answer, (ann, bob), lag)
    gc.freeze()
    gc.disable()
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    at = time.perf_counter()
    while not (ann.is_gone or bob.is_gone):
        ann.ping()
        number = bob.messages.ask()
        if number is not None:
            ann.say("SEND_MESSAGE", sessionId=session, content=f"We talk. {number}")
        await _pause_until(at := at + PAUSE / 2)
        bob.ping()
        await _pause_until(at := at + PAUSE / 2)
        lag.append(time.perf_counter() - at)
        at = max(at, time.perf_counter() - PAUSE)
    raise SystemExit("a neighbour was cut off")


async def _pause_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))


async def _enter(port: int, token: str) -> Line:
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    await line.until("HTTP/1.1 101 ")
    line.say("AUTH", token=token)
    await line.until("AUTH_SUCCESS")
    line.say("PEER_REGISTER", displayName="Neighbour")
    await line.until("PEER_REGISTERED")
    return line


def _answer(lines: tuple[Line, Line], lag: list[float]) -> None:
    if not sys.stdin.readline():
        raise SystemExit
    pongs = [took for line in lines for took in line.pongs.take()]
    messages = lines[1].messages.take()
    told = {
        "p50": _ms(pongs, 0.5),
        "p99": _ms(pongs, 0.99),
        "worst": _ms(pongs, 1),
        "message_p99": _ms(messages, 0.99),
        "own_lag": _ms(lag, 1),
    }
    lag.clear()
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _ms(seconds: list[float], share: float) -> float:
    return round(percentile(seconds, share) * 1000, 2) if seconds else 0.0


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.stdin.readline().split()))
