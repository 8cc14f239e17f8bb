"""Whatever comes in, in whatever state: an answer or a documented close, no death, no traceback, no harm to others."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator

import anyio
import pytest

from app.contract.events import ALWAYS_ANSWERS, events_of
from app.tables import load_routes
from tests.hardening.crowd import loopback
from tests.hardening.hostile import FIN, LIMIT, TEXT, Attack, Hostile, Known, frame
from tests.hardening.rawsocket import CUT, RawSocket, name_of
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 100_000
SEEDS = (1, 2)
STATES = ("connected", "authenticated", "registered", "in a session")
AT_ONCE = 4
BYTES_BEFORE_AUTH = 40_000
ATTACKS_BEFORE_AUTH = 8
DOCUMENTED = {1000, 1001, 1005, 1002, 1007, 1009, 4001, 4029}
EVENTS = events_of(load_routes(()))
PUSHED = {event.name for event in EVENTS if event.sender == "server"} - {
    *ALWAYS_ANSWERS,
    *(answer for event in EVENTS for answer in event.answers),
}
"""What the server sends by itself: it is no answer to anything."""
SILENT = {
    "CONNECTION_REQUEST",
    "CONNECTION_CANCEL",
    "PEER_STATUS",
    "SEND_MESSAGE",
    "SESSION_INVITE",
    "SESSION_KICK",
    "SESSION_ROLE",
    "SESSION_HANDOVER",
}
LEAVES_STATE = {"connected": "AUTH_SUCCESS", "authenticated": "PEER_REGISTERED", "in a session": "SESSION_ENDED"}


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server whose rate limit does not hide the other answers."""
    with serving(
        keys,
        tmp_path_factory.mktemp("hostile"),
        max_message_bytes=LIMIT,
        rate_limit_events_per_second=1_000_000,
        rate_limit_burst=1_000_000,
        rate_limit_bytes_per_second=1_000_000_000,
        session_grace_seconds=5,
        max_pending_requests=100_000,
    ) as server:
        yield server


