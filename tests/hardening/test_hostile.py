"""Hostile frames in every state of a socket: each is answered, or its sender is cut off as documented; nobody dies."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from schemas.errors import CloseCode, ErrorCode
from tests.hardening.crowd import Peer, metrics, pair, registries, until
from tests.hardening.hostile import Attack, Dice
from tests.support.frames import TEXT, masked
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 50_000
STATES = ("connected", "authenticated", "registered", "in a session")
SOCKETS_EACH = 4
MARKER = "marker"
MARKER_FRAME = masked(TEXT, json.dumps({"event": "NOBODY_KNOWS_THIS", "ref": MARKER}).encode())
MOVES = {"AUTH_SUCCESS", "PEER_REGISTERED", "SESSION_ENDED"}
"""What shows that the socket, or its session, may be in another state now."""
UNANSWERED = {
    *("CONNECTION_REQUEST", "CONNECTION_RESPONSE", "CONNECTION_CANCEL", "SEND_MESSAGE", "PEER_STATUS"),
    *("SESSION_INVITE", "SESSION_LEAVE", "SESSION_KICK", "SESSION_ROLE", "SESSION_HANDOVER", "SESSION_END"),
}
"""What has no answer if it is good and carries no `ref`."""
OWN_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
"""Codes of close frames that are in order, and so are answered alike."""
CODES = {CloseCode.PROTOCOL_ERROR, CloseCode.BAD_UTF8, CloseCode.TOO_LARGE, CloseCode.UNAUTHENTICATED}


class Attacker(Peer):
    """A socket that notes what it gets until the answer to its marker."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[str] = []
        self.has_marker = anyio.Event()

    def take(self, event: dict[str, Any]) -> None:
        """Note an event; an error by its code."""
        super().take(event)
        if event.get("ref") == MARKER:
            self.has_marker.set()
        elif event["event"] in {"ERROR", "AUTH_FAILED"}:
            self.answers.append(event["data"]["code"])
        elif not event["event"].startswith("PEER_STATUS"):
            self.answers.append(event["event"])

    def on_ws_disconnected(self, transport: Any) -> None:
        """Wait no more."""
        super().on_ws_disconnected(transport)
        self.has_marker.set()

    async def strike(self, attack: Attack) -> tuple[str, ...]:
        """Attack; return the answers, or how the socket was closed."""
        self.answers, self.has_marker = [], anyio.Event()
        self.send_raw(attack.data)
        if attack.is_torn:
            self.cut()
        else:
            self.send_raw(MARKER_FRAME)
        with anyio.fail_after(60):
            await self.has_marker.wait()
        return (*self.answers, f"closed {int(self.code)}") if self.is_gone.is_set() else tuple(self.answers)


class House:
    """The attackers of one state, and their friend, who means no harm."""

    def __init__(self, server: Server, state: str, number: int) -> None:
        self._server = server
        self._state = STATES.index(state)
        self.user, self.friend = f"eve-{state[:2]}-{number}", f"friend-{state[:2]}-{number}"
        self._friend = Peer()
        self.session_id = "ses_x"
        self._attacker: Attacker | None = None

    async def open(self) -> None:
        """Let the friend in."""
        await (await self._friend.connect(self._server.url)).join(self._server.keys.token(self.friend))

    async def attacker(self) -> Attacker:
        """Return a socket in this state."""
        if self._attacker is None:
            self._attacker = Attacker()
            await self._attacker.connect(self._server.url)
            await self._take_to_state(self._attacker)
        return self._attacker

    async def dismiss(self) -> None:
        """Have done with that socket."""
        if self._attacker is not None:
            await self._attacker.leave()
            self._attacker = None

    async def close(self) -> None:
        """Leave, both; the friend is still served."""
        await self.dismiss()
        await self._friend.ask("PONG", "PING")
        await self._friend.leave()

    async def _take_to_state(self, attacker: Attacker) -> None:
        if self._state > 0:
            await attacker.ask("AUTH_SUCCESS", "AUTH", token=self._server.keys.token(self.user))
        if self._state > 1:
            await attacker.ask("PEER_REGISTERED", "PEER_REGISTER")
        if self._state > 2:
            self.session_id = await pair(self._friend, attacker, self.user)


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that does not mind how much comes, and soon forgets who was cut off."""
    many = 1_000_000
    with serving(
        keys,
        tmp_path_factory.mktemp("hostile"),
        rate_limit_events_per_second=many,
        rate_limit_burst=many,
        session_grace_seconds=0.1,
        resume_grace_seconds=0.1,
        max_sessions_per_user=many,
        max_pending_requests=many,
    ) as server:
        yield server


@pytest.mark.parametrize("seed", [1, 2])
async def test_hostile_frames(
    seed: int, server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]
) -> None:
    """Nothing but refusals, documented closes, and the answers that good ones get; the log has no traceback."""
    count = scale(FULL) // len(STATES) // SOCKETS_EACH
    outcomes: Counter[str] = Counter()

    async def besiege(state: str, number: int) -> None:
        house = House(server, state, number)
        await house.open()
        names = {"TOKEN": server.keys.token(house.user), "FRIEND": house.friend}
        dice = Dice(f"{seed} {state} {number}", names)
        for _ in range(count):
            attacker = await house.attacker()
            names["SESSION"] = house.session_id
            attack = dice.attack()
            answers = await attacker.strike(attack)
            outcomes[_judged(attack, answers)] += 1
            if attacker.is_gone.is_set() or MOVES.intersection(answers):
                await house.dismiss()
        await house.close()

    async with anyio.create_task_group() as tasks:
        for state in STATES:
            for number in range(SOCKETS_EACH):
                tasks.start_soon(besiege, state, number)
    assert server.is_alive()
    await until(lambda: not registries(server))
    log = server.log.read_text()
    done = sum(outcomes.values())
    report(f"hostile frames in every state, seed {seed}", done, _told(outcomes))
    assert "Traceback" not in log, log[:3000]
    assert '"error"' not in log, log[:3000]
    assert done == count * len(STATES) * SOCKETS_EACH
    assert 'peersync_events_total{event="AUTH",outcome="failed"} 0.0' in metrics(server)


def _judged(attack: Attack, answers: tuple[str, ...]) -> str:
    """Return what became of an attack; raises `AssertionError` if that should not have been."""
    what = (attack.kind, attack.data[:300], answers)
    assert ErrorCode.INTERNAL not in answers, what
    if attack.is_torn:
        return "torn off"
    if answers and answers[-1].startswith("closed"):
        code = int(answers[-1].split()[1])
        assert code in CODES or (attack.kind == "close" and (code in OWN_CODES or code == 1005)), what
        return "closed"
    if any(answer.startswith("ERR_") for answer in answers):
        return "error"
    if not answers:
        assert attack.kind == "control" or _goes_without_answer(attack.message), what
        return "no answer due"
    return "answered as good"


def _goes_without_answer(message: bytes) -> bool:
    event = json.loads(message)
    return event["event"] in UNANSWERED and event.get("ref") is None


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(outcomes.items()))
