"""Bounds: what a token, a long talk, a store that is away, and many who come and go leave behind."""

import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from redis import Redis

from app.delivery.presence_log import MOST_CHANGES
from app.settings import MEMORY, Settings
from stores.log import RECENT_MESSAGES, RECENT_SECONDS
from stores.redis.log import WAITING_BYTES
from stores.sqlite.schema import CHECKPOINT_PAGES
from tests.hardening.cluster import Cluster
from tests.hardening.conftest import Report, Scale
from tests.hardening.crowd import PATIENCE, all_of, loopback, metric, registries, resident_mib, until
from tests.hardening.faults import running
from tests.hardening.talk import Pairs, Talker
from tests.support.proxy import Proxy, proxy
from tests.support.redis import REDIS_SERVER, RedisServer, redis_server
from tests.support.server import Server, free_port, serving
from tests.support.tokens import Keys

MIB = 1_048_576
UNLIMITED = {"rate_limit_events_per_second": 1_000_000, "rate_limit_burst": 1_000_000, "http_requests_per_second": 0}
DEFAULTS = Settings()
BUDGET = int(DEFAULTS.rate_limit_burst + DEFAULTS.rate_limit_events_per_second * RECENT_SECONDS)
REQUESTS = 10_000
ASKED_AT_ONCE = 20
WINDOW = 200
WARM_MESSAGES, WARM_BYTES = 3000, 4096  # more than SQLite caches
TOKEN_MIB = 8
MESSAGES = 100_000
LEVEL_MIB = 4
TIMES, AWAY_SECONDS = 10, 2
PAIRS, LARGE_WINDOW, LARGE_BYTES = 8, 32, 65_536
WAITING_MIB = 40
GUESTS, AT_ONCE = 10_000, 50
BRIEF = {"session_grace_seconds": 0.2, "resume_grace_seconds": 0.2}
SETTLE_SECONDS = 0.5
KEY_BYTES = 120
WAL_MIB = 1.5 * CHECKPOINT_PAGES * 4096 / MIB  # it begins anew once all of it is in the file

NEEDS_REDIS = pytest.mark.skipif(REDIS_SERVER is None and "CI" not in os.environ, reason="redis-server was not found")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