class Attacker:
    """One client in one state, and back in it whenever an attack has cost it that state."""

    def __init__(self, server: Server, number: int, state: str) -> None:
        self._server = server
        self._number = number
        self._state = state
        org = f"org-{number}"
        self._partner_token = server.keys.token("partner", org)
        self.known = Known(server.keys.token("me", org), server.keys.token("other", org), "partner")
        self._socket: RawSocket | None = None
        self._sent = 0
        self._attacks = 0
        self._marks = 0
        self.outcomes: Counter[str] = Counter()

    async def begin(self) -> None:
        """Bring the partner in."""
        self._partner = await RawSocket.connect(self._server.port, loopback(self._number))
        await _ask(self._partner, "AUTH", "AUTH_SUCCESS", token=self._partner_token)
        await _ask(self._partner, "PEER_REGISTER", "PEER_REGISTERED")

    async def try_(self, attack: Attack) -> None:
        """Send it, and a marker after it; what comes before the marker's answer is the attack's."""
        socket = self._socket or await self._enter()
        self._marks += 1
        mark = f'"ref":"mark-{self._marks}"'
        socket.send(attack.wire + frame(FIN | TEXT, f'{{"event":"PING",{mark}}}'.encode()))
        self._sent += len(attack.wire)
        self._attacks += 1
        answers = []
        while (text := await socket.next_text()) is not None and mark.encode() not in text:
            answers.append(text)
        names = [name for name in map(name_of, answers) if name not in PUSHED]
        self._judge(attack, names, socket.code if text is None else None)
        if text is None or self._is_spoiled({name_of(text) for text in answers}):
            socket.cut()
            self._socket = None

    def _judge(self, attack: Attack, names: list[str], code: int | None) -> None:
        if code is not None:
            is_own = attack.kind == "control frames" and code != CUT
            assert code in DOCUMENTED or is_own, (self._state, attack, code)
            self.outcomes[f"closed with {code}" if code in DOCUMENTED else "its own close code sent back"] += 1
        elif names:
            error = {"ERROR", "AUTH_FAILED"} & set(names)
            self.outcomes[error.pop() if error else "the answer to a valid event"] += 1
        else:
            assert attack.text is None or self._may_be_silent(attack.text), (self._state, attack)
            self.outcomes["valid, and without an answer"] += 1

    def _may_be_silent(self, message: bytes) -> bool:
        """Whether this is an event that has an answer only if it has a `ref`."""
        if self._state in {"connected", "authenticated"}:
            return False
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):  # deeper, or longer, than Python's own decoder goes
            return any(f'"{name}"'.encode() in message for name in SILENT)
        return isinstance(event, dict) and event.get("event") in SILENT and event.get("ref") is None

    def _is_spoiled(self, names: set[str]) -> bool:
        """Whether the socket is no longer in its state, or has sent what a stranger may send in a second."""
        is_full = self._sent > BYTES_BEFORE_AUTH or self._attacks >= ATTACKS_BEFORE_AUTH
        return (is_full and self._state == "connected") or LEAVES_STATE.get(self._state) in names

    async def _enter(self) -> RawSocket:
        socket = self._socket = await RawSocket.connect(self._server.port, loopback(self._number))
        self._sent = self._attacks = 0
        if self._state != "connected":
            await _ask(socket, "AUTH", "AUTH_SUCCESS", token=self.known.token, capabilities=["sessions"])
        if self._state in {"registered", "in a session"}:
            await _ask(socket, "PEER_REGISTER", "PEER_REGISTERED")
        if self._state == "in a session":
            sessions = await _ask(socket, "SESSION_LIST", "SESSIONS")
            found = re.search(rb'"sessionId":"(\w+)"', sessions)
            self.known.learn(found[1].decode() if found else await self._pair(socket))
        return socket

    async def _pair(self, socket: RawSocket) -> str:
        pending = await _ask(socket, "CONNECTION_REQUEST", "CONNECTION_PENDING", targetId="partner")
        request_id = json.loads(pending)["data"]["requestId"]
        _send(self._partner, "CONNECTION_RESPONSE", requestId=request_id, accepted=True)
        accepted = json.loads(await socket.until(b'{"event":"CONNECTION_ACCEPTED"'))
        session_id: str = accepted["data"]["sessionId"]
        return session_id

    async def end(self) -> None:
        """Go, and see that the partner is still served."""
        if self._socket is not None:
            self._socket.cut()
        await _ask(self._partner, "PING", "PONG")
        self._partner.cut()


async def _ask(socket: RawSocket, event: str, answer: str, **data: object) -> bytes:
    _send(socket, event, **data)
    return await socket.until(f'{{"event":"{answer}"'.encode())


def _send(socket: RawSocket, event: str, **data: object) -> None:
    socket.send(frame(FIN | TEXT, json.dumps({"event": event, "data": data, "ref": 0}).encode()))


@pytest.mark.parametrize("seed", SEEDS)
async def test_hostile(
    seed: int, server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """Each attack is answered or closed as documented; the process lives, and its log has no traceback."""
    count = scale(FULL) // len(SEEDS)
    attackers = [Attacker(server, number, STATES[number % len(STATES)]) for number in range(len(STATES) * AT_ONCE)]
    each = count // len(attackers)

    async def attack(number: int, attacker: Attacker) -> None:
        hostile = Hostile(seed * 1000 + number)
        await attacker.begin()
        for _ in range(each):
            await attacker.try_(hostile.attack(attacker.known))
        await attacker.end()

    async with anyio.create_task_group() as tasks:
        for number, attacker in enumerate(attackers):
            tasks.start_soon(attack, number, attacker)
    outcomes: Counter[str] = sum((attacker.outcomes for attacker in attackers), Counter())
    report(
        f"hostile frames, generated, in every state, seed {seed}",
        outcomes.total(),
        "; ".join(f"{name} {times:,}" for name, times in outcomes.most_common()),
    )
    assert outcomes.total() == each * len(attackers)
    assert server.is_alive()
    assert "Traceback" not in server.log.read_text(), server.log.read_text()[:3000]
