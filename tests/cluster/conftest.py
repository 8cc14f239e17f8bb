"""Several nodes on one Redis, each a process of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.redis import ALL_KEPT, NOTHING_KEPT, RedisServer, redis_server
from tests.support.server import Server, free_port, launched
from tests.support.tokens import Keys

LEASE = 0.9
DRAIN_SECONDS = 1

Nodes = Callable[..., Server]


@pytest.fixture
def own_redis(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be broken; `redis` is asked for since it says if there is none to be had."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


@pytest.fixture(params=[NOTHING_KEPT, ALL_KEPT], ids=["which comes back empty", "which keeps its data"])
def either_redis(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis of the test's own, which keeps nothing or everything when it is killed."""
    assert redis.port
    with redis_server(free_port(), tmp_path, request.param) as server:
        yield server


@pytest.fixture
def node(redis: RedisServer, keys: Keys, tmp_path: Path) -> Iterator[Nodes]:
    """Start a node; all of one test share a namespace, whose nodes count as gone after `LEASE` seconds."""
    with nodes(redis, keys, tmp_path) as start:
        yield start


@contextmanager
def nodes(redis: RedisServer, keys: Keys, folder: Path) -> Iterator[Nodes]:
    """Let nodes of one namespace be started; in the end all are told to stop at once, and waited for."""
    name = uuid4().hex
    started: list[Server] = []
    with ExitStack() as running:

        def start(*, store_port: int = redis.port, probe: str = "/health/ready", **settings: object) -> Server:
            url = f"redis://127.0.0.1:{store_port}/0?namespace={name}"
            chosen = {"store_url": url, "node_lease_seconds": LEASE, "drain_seconds": DRAIN_SECONDS, **settings}
            started.append(running.enter_context(launched(keys, folder, probe, chosen)))
            return started[-1]

        yield start
        for each in started:
            each.process.terminate()
        for each in started:
            each.process.wait(20)
