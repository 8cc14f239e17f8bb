"""What docs/scaling.md says of Redis is so: the keys, and what a user of an ACL needs."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from schemas.peers import Profile
from stores.base import Holder, Peer, Request, Revocation, Session, User
from stores.bus import Mark
from stores.redis.bus import CALL_BYTES, LOAD_BYTES, WRITE_BYTES
from stores.redis.refill import refill
from stores.redis.stores import RedisStores
from stores.redis.streams import SUBSCRIBER_BYTES
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
ANN, HOLDER = User("ann", "acme"), Holder("node_1", 1)


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
    await stores.requests.add(Request("req_1", ANN, User("bob", "acme"), 1e12))
    await stores.sessions.put(Session("ses_1", ANN, {ANN: "host"}))
    for user, token in ((ANN, None), (None, "token")):
        await stores.revocations.add(Revocation(time.time() + 60, token, user), time.time())
    stores.bus.open(ANN, {"res_1": 1}, {}, is_new=True)
    stores.bus.keep(ANN, b"{}", 1, 1, seen={}, mark=Mark(b"12345678", "2026-01-31T09:00:00.000Z"))
    await stores.bus.settled()
    await refill(stores.client, stores.replica, b"a new life", "emptied")
    await stores.ping()
    assert {_as_on_the_page(key): admin.type(key) for key in admin.scan_iter()} == _told()


def _as_on_the_page(key: str) -> str:
    key = re.sub(r":filled:.*", ":filled:HASH", key.replace("{=acme}", "{ORG}"))
    return re.sub(r":ann$", ":USER", re.sub(r":token$", ":TOKEN", key))


def _told() -> dict[str, str]:
    """Return the keys of the page's table, with their types."""
    kinds: dict[str, str] = {}
    for line in PAGE.partition("### Keys")[2].partition("### Channels")[0].splitlines():
        if line.startswith("| `"):
            names, kind = line.split("|")[1:3]
            found = [name.replace("…", "peersync:{ORG}") for name in re.findall("`(.*?)`", names)]
            kinds |= dict.fromkeys(found, kind.strip().replace("sorted set", "zset"))
    return kinds


@pytest.mark.parametrize(
    "option", ["maxmemory-policy", "appendonly", "appendfsync", "save", "maxmemory", "client-output-buffer-limit"]
)
def test_options(admin: Redis, option: str) -> None:
    """The options that the page names are Redis's."""
    assert f"| `{option}` |" in PAGE
    assert admin.config_get(option)


def test_bounds(admin: Redis) -> None:
    """What nodes send each other keeps to what Redis, by default, lets wait for one of them."""
    limits = str(admin.config_get("client-output-buffer-limit")["client-output-buffer-limit"])
    assert f"pubsub {33_554_432} {SUBSCRIBER_BYTES} 60" in limits
    told = PAGE.partition("### What is bounded")[2].partition("\n## ")[0]
    assert f"{SUBSCRIBER_BYTES >> 20} MiB ÷ nodes, {SUBSCRIBER_BYTES >> 21} MiB at most" in told
    assert f"| {CALL_BYTES >> 20} MiB, where each write counts {WRITE_BYTES >> 10} KiB" in told
    assert f"| {LOAD_BYTES >> 20} MiB; four" in told
