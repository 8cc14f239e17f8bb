"""The connections to Redis that an operator may have (docs/scaling.md): real servers, and two nodes on each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import anyio.to_thread
import pytest

from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import meet
from tests.support.certificates import make_certificate
from tests.support.client import Client, client, until
from tests.support.redis import NOTHING_KEPT, Guarded, RedisServer, guarded_redis, redis_server
from tests.support.server import PATH, Server, free_port, launched
from tests.support.tokens import Keys

USER = "~peersync:* &peersync:* +@all -@dangerous +info"
SECRET = "s/ecr@t"
QUOTED = "s%2Fecr%40t"


@pytest.fixture
def folder(tmp_path: Path, redis: RedisServer) -> Path:
    """A folder with a certificate; `redis` is asked for since it says if there is none to be had."""
    assert redis.port
    make_certificate(tmp_path)
    return tmp_path


@pytest.fixture
def guarded(folder: Path) -> Iterator[Guarded]:
    """A master with a replica and Sentinels."""
    with guarded_redis(folder) as made:
        made.await_all()
        yield made


def tls_lines(folder: Path) -> list[str]:
    """Return what has a server speak TLS only, with the folder's certificate."""
    return [
        "port 0",
        "tls-port {port}",
        f"tls-cert-file {folder}/cert.pem",
        f"tls-key-file {folder}/key.pem",
        f"tls-ca-cert-file {folder}/cert.pem",
        "tls-auth-clients no",
        "tls-replication yes",
    ]


async def talk(ann: Client, bob: Client, session: str) -> None:
    """See a message come through, there and back."""
    for who, other in ((ann, bob), (bob, ann)):
        content = uuid4().hex
        await who.send("SEND_MESSAGE", sessionId=session, content=content)
        assert (await other.until("MESSAGE_RECEIVED"))["content"] == content


async def see_them_serve(node: Nodes, url: str) -> None:
    """Have two nodes with this URL serve as one; they tell nobody its passwords."""
    first, second = node.pair(store_url=url, log_level="debug")
    async with client(first) as ann, client(second) as bob:
        await talk(ann, bob, await meet(ann, bob))
    assert not any(said in first.log.read_text() for said in (SECRET, QUOTED))


def see_it_refused(keys: Keys, folder: Path, url: str, why: str) -> None:
    """Have bin/doctor and a node's readiness say, in a line, why the store cannot be used."""
    (told,) = [line for line in examined(keys, folder, url) if line.split()[1] == "store"]
    with launched(keys, folder, "/health/live", {"store_url": url}) as server:
        (reason,) = server.get("/health/ready").json()["reasons"]
        logged = server.log.read_text()
    assert told.startswith("wrong")
    for text in (told, reason):
        assert why.lower() in text.lower()
        assert "\n" not in text
    assert not any(said in text for said in (SECRET, QUOTED) for text in (told, reason, logged))


