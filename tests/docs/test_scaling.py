"""What docs/scaling.md says of Redis is so: the keys, and what a user of an ACL needs."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from schemas.peers import Profile
from stores.log import RECENT_MESSAGES, Event, MessageKey
from stores.memory.recent_messages import MOST_KEYS as MOST_LOCAL_KEYS
from stores.model import Holder, Peer, Request, Revocation, Session, User
from stores.redis.batch import MOST_REQUESTS
from stores.redis.keyspace import SHARDS
from stores.redis.log import WAITING_BYTES
from stores.redis.pipeline import WINDOW_BYTES, WINDOW_CALLS
from stores.redis.stores import RedisStores
from tests.support.logs import Socket
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
ANN, BOB, HOLDER = User("ann", "acme"), User("bob", "acme"), Holder("node_1", 1)


@pytest.fixture(scope="module")
def server(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of its own, for users of the ACL are the server's and the page's keys have the usual name."""
    with redis_server(free_port(), tmp_path_factory.mktemp("redis")) as own:
        yield own


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(server.url, decode_responses=True) as connected:
        yield connected


@pytest.fixture
async def stores(server: RedisServer, admin: Redis) -> AsyncIterator[RedisStores]:
    """Stores that log in as the page says."""
    needs = re.search(r"needs `(.*)` on the keys `(.*)` and the channels `(.*)`", PAGE)
    assert needs is not None
    rules = ["on", ">secret", *needs[1].split(), needs[2], needs[3]]
    admin.execute_command("ACL", "SETUSER", "app", *rules)  # type: ignore[no-untyped-call]
    async with running(server.url.replace("//", "//app:secret@"), HOLDER.node) as made:
        yield made


async def test_keys(stores: RedisStores, admin: Redis) -> None:
    """A user of the ACL may do all that is done, and each key that comes of it stands on the page with its type."""
    profile = Profile(display_name="Ann", role="guest", ide="vim")
    await stores.peers.claim(ANN, HOLDER)
    assert await stores.peers.register(Peer(user=ANN, profile=profile, status="online", address=b"a"), HOLDER)
    await stores.requests.add(Request("req_1", ANN, BOB, 1e12))
    await stores.sessions.put(Session("ses_1", ANN, {ANN: "host", BOB: "guest"}))
    for user, token in ((ANN, None), (None, "token")):
        await stores.revocations.add(Revocation(time.time() + 60, token, user), time.time())
    assert await stores.log.start(ANN, HOLDER, "res_1")
    assert await stores.log.follow(ANN, HOLDER, 0, Socket(stores, ANN))
    stores.log.append([Event(ANN, b"{}", "while_pending", request_id="req_1")])
    stores.log.append([Event(ANN, b"{}")], MessageKey.of("ses_1", ANN, "m", int(time.time() * 1000)))
    await stores.log.pipeline.drained()
    await stores.ping()
    assert {_as_on_the_page(key): admin.type(key) for key in admin.scan_iter()} == _told()


def _as_on_the_page(key: str) -> str:
    key = re.sub(r"\{\d+\}", "{SHARD}", re.sub("=acme/(ann|bob)", "ORG/ID", key))
    key = re.sub(r":recent:\w{16}$", ":recent:STREAM", key)
    return re.sub(r":revoked:.*", ":revoked:NAME", key)


def _told() -> dict[str, str]:
    """Return the keys of the page's table, with their types."""
    kinds: dict[str, str] = {}
    for line in PAGE.partition("### Keys")[2].partition("### Bounds")[0].splitlines():
        if line.startswith("| `"):
            names, kind = line.split("|")[1:3]
            kinds |= dict.fromkeys(re.findall("`(.*?)`", names), kind.strip().replace("sorted set", "zset"))
    return kinds


@pytest.mark.parametrize(
    "option", ["maxmemory-policy", "appendonly", "appendfsync", "save", "maxmemory", "client-output-buffer-limit"]
)
def test_options(admin: Redis, option: str) -> None:
    """The options that the page names are Redis's."""
    assert f"| `{option}` |" in PAGE
    assert admin.config_get(option)


def test_bounds() -> None:
    """The page tells the bounds that there are."""
    told = PAGE.partition("### Bounds")[2].partition("\n## ")[0]
    assert f"| {WAITING_BYTES >> 20} MiB a node for messages" in told
    assert f"| {WINDOW_BYTES >> 20} MiB, {WINDOW_CALLS:,} calls |" in told
    assert f"{MOST_LOCAL_KEYS:,} in all" in told
    assert f"{MOST_REQUESTS:,} at most" in PAGE
    assert f"{RECENT_MESSAGES:,} at most" in PAGE
    assert f"in {SHARDS} shards" in PAGE


def test_length() -> None:
    """The page can be read in one sitting, and its tables on a phone."""
    assert len(PAGE.split()) <= 1800
    assert max(len(cell) for line in PAGE.splitlines() if line.startswith("|") for cell in line.split("|")) <= 300
