"""Attackers in a process of their own: `python -m tests.hardening.attackers`, an `Attack` in JSON on standard input.

Each has a socket, sends the same bytes again and again as fast as they are taken (or at a pace), reads whatever comes,
and is back at once when the server closes. What they send is made beforehand, so that the server is the slower one.
"""

import os
import re
import select
import socket
import sys
import time

import msgspec
from msgspec import Struct, field

from tests.hardening.rawsocket import UPGRADE

CLOSED = re.compile(rb"\x88[\x02-\x7d](?:\x03[\xe8-\xf4]|\x0f[\xa0-\xff])")
PATIENCE = 20.0
SWITCHING = b"HTTP/1.1 101 "
READ_BYTES = 262_144


class Attack(Struct):
    """What the attackers do. `opening` comes once a socket, after the upgrade; `blob` again and again.

    A socket is in when `awaits` came. `pace` is how many blobs a second each sends; without it, each sends them as fast
    as they are taken. With `hangs_up` each cuts its socket as soon as it is in, and is back after `rest` seconds.
    `sources` is how many addresses they come from.
    """

    port: int
    count: int
    seconds: float
    blob: bytes
    opening: bytes = b""
    awaits: bytes = b""
    pace: float = 0.0
    hangs_up: bool = False
    rest: float = 0.0
    sources: int = 1


class Outcome(Struct):
    """What the attackers did, and what they were closed with."""

    sent: int = 0
    received: int = 0
    connects: int = 0
    refused: int = 0
    codes: dict[str, int] = field(default_factory=dict)


class Line:
    """One attacker's connection."""

    def __init__(self, attack: Attack, number: int, poll: select.epoll, outcome: Outcome) -> None:
        self._attack = attack
        self._source = f"127.0.9.{number % attack.sources + 1}"
        self._poll = poll
        self._outcome = outcome
        self._head = b""
        self._is_in = self._is_opened = False
        self._returns_at = 0.0
        self._pending = memoryview(b"")
        self._units = 0
        self._began = 0.0
        self.connect()

    def connect(self) -> None:
        """Connect, and ask for the upgrade."""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.bind((self._source, 0))
        self.socket.connect_ex(("127.0.0.1", self._attack.port))
        self._head, self._is_in, self._is_opened = b"", False, False
        self._pending = memoryview(UPGRADE)
        self._outcome.connects += 1
        self._poll.register(self.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def handle(self, events: int, lines: "dict[int, Line]") -> None:
        """Do what the socket is ready for; be back if it is closed."""
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not self._read():
                self._again(lines)
                return
            if events & select.EPOLLOUT:
                self.write()
        except BlockingIOError:
            return
        except OSError:
            self._again(lines)

    def _again(self, lines: "dict[int, Line]") -> None:
        del lines[self.socket.fileno()]
        self.socket.close()
        if self._attack.rest:
            self._returns_at = time.monotonic() + self._attack.rest
        else:
            self._return(lines)

    def _return(self, lines: "dict[int, Line]") -> None:
        self._returns_at = 0.0
        self.connect()
        lines[self.socket.fileno()] = self

    def _read(self) -> bool:
        data = self.socket.recv(READ_BYTES)
        self._outcome.received += len(data)
        if not data:
            return False
        if not self._is_in:
            return self._enter(data)
        closed = CLOSED.search(data)
        if closed:
            code = str(int.from_bytes(closed[0][2:4], "big"))
            self._outcome.codes[code] = self._outcome.codes.get(code, 0) + 1
        return closed is None

    def _enter(self, data: bytes) -> bool:
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return True
        if not self._head.startswith(SWITCHING):
            self._outcome.refused += 1
            return False
        if self._attack.opening and not self._is_opened:
            self._pending = memoryview(self._attack.opening)
            self._is_opened = True
        if self._attack.awaits not in self._head:
            self._poll.modify(self.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
            return True
        if self._attack.hangs_up:
            return False
        self._is_in, self._began, self._units = True, time.monotonic(), 0
        self._poll.modify(self.socket.fileno(), select.EPOLLIN | (0 if self._attack.pace else select.EPOLLOUT))
        return True

    def write(self) -> None:
        """Send on."""
        if not self._pending and self._is_in and not self._attack.pace:
            self._pending = memoryview(self._attack.blob)
        if self._pending:
            sent = self.socket.send(self._pending)
            self._outcome.sent += sent
            self._pending = self._pending[sent:]
        if not self._pending and (self._attack.pace or not self._is_in):
            self._poll.modify(self.socket.fileno(), select.EPOLLIN)

    def tick(self, now: float, lines: "dict[int, Line]") -> None:
        """Send the next one if it is time, or come back."""
        if self._returns_at and self._returns_at <= now:
            self._return(lines)
        if self._is_in and not self._pending and self._units < (now - self._began) * self._attack.pace:
            self._units += 1
            self._pending = memoryview(self._attack.blob)
            self._poll.modify(self.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)


def run(attack: Attack) -> Outcome:
    """Attack, and return what was done."""
    outcome, poll = Outcome(), select.epoll()
    attackers = [Line(attack, number, poll, outcome) for number in range(attack.count)]
    lines = {line.socket.fileno(): line for line in attackers}
    is_timed = attack.pace or attack.rest
    end = time.monotonic() + attack.seconds
    while (now := time.monotonic()) < end:
        for number, events in poll.poll(0.002 if is_timed else 0.05):
            if number in lines:
                lines[number].handle(events, lines)
        if is_timed:
            for line in attackers:
                line.tick(now, lines)
    for line in attackers:
        line.socket.close()
    return outcome


if __name__ == "__main__":
    os.nice(5)
    decoded = msgspec.json.decode(sys.stdin.buffer.read(), type=Attack)
    sys.stdout.buffer.write(msgspec.json.encode(run(decoded)))
