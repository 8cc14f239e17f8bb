"""Several nodes on one Redis, each a process of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.redis import RedisServer
from tests.support.server import Server, serving
from tests.support.tokens import Keys

LEASE = 0.6

Nodes = Callable[..., Server]


@pytest.fixture
def node(redis: RedisServer, keys: Keys, tmp_path: Path) -> Iterator[Nodes]:
    """Start a node; all of one test share a namespace, whose nodes count as gone after `LEASE` seconds."""
    name = uuid4().hex
    with ExitStack() as running:

        def start(*, port: int = redis.port, **settings: object) -> Server:
            url = f"redis://127.0.0.1:{port}/0?namespace={name}"
            chosen = {"store_url": url, "node_lease_seconds": LEASE, "log_level": "info", **settings}
            return running.enter_context(serving(keys, tmp_path, **chosen))

        yield start
