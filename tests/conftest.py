"""Fixtures for all tests."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.redis import REDIS_SERVER, RedisServer, redis_server
from tests.support.server import Server, free_port, serving, started
from tests.support.tokens import Keys

settings.register_profile("shared", deadline=None)  # a busy machine is no failure
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the counts of tests/hardening be chosen."""
    parser.addoption("--full", action="store_true", help="run tests/hardening with full counts, not a tenth of each")
    parser.addoption(
        "--long", action="store_true", help="run also what has shorter kin elsewhere, as bin/hardening does"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long and was not asked for."""
    if config.getoption("--long") or config.getoption("--full"):
        return
    is_long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=is_long)
    items[:] = [item for item in items if item not in is_long]


def pytest_collection_finish() -> None:
    """Spare each later garbage collection a look at all that was imported and collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """A key pair."""
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that uvicorn runs on."""
    return "asyncio"


@pytest.fixture(scope="session", params=["peersync", "websockets-sansio"])
def implementation(request: pytest.FixtureRequest) -> str:
    """A WebSocket implementation."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def servers(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Servers with default settings, by WebSocket implementation; for tests that clean up after themselves."""
    folder: Path = tmp_path_factory.mktemp("servers")
    settings = {"session_grace_seconds": 1}
    with (
        started(keys, folder, settings, is_covered=True) as ours,
        started(keys, folder, {**settings, "ws_implementation": "websockets-sansio"}, is_covered=True) as uvicorns,
    ):
        for each in (ours, uvicorns):
            each.await_start()
        yield {"peersync": ours, "websockets-sansio": uvicorns}


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server; each test uses a namespace of its own."""
    if REDIS_SERVER is None and "CI" not in os.environ:
        pytest.skip("redis-server was not found (Debian: apt-get install redis-server)")
    with redis_server(free_port(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def sharing(keys: Keys, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with default settings, but for its store, which others might share."""
    with serving(keys, tmp_path_factory.mktemp("sharing"), store_url=redis.namespace("sharing")) as server:
        yield server


@pytest.fixture
def server(servers: dict[str, Server], implementation: str) -> Server:
    """A server with default settings, of each WebSocket implementation in turn."""
    return servers[implementation]
