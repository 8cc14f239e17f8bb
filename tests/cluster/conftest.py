"""Several nodes on one Redis, each a process of its own."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.redis import ALL_KEPT, RedisServer, redis_server
from tests.support.server import Server, free_port, started
from tests.support.tokens import Keys

LEASE = 0.9
DRAIN_SECONDS = 1


class Nodes:
    """Starts nodes of one namespace; `folder` is where their logs are."""

    def __init__(self, redis: RedisServer, keys: Keys, folder: Path, running: ExitStack) -> None:
        self.started: list[Server] = []
        self._redis = redis
        self._keys = keys
        self._folder = folder
        self._running = running
        self._namespace = uuid4().hex

    def __call__(self, probe: str = "/health/ready", /, **settings: object) -> Server:
        """Start a node, and wait until this probe answers; `store_port` is where it reaches Redis."""
        server = self._start(settings)
        server.await_start(probe)
        return server

    def several(self, *each: Mapping[str, object], **settings: object) -> list[Server]:
        """Start nodes at once, one for each of these settings, with those that all have, and wait for them."""
        servers = [self._start({**settings, **own}) for own in each]
        for server in servers:
            server.await_start()
        return servers

    def pair(self, **settings: object) -> list[Server]:
        """Start two."""
        return self.several({}, {}, **settings)

    def url(self, port: object = None) -> str:
        """Return what their `STORE_URL` is."""
        return f"redis://127.0.0.1:{port or self._redis.port}/0?namespace={self._namespace}"

    def _start(self, settings: Mapping[str, object]) -> Server:
        others = dict(settings)
        url = self.url(others.pop("store_port", None))
        chosen = {"store_url": url, "node_lease_seconds": LEASE, "drain_seconds": DRAIN_SECONDS, **others}
        server = self._running.enter_context(started(self._keys, self._folder, chosen, is_covered=True))
        self.started.append(server)
        return server


@pytest.fixture
def own_redis(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be broken; `redis` is asked for since it says if there is none to be had."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


@pytest.fixture
def kept_redis(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis of the test's own, which keeps everything when it is killed."""
    assert redis.port
    with redis_server(free_port(), tmp_path, ALL_KEPT) as server:
        yield server


@pytest.fixture
def node(redis: RedisServer, keys: Keys, tmp_path: Path) -> Iterator[Nodes]:
    """Start a node; all of one test share a namespace, whose nodes count as gone after `LEASE` seconds."""
    with nodes(redis, keys, tmp_path) as start:
        yield start


@contextmanager
def nodes(redis: RedisServer, keys: Keys, folder: Path) -> Iterator[Nodes]:
    """Let nodes of one namespace be started; in the end all are told to stop at once, and waited for."""
    with ExitStack() as running:
        made = Nodes(redis, keys, folder, running)
        yield made
        for each in made.started:
            each.process.terminate()
        for each in made.started:
            each.process.wait(20)
