"""The overview: what an operator sees of peers and sessions."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient

from app.main import create_app
from app.rest.overview import SLICE
from app.settings import MEMORY, Settings
from schemas.peers import Profile
from stores.memory.stores import MemoryStores
from stores.model import Peer, Session, User
from tests.support.tokens import Keys

MANY = 3 * SLICE
PATH = "/api/v1/admin/overview"


@pytest.fixture
def stores() -> MemoryStores:
    """Stores with what a test puts there."""
    return MemoryStores()


@pytest.fixture
def client(keys: Keys, stores: MemoryStores) -> Iterator[TestClient]:
    """A client of a development server with these stores."""
    settings = Settings(store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="error", host="127.0.0.1")
    with TestClient(create_app(settings, stores), headers={"Host": "localhost"}) as client:
        yield client


def put(stores: MemoryStores, peer: Peer) -> None:
    """Have a peer in the directory."""
    stores.directory.put_peer(peer, stores.directory.next_place(peer.user.org))


def peer(name: str, org: str | None = None) -> Peer:
    profile = Profile(display_name=f"Name {name}", role="guest", ide="vim")
    return Peer(User(name, org), profile, "online", b"a", lapses_at=time.time() + 60)


def seen(client: TestClient, **query: object) -> Any:
    return client.get(PATH, params={name: str(value) for name, value in query.items()}).json()


def test_nothing(client: TestClient) -> None:
    """An empty server."""
    found = seen(client)
    assert found["counts"] == {"sockets": 0, "peers": 0, "sessions": 0, "requests": 0}
    assert (found["peers"], found["sessions"], found["draining"]) == ([], [], False)


async def test_peers_and_sessions(client: TestClient, stores: MemoryStores) -> None:
    """What is told of a peer that is away, of another org's, and of a session."""
    ann, bob = User("ann"), User("bob")
    put(stores, peer("ann"))
    put(stores, replace(peer("cat", "acme"), is_hidden=True))
    await stores.sessions.put(Session("ses_1", ann, {ann: "host", bob: "guest"}))
    found = seen(client)
    assert found["peers"][0] == {
        "id": "ann",
        "displayName": "Name ann",
        "ide": "vim",
        "role": "guest",
        "status": "online",
        "hidden": False,
        "connected": False,
        "capabilities": [],
        "sessions": 1,
        "kept": 0,
    }
    assert (found["peers"][1]["org"], found["peers"][1]["hidden"]) == ("acme", True)
    participants = [
        {"id": "ann", "role": "host", "connected": False},
        {"id": "bob", "role": "guest", "connected": False},
    ]
    assert found["sessions"] == [{"sessionId": "ses_1", "hostId": "ann", "participants": participants}]


async def test_thousands(client: TestClient, stores: MemoryStores) -> None:
    """Of many the latest are shown, and those that are looked for, by id or name in any case."""
    for number in range(MANY):
        put(stores, peer(f"user{number}"))
    assert [each["id"] for each in seen(client, limit=2)["peers"]] == [f"user{MANY - 1}", f"user{MANY - 2}"]
    assert len(seen(client)["peers"]) == 100
    assert seen(client)["counts"]["peers"] == MANY
    assert [each["id"] for each in seen(client, query="NAME USER7", limit=500)["peers"]][-1] == "user7"
    assert seen(client, query="nobody")["peers"] == []


async def test_sessions_looked_for(client: TestClient, stores: MemoryStores) -> None:
    """A session is found by its id and by who is in it."""
    for number in range(3):
        host = User(f"user{number}")
        await stores.sessions.put(Session(f"ses_{number}x", host, {host: "host"}))
    for query in ("SES_1", "user1"):
        assert [each["sessionId"] for each in seen(client, query=query)["sessions"]] == ["ses_1x"]