def examined(keys: Keys, folder: Path, url: str) -> list[str]:
    """Return the lines of bin/doctor. When it ends, redis-py may still be closing, which would be a leak here."""
    environment = {**os.environ, **keys.environment(), "STORE_URL": url, "PYTHONPATH": PATH}
    command = [sys.executable, "-m", "app", "doctor"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    return done.stdout.splitlines()


def are_ready(*nodes: Server) -> bool:
    """Whether all of them are."""
    return all(each.get("/health/ready").status_code == 200 for each in nodes)


async def test_a_user_of_an_acl(node: Nodes, folder: Path) -> None:
    """A user with no more rights than docs/scaling.md names is enough."""
    port = free_port()
    lines = [*NOTHING_KEPT, "user default off", f"user peersync on >{SECRET} {USER}"]
    with redis_server(port, folder, lines):
        await see_them_serve(node, f"redis://peersync:{QUOTED}@127.0.0.1:{port}/0")


async def test_tls(node: Nodes, folder: Path) -> None:
    """The server's certificate is checked against the one named."""
    port = free_port()
    with redis_server(port, folder, [*NOTHING_KEPT, *(line.format(port=port) for line in tls_lines(folder))]):
        await see_them_serve(node, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={folder}/cert.pem")


def test_another_certificate(keys: Keys, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server that nobody vouches for is not talked to."""
    other, port = tmp_path_factory.mktemp("other"), free_port()
    make_certificate(other)
    with redis_server(port, folder, [*NOTHING_KEPT, *(line.format(port=port) for line in tls_lines(folder))]):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={other}/cert.pem"
        see_it_refused(keys, folder, url, "certificate verify failed")


def test_a_certificate_for_another_name(keys: Keys, folder: Path) -> None:
    """Nor is one whose certificate is good, but not for where it is."""
    port = free_port()
    make_certificate(folder, "redis.example.com")
    with redis_server(port, folder, [*NOTHING_KEPT, *(line.format(port=port) for line in tls_lines(folder))]):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={folder}/cert.pem"
        see_it_refused(keys, folder, url, "IP address mismatch")


def test_too_few_rights(keys: Keys, folder: Path) -> None:
    """A user that may not have our keys is of no use, though it may connect."""
    port = free_port()
    with redis_server(port, folder, [*NOTHING_KEPT, f"user peersync on >{SECRET} ~other:* &other:* +@all"]):
        url = f"redis://peersync:{QUOTED}@127.0.0.1:{port}/0"
        see_it_refused(keys, folder, url, "no permissions")


async def test_sentinels(node: Nodes, guarded: Guarded) -> None:
    """The master is killed, and a Sentinel with it: the nodes go over to the new one, and their clients stay."""
    url = f"redis+sentinel://{guarded.places}/main/0"
    first, second = node.pair(store_url=url)
    async with client(first) as ann, client(second) as bob, client(second) as cat:
        session = await meet(ann, bob)
        await anyio.to_thread.run_sync(guarded.await_replica)
        guarded.sentinels[0].kill()
        guarded.master.kill()
        await until(lambda: not are_ready(first))
        await until(lambda: are_ready(first, second))
        await talk(ann, bob, session)
        await cat.join("cat")
        assert await ann.next_event() == "cat online"


async def test_a_master_that_is_silent(node: Nodes, guarded: Guarded) -> None:
    """The master's machine is gone without a word: connections to it stay open, and the nodes notice."""
    url = f"redis+sentinel://{guarded.places}/main/0"
    first, second = node.pair(store_url=url)
    async with client(first) as ann, client(second) as bob, client(second) as cat:
        session = await meet(ann, bob)
        await anyio.to_thread.run_sync(guarded.await_replica)
        with guarded.master.frozen():
            await talk(ann, bob, session)
            await until(lambda: are_ready(first, second))
            await cat.join("cat")
            assert await ann.next_event() == "cat online"


async def test_sentinels_with_users_of_their_own(node: Nodes, keys: Keys, folder: Path) -> None:
    """Master and Sentinels have users of their own, and all speak TLS; without the right password nothing is told."""
    lines = [
        *tls_lines(folder),
        f"user default on >{SECRET} ~* &* +@all",
        f"masterauth {SECRET}",
        f"user peersync on >{SECRET} {USER}",
    ]
    asking = [
        *tls_lines(folder),
        f"user default on >{SECRET} ~* &* +@all",
        f"user asker on >also-{SECRET} +sentinel|masters",
        f"sentinel auth-pass main {SECRET}",
        f"sentinel sentinel-pass {SECRET}",
    ]
    login = {"ssl": True, "ssl_ca_certs": str(folder / "cert.pem"), "password": SECRET}
    with guarded_redis(folder, lines, asking, **login) as made:
        made.await_all(**login)
        url = f"rediss+sentinel://peersync:{QUOTED}@{made.places}/main/0?ssl_ca_certs={folder}/cert.pem"
        asker = f"{url}&sentinel_username=asker&sentinel_password"
        await see_them_serve(node, f"{asker}=also-{QUOTED}")
        await anyio.to_thread.run_sync(see_it_refused, keys, folder, f"{asker}={QUOTED}", "invalid username-password")
        await anyio.to_thread.run_sync(see_it_refused, keys, folder, url, "Authentication required")