class Engine(NamedTuple):
    """An engine of the stores: its URL, and how many bytes it keeps outside of the server, and how many in a `-wal`."""

    name: str
    url: str
    kept: Callable[[], int]
    wal: Callable[[], int]


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=NEEDS_REDIS)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each engine in turn."""
    match request.param:
        case "redis":
            with redis_server(free_port(), tmp_path) as store, Redis(port=store.port) as client:
                yield Engine("Redis", store.url, lambda: int(client.info("memory")["used_memory"]), lambda: 0)
        case "sqlite":
            file = tmp_path / "store.db"
            yield Engine("SQLite", f"sqlite:///{file}", lambda: _used(file), lambda: Path(f"{file}-wal").stat().st_size)
        case _:
            yield Engine("memory", MEMORY, lambda: 0, lambda: 0)


def _used(file: Path) -> int:
    """Return how many bytes of a SQLite file have something in them."""
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


@pytest.fixture
def server(engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[Server]:
    """Run a server on the engine that lets a token say at once what it may say in five minutes."""
    with serving(keys, tmp_path, store_url=engine.url, **UNLIMITED) as server:
        yield server


Enter = Callable[[str], Awaitable[Talker]]


@pytest.fixture
async def enter(server: Server) -> AsyncIterator[Enter]:
    """Have users of these names come in; in the end all leave."""
    talkers: list[Talker] = []

    async def come(name: str) -> Talker:
        talkers.append(Talker(WINDOW))
        return await talkers[-1].enter(server.url, server.keys.token(name), loopback(len(talkers)))

    yield come
    for talker in talkers:
        await talker.leave()


async def test_one_token(engine: Engine, server: Server, enter: Enter, scale: Scale, report: Report) -> None:
    """All the sessions, message ids and requests that a token can pay for within five minutes are 8 MiB at most."""
    sessions, messages, requests = scale(DEFAULTS.max_sessions_per_user), scale(BUDGET), scale(REQUESTS)
    asked = [await enter(f"asked-{number}") for number in range(ASKED_AT_ONCE)]
    others = [await enter(f"other-{number}") for number in range(sessions)]
    warm = await enter("warm")
    kept_before = engine.kept()  # before the warm-up, which SQLite lets go of a little later
    await _say(warm, [await warm.meet(asked[0], "asked-0")], WARM_MESSAGES, "x" * WARM_BYTES)
    await _settle(warm, *asked)
    before = resident_mib(server)
    ann = await enter("ann")
    await _ask_and_withdraw(ann, asked, requests)
    await _say(ann, [await ann.meet(other, f"other-{number}") for number, other in enumerate(others)], messages)
    await _settle(ann, *asked, *others)
    grown, kept, left = resident_mib(server) - before, (engine.kept() - kept_before) / MIB, registries(server)
    known = left.pop("message_keys", 0)
    report(
        f"message ids of one token in {sessions} sessions, {requests:,} requests withdrawn, on {engine.name}",
        messages,
        f"memory of the server {grown:+.1f} MiB, what the store keeps {kept:+.1f} MiB; {known:,.0f} message keys",
    )
    assert (len(ann.acked), sum(len(other.heard) for other in others)) == (messages, messages)
    assert known <= (sessions + 1) * RECENT_MESSAGES
    assert left["sessions"] == sessions + 1
    assert max(left.values()) <= ASKED_AT_ONCE + sessions + 2, left
    assert metric(server, "peersync_log_bytes") == 0
    assert grown < TOKEN_MIB
    assert kept < TOKEN_MIB


@pytest.mark.parametrize("engine", ["memory", "sqlite"], indirect=True)
async def test_a_long_talk(engine: Engine, server: Server, enter: Enter, scale: Scale, report: Report) -> None:
    """Two who talk and talk have no more kept for them in the end than after a fifth of it."""
    count = scale(MESSAGES)
    ann, bob = await enter("ann"), await enter("bob")
    session = await ann.meet(bob, "bob")
    await _talk(session, ann, bob, count // 5, "first")
    before, tables, kept_before = resident_mib(server), registries(server), engine.kept()
    await _talk(session, ann, bob, count - count // 5, "then")
    grown = resident_mib(server) - before
    kept, wal = engine.kept() - kept_before, engine.wal() / MIB
    each = kept / (count - count // 5)
    report(
        f"messages of two who talk with `resume` and `acks`, on {engine.name}",
        count,
        f"all tables level; memory {grown:+.1f} MiB since the first fifth; {each:.0f} bytes of each in the file, for"
        f" five minutes, and a `-wal` of {wal:.1f} MiB",
    )
    assert (len(ann.heard), len(bob.heard)) == (count // 2, count // 2)
    assert registries(server) == tables
    assert metric(server, "peersync_log_bytes") == 0
    assert grown < LEVEL_MIB
    assert kept < KEY_BYTES * (count - count // 5) + MIB  # besides keys, what the next commit trims
    assert wal < WAL_MIB


async def _talk(session: str, ann: Talker, bob: Talker, count: int, name: str) -> None:
    """Have each of two send half of so many messages."""
    async with anyio.create_task_group() as tasks:
        for talker in (ann, bob):
            tasks.start_soon(_say, talker, [session], count // 2, "We talk.", name)
    await _settle(ann, bob)


async def _say(talker: Talker, sessions: list[str], count: int, content: str = "", name: str = "") -> None:
    """Have a peer send so many messages, to each of its sessions in turn."""
    for number in range(count):
        await talker.say(sessions[number % len(sessions)], f"{name}{number}", content)
    await talker.answered()


async def _ask_and_withdraw(ann: Talker, asked: list[Talker], count: int) -> None:
    """Have a peer ask others for connections, and withdraw each request at once."""

    async def cycle(first: int) -> None:
        for _ in range(first, count, len(asked)):
            await ann.withdraw(asked[first], await ann.request(asked[first], f"asked-{first}"))

    await all_of(cycle, len(asked), len(asked))


async def _settle(*talkers: Talker) -> None:
    """Have all say how far they have come."""
    for talker in talkers:
        await talker.handle()
    await anyio.sleep(SETTLE_SECONDS)


@NEEDS_REDIS
@pytest.mark.parametrize("is_frozen", [True, False], ids=["frozen", "away"])
async def test_a_store_that_is_away(
    keys: Keys, tmp_path: Path, scale: Scale, report: Report, *, is_frozen: bool
) -> None:
    """What waits for Redis is bounded, senders are told; what is acknowledged arrives once, and in order."""
    times, pairs, waiting = max(1, scale(TIMES)), Pairs(PAIRS, LARGE_WINDOW, "x" * LARGE_BYTES), list[float]()
    async with _store_and_server(keys, tmp_path) as (store, wire, server):
        await pairs.come(server)
        before = resident_mib(server)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pairs.talk)
            await anyio.sleep(AWAY_SECONDS)
            for _ in range(times):
                async with _away(store, wire, is_frozen=is_frozen):
                    await anyio.sleep(AWAY_SECONDS)
                    waiting.append(metric(server, "peersync_log_bytes"))
                await anyio.sleep(AWAY_SECONDS)
            pairs.is_quiet = True
        grown, refused = resident_mib(server, peak=True) - before, pairs.errors.total()
        await pairs.leave()
    arrived = sum(len(bob.heard) for _, bob in pairs.pairs)
    report(
        f"Redis {'frozen' if is_frozen else 'cut off'} for {AWAY_SECONDS} s under all that {PAIRS} senders can say",
        times,
        f"{arrived:,} messages of {LARGE_BYTES >> 10} KiB acknowledged, all of them arrived once and in order;"
        f" {refused:,} refused with `ERR_9002`; {max(waiting) / MIB:.1f} MiB waited, memory {grown:+.1f} MiB at most",
    )
    assert pairs.errors.keys() == {"ERR_9002"}
    for ann, bob in pairs.pairs:
        assert bob.heard == ann.acked
    assert WAITING_BYTES < max(waiting) < 2 * WAITING_BYTES
    assert grown < WAITING_MIB


class Host(Talker):
    """A peer that wants no connection."""

    def took(self, event: Any) -> None:
        """Say so."""
        super().took(event)
        if event["event"] == "CONNECTION_REQUEST_RECEIVED":
            self.send("CONNECTION_RESPONSE", requestId=event["data"]["requestId"], accepted=False)


@NEEDS_REDIS
async def test_coming_and_going(keys: Keys, tmp_path: Path, scale: Scale, report: Report) -> None:
    """Many come to two nodes, ask for a connection, and go, and then those who stayed: every table is empty again."""
    count = scale(GUESTS)
    with (
        redis_server(free_port(), tmp_path) as store,
        running(keys, tmp_path, [store.port] * 2, **UNLIMITED, **BRIEF) as cluster,
    ):
        await cluster.start(0, 1)
        hosts = [await Host().enter(url, keys.token(f"host-{at}")) for at, url in enumerate(cluster.urls)]

        async def visit(number: int) -> None:
            guest = Talker()
            await guest.enter(cluster.urls[number % 2], keys.token(f"guest-{number}"), loopback(number))
            await guest.ask("CONNECTION_REJECTED", "CONNECTION_REQUEST", targetId=f"host-{number // 2 % 2}")
            if number % 3:
                await guest.leave()
            else:
                guest.cut()

        await all_of(visit, count, AT_ONCE)
        await _gone(cluster, len(hosts))
        left = [registries(node) for node in cluster.living]
        memory = ", ".join(f"{resident_mib(node):.1f} MiB" for node in cluster.living)
        for host in hosts:
            await host.leave()
        await _gone(cluster, 0)
        empty = [registries(node) for node in cluster.living]
    logged, known = ([tables.pop(name, 0) for tables in (*left, *empty)] for name in ("presence_log", "recent_appends"))
    report(
        "peers who come to two nodes, ask for a connection, and go",
        count,
        f"every table back to what those who stayed need, but {logged[0]:,.0f} and {logged[1]:,.0f} entries of the"
        f" presence log; with the last of their org these are gone, too; memory of the nodes {memory}",
    )
    assert max(max(tables.values()) for tables in left) == len(hosts)
    assert empty == [{}, {}]
    assert max(logged[:2]) <= MOST_CHANGES
    assert logged[2:] == [0, 0]
    assert max(known) <= count + len(hosts)


async def _gone(cluster: Cluster, peers: int) -> None:
    """Return once all nodes have no other peers than these."""
    await until(lambda: all(registries(node).get("peers", 0) == peers for node in cluster.living))
    await anyio.sleep(SETTLE_SECONDS)


@asynccontextmanager
async def _store_and_server(keys: Keys, folder: Path) -> AsyncIterator[tuple[RedisServer, Proxy, Server]]:
    """Run a Redis, and a server that reaches it over a wire."""
    with redis_server(free_port(), folder) as store:
        async with proxy(store.port) as wire:
            with running(keys, folder, [wire.port], **UNLIMITED) as cluster:
                await cluster.start(0)
                yield store, wire, cluster.living[0]


@asynccontextmanager
async def _away(store: RedisServer, wire: Proxy, *, is_frozen: bool) -> AsyncIterator[None]:
    """Have Redis answer nobody, or nobody reach it, for a while."""
    if is_frozen:
        with store.frozen():
            yield
        return
    await wire.cut()
    yield
    wire.mend()
