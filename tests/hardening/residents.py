"""Registered peers that stay, in a process of their own: `python -m tests.hardening.residents PORT CAPABILITIES LARGE`.

Tokens come as the first line of standard input, one peer each; so many of them have the largest profile. They accept
every request, and give a session back that is handed over to them. Each further line asks how many bytes they got and
sent so far.
"""

import asyncio
import json
import re
import sys

from tests.hardening.crowd import all_of, loopback
from tests.hardening.hostile import FIN, TEXT, frame
from tests.hardening.kinds import LARGEST_METADATA
from tests.hardening.rawsocket import OUR_PONG, UPGRADE

AT_ONCE = 50
ALIVE_SECONDS = 10.0
ATTACKER = re.compile(rb'"id":"(attacker[\w-]*)"')
ASKED = re.compile(rb'"CONNECTION_REQUEST_RECEIVED","data":\{"requestId":"([\w-]+)"')

SESSION = re.compile(rb'"SESSION_UPDATED","data":\{"sessionId":"([\w-]+)"')


class Resident(asyncio.Protocol):
    """One peer."""

    def __init__(self, number: int) -> None:
        self.received = self.sent = 0
        self.is_gone = False
        self._handed = f'"kind":"host","id":"r-{number}"}}'.encode()
        self._session = self._attacker = ""
        self._text = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(UPGRADE)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._text = (self._text + data)[-max(4000, len(data)) :]
        if b"REQUEST_RECEIVED" in data:
            for request in ASKED.findall(self._text):
                self.say("CONNECTION_RESPONSE", requestId=request.decode(), accepted=True)
        session = SESSION.search(data)
        if session:
            self._session = session[1].decode()
        attacker = ATTACKER.search(data)
        if attacker:
            self._attacker = attacker[1].decode()
        if self._handed in self._text:
            self._text = b""
            self.say("SESSION_HANDOVER", sessionId=self._session, targetId=self._attacker)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True

    def say(self, event: str, **data: object) -> None:
        """Send an event."""
        wire = frame(FIN | TEXT, json.dumps({"event": event, "data": data}).encode())
        self.sent += len(wire)
        self.transport.write(wire)

    async def until(self, part: bytes) -> None:
        """Wait for this."""
        while part not in self._text:
            assert not self.is_gone, self._text
            await asyncio.sleep(0.005)


async def main(port: int, capabilities: str, large: int, tokens: list[str]) -> None:
    """Come in, and stay."""
    residents: list[Resident] = []
    spoken = {"capabilities": capabilities.split(",")} if capabilities else {}
    loop = asyncio.get_running_loop()

    async def come(number: int) -> None:
        _, resident = await loop.create_connection(
            lambda: Resident(number), "127.0.0.1", port, local_addr=(loopback(number), 0)
        )
        await resident.until(b"HTTP/1.1 101 ")
        resident.say("AUTH", token=tokens[number], **spoken)
        await resident.until(b"AUTH_SUCCESS")
        resident.say(
            "PEER_REGISTER",
            displayName=f"Resident {number}",
            **({"metadata": LARGEST_METADATA} if number < large else {}),
        )
        await resident.until(b"PEER_REGISTERED")
        residents.append(resident)

    await all_of(come, len(tokens), AT_ONCE)
    loop.add_reader(sys.stdin, _answer, residents)
    _tell(residents)
    while True:
        await asyncio.sleep(ALIVE_SECONDS)
        for resident in residents:
            resident.transport.write(OUR_PONG)


def _answer(residents: list[Resident]) -> None:
    if not sys.stdin.readline():
        raise SystemExit
    _tell(residents)


def _tell(residents: list[Resident]) -> None:
    told = {
        "received": sum(resident.received for resident in residents),
        "sent": sum(resident.sent for resident in residents),
        "gone": sum(resident.is_gone for resident in residents),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.stdin.readline().split()))
