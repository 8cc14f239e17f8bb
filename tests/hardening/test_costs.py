"""Nothing that comes from outside costs more than it paid for: the server's CPU, and how its neighbours fare."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace
from starlette.staticfiles import StaticFiles

from app.contract.endpoint import Endpoint
from app.rest import console, docs
from app.rest.endpoints import endpoints
from app.settings import Settings
from tests.hardening import kinds
from tests.hardening.attackers import Attack
from tests.hardening.attackers import Outcome as Attacked
from tests.hardening.bursts import Burst
from tests.hardening.costs import SESSION, Figures, Helper, Scene, Table, make_sessions, scene
from tests.support.server import Server, serving
from tests.support.tokens import Keys

RESIDENTS = 2000
STRANGERS = 100
SECONDS = 10
MIN_SECONDS = 2
REQUESTS = 1000
HTTP_WORST_MS, HTTP_CPU_SECONDS = 250.0, 1.0
STRANGERS_P99_MS, STRANGER_CPU_RATE = 100.0, 0.002
TOKEN_P99_MS, TOKEN_CPU_RATE = 50.0, 0.5
WATCHERS, PAIRS, SPREAD = 490, 48, 2000
QUIET_SECONDS, QUIET_BYTES, MOST_SECONDS_PUT_OFF = 3, 1000, 60
MODERN = "acks,sessions,notices"
SERVED = {
    "admin": "on",
    "docs": "on",
    "dev_tokens": "on",
    "log_level": "error",
    "http_requests_per_second": 50,
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="CPU time is read from /proc, and sockets wait in epoll"),
]

Scale = Callable[[int], int]
Report = Callable[[str, int, str], None]


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with all that it can have, its limits being the default ones."""
    with serving(keys, tmp_path_factory.mktemp("costs"), **SERVED, auth_failures_per_minute=60) as server:
        yield server


def test_http(server: Server, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand requests at once, whatever they ask for, cost a second at most, and nobody waits for a PONG."""
    table = Table(
        capsys,
        f"{REQUESTS:,} HTTP requests at once beside {scale(RESIDENTS):,} peers",
        *("request", "how", "CPU ms", "worst PONG ms", "p99", "answers"),
    )
    ways = [("connections", REQUESTS, 1, 1), ("pipelined on 4", 4, REQUESTS // 4, 1)]
    if scale(10) == 10:
        ways.append(("connections of 200 addresses", REQUESTS, 1, 200))
    with scene(server, scale(RESIDENTS)) as stage:
        for name, request in _requests(server):
            for how, connections, each, sources in ways:
                burst = Burst(port=server.port, connections=connections, each=each, request=request, sources=sources)
                figures, outcome = stage.burst(burst)
                answers = ", ".join(f"{times} of {status}" for status, times in sorted(outcome.statuses.items()))
                is_good = figures.worst <= HTTP_WORST_MS and figures.cpu <= HTTP_CPU_SECONDS
                table.add(
                    *(name, how, f"{figures.cpu * 1000:,.0f}", f"{figures.worst:.0f}", f"{figures.p99:.0f}", answers),
                    is_good=is_good,
                )
    assert server.is_alive()
    table.check()


def test_strangers(server: Server, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
    """Strangers' frames, of whatever kind, cost 2 ms a second each, and keep nobody waiting."""
    seconds = max(MIN_SECONDS, scale(SECONDS))
    forged = server.keys.token("ann")[:-20] + "A" * 20
    table = _rates(capsys, f"{STRANGERS} strangers, each kind for {seconds} s")
    with scene(server) as stage:
        _add(table, "(nothing)", stage.idle(seconds), Attacked(), 1, is_good=True)
        upgrades = Attack(server.port, STRANGERS, seconds, b"", hangs_up=True, sources=STRANGERS)
        _add(table, "(nothing but upgrades, to compare)", *stage.attack(upgrades), STRANGERS, is_good=True)
        for name, blob in kinds.strangers(forged):
            attack = Attack(server.port, STRANGERS, seconds, blob, sources=STRANGERS)
            figures, outcome = stage.attack(attack)
            is_good = figures.p99 <= STRANGERS_P99_MS and figures.rate <= STRANGERS * STRANGER_CPU_RATE
            _add(table, name, figures, outcome, STRANGERS, is_good=is_good)
    assert server.is_alive()
    table.check()


async def test_one_token(server: Server, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody with one token takes half a core at most, and keeps nobody waiting."""
    seconds = max(MIN_SECONDS, scale(SECONDS))
    table = _rates(capsys, f"One token beside {scale(RESIDENTS):,} peers, each kind for {seconds} s")
    token = server.keys.token("attacker")
    opening = kinds.event("AUTH", token=token, capabilities=["sessions"]) + kinds.event("PEER_REGISTER")
    with scene(server, scale(RESIDENTS)) as stage:
        session, big = await make_sessions(server, token)
        _add(table, "(nothing)", stage.idle(seconds), Attacked(), 1, is_good=True)
        attacks = [
            (name, Attack(server.port, 1, seconds, blob, opening, b"PEER_REGISTERED", pace))
            for name, blob, pace in kinds.one_token(token, session, big, "r-5")
        ]
        for sockets in (1, 20):
            attack = Attack(server.port, sockets, seconds, b"", opening, b"PEER_REGISTERED", hangs_up=True)
            attacks.append((f"new sockets, {sockets} at once, again and again", attack))
        for name, attack in attacks:
            figures, outcome = stage.attack(attack)
            is_good = figures.p99 <= TOKEN_P99_MS and figures.rate <= TOKEN_CPU_RATE
            _add(table, name, figures, outcome, 1, is_good=is_good)
    assert server.is_alive()
    table.check()


async def test_spread(server: Server, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
    """What one peer tells 500 others makes the server send 2,000 bytes at most for each that it takes.

    Each kind has an attacker of its own, so that none pays for another's debts.
    """
    seconds = max(2 * MIN_SECONDS, scale(SECONDS))
    columns = ("kind", "bytes in", "bytes out", "out for one in", "CPU s/s", "p99 PONG ms", "worst")
    table = Table(capsys, f"Bytes out for bytes in, {WATCHERS} watchers, each kind for {seconds} s", *columns)
    numbers = count(1)
    large: dict[str, object] = {"metadata": kinds.LARGEST_METADATA}

    def attack(token: str, profile: dict[str, object], blob: bytes = b"", pace: float = 0) -> Attack:
        opening = kinds.event("AUTH", token=token, capabilities=["sessions"]) + kinds.event("PEER_REGISTER", **profile)
        return Attack(server.port, 1, seconds, blob, opening, b"PEER_REGISTERED", pace)

    with scene(server, WATCHERS, MODERN, large=SESSION) as stage:
        stage.idle(seconds)

        def add(name: str, each: Attack) -> None:
            taken, told, figures = _spread(stage, each)
            cells = f"{taken:,}", f"{told:,}", f"{told / taken:,.0f}", f"{figures.rate:.2f}"
            table.add(name, *cells, f"{figures.p99:.1f}", f"{figures.worst:.0f}", is_good=told / taken <= SPREAD)

        for name, profile, blob, pace in kinds.told_to_all():
            add(name, attack(server.keys.token(f"attacker-{next(numbers)}"), profile, blob, pace))
        for rest in (2.0, 0.5, 0.0):
            token = server.keys.token(f"attacker-{next(numbers)}")
            await make_sessions(server, token, pairs=PAIRS)
            name = f"dropping, in {PAIRS} sessions and one of 30 large profiles, and back after {rest:g} s"
            add(name, replace(attack(token, large), hangs_up=True, rest=rest))
        for pace in kinds.PACES:
            for kind in (kinds.handing_over, kinds.changing_roles):
                token = server.keys.token(f"attacker-{next(numbers)}")
                _, session = await make_sessions(server, token)
                name, blob = kind(session, "r-5", pace)
                add(name, attack(token, large, blob, pace))
    assert server.is_alive()
    table.check()


def _spread(stage: Scene, attack: Attack) -> tuple[int, int, Figures]:
    """Return how many bytes the attacker, and whoever helps it, sent, and how many the others got."""
    assert stage.crowd
    before = stage.crowd.ask()
    figures, outcome = stage.attack(attack)
    after = _quiet(stage.crowd)
    taken, told = (after[name] - before[name] for name in ("sent", "received"))
    return outcome.sent + taken, told, figures


def _quiet(crowd: Helper) -> dict[str, int]:
    """Return what the crowd sent and got once nothing more comes; what is put off is told all the same."""
    end, told = time.monotonic() + MOST_SECONDS_PUT_OFF, crowd.ask()
    while time.monotonic() < end:
        time.sleep(QUIET_SECONDS)
        before, told = told, crowd.ask()
        if told["received"] - before["received"] < QUIET_BYTES:
            break
    counts: dict[str, int] = told
    return counts


def _rates(capsys: pytest.CaptureFixture[str], title: str) -> Table:
    return Table(
        capsys,
        title,
        "kind",
        "CPU ms/s each",
        "CPU s/s",
        "p99 PONG ms",
        "worst",
        "own lag",
        "s behind",
        "MB/s in",
        "connects",
        "closed with",
    )


def _add(table: Table, name: str, figures: Figures, outcome: Attacked, count: int, *, is_good: bool) -> None:
    codes = ", ".join(f"{times:,} of {code}" for code, times in sorted(outcome.codes.items()))
    table.add(
        name,
        f"{figures.rate * 1000 / count:.2f}",
        f"{figures.rate:.2f}",
        f"{figures.p99:.1f}",
        f"{figures.worst:.0f}",
        f"{figures.own_lag:.0f}",
        f"{figures.behind:.1f}",
        f"{outcome.sent / figures.seconds / 1e6:.2f}",
        f"{outcome.connects:,}",
        codes,
        is_good=is_good,
    )


def _requests(server: Server) -> Iterator[tuple[str, bytes]]:
    """Return a request of each path, with a good token too where one is asked for."""
    settings = Settings(admin="on", docs="on", dev_tokens="on", jwt_private_key_path=server.keys.private_path)
    good = server.keys.token("ann")
    for endpoint in endpoints(settings):
        yield f"{endpoint.method} {endpoint.path}", _request(endpoint)
        if endpoint.needs_token:
            yield f"{endpoint.method} {endpoint.path}, with a token", _request(endpoint, good)
    for mount in [*docs.static_files(), *console.static_files()]:
        assert isinstance(mount.app, StaticFiles)
        path = f"{mount.path}/{_largest(Path(str(mount.app.directory)))}"
        yield f"GET {path}", _get(path)
    yield "GET /none", _get("/none")
    yield "GET /ws", _get("/ws")


def _request(endpoint: Endpoint, token: str = "") -> bytes:
    path = endpoint.path.format(**endpoint.examples)
    if endpoint.method == "GET":
        return _get(path, token)
    body = json.dumps({"userId": "ann", "email": "ann@example.com", "displayName": "Ann"})
    head = f"{endpoint.method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}{_bearer(token)}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _get(path: str, token: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_bearer(token)}\r\n".encode()


def _bearer(token: str) -> str:
    return f"Authorization: Bearer {token}\r\n" if token else ""


def _largest(folder: Path) -> str:
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    return largest.relative_to(folder).as_posix()
