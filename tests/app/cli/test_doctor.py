"""What the doctor finds, and what it says to do."""

import os
import resource
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import anyio
import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from app.cli import doctor
from app.cli.commands import main
from app.cli.doctor import examine
from app.cli.finding import Finding
from app.settings import MEMORY
from stores.sqlite.schema import parsed
from stores.sqlite.stores import SqliteStores
from tests.support.redis import RedisServer
from tests.support.server import Server, free_port
from tests.support.tokens import Keys


@pytest.fixture
def environ(keys: Keys, tmp_path: Path) -> dict[str, str]:
    """A set-up with which all is well."""
    few = {"PORT": str(free_port()), "TOKEN_LEEWAY_SECONDS": "60", "STORE_URL": MEMORY, "MAX_CONNECTIONS": "100"}
    return {**keys.environment(), **few}


def wrong(environ: dict[str, str], dotenv: Path = Path("no such file")) -> list[Finding]:
    return [finding for finding in examine(environ, dotenv) if finding.is_wrong]


def test_all_is_well(environ: dict[str, str]) -> None:
    """Of a good set-up nothing is wrong, and the exit code is 0; each finding is a line."""
    assert wrong(environ) == []
    done = CliRunner().invoke(main, ["doctor"], env=environ)
    assert done.exit_code == 0, done.output
    subjects = [line.split()[:2] for line in done.output.splitlines()]
    assert subjects == [
        ["ok", subject] for subject in ("settings", "plugins", "keys", "keys", "store", "port", "files", "clock")
    ]


def test_exit_code(environ: dict[str, str], tmp_path: Path) -> None:
    """If something is wrong the exit code is 1, and a line says what and where."""
    lacks_key = {"JWT_PUBLIC_KEY_PATH": str(tmp_path / "none.pem"), "APP_ENV": "production", "HOST": "127.0.0.1"}
    done = CliRunner().invoke(main, ["doctor"], env={**environ, **lacks_key})
    assert done.exit_code == 1
    assert any(line.startswith("wrong  keys ") and "none.pem" in line for line in done.output.splitlines())


@pytest.mark.parametrize("has_private", [False, True])
def test_a_fresh_clone(environ: dict[str, str], tmp_path: Path, *, has_private: bool) -> None:
    """Keys that the first start makes are no mistake, and none are made here."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    if has_private:
        shutil.copy(environ["JWT_PRIVATE_KEY_PATH"], private)
    fresh = {**environ, "JWT_PRIVATE_KEY_PATH": str(private), "JWT_PUBLIC_KEY_PATH": str(public)}
    (finding,) = [each for each in examine(fresh, Path("no such file")) if each.subject == "keys"]
    assert finding.level == "note"
    assert "bin/serve makes what is missing" in finding.text
    assert (str(private) in finding.text, str(public) in finding.text) == (not has_private, True)
    assert not public.exists()


@pytest.mark.parametrize(
    ("setting", "value", "subject", "advice"),
    [
        ("PORT", "x", "settings", "it must be a whole number"),
        ("HOST", "192.0.2.1", "settings", "set APP_ENV=production"),
        ("HOST", "192.0.2.1", "port", "set PORT or HOST"),
        ("TLS_CERT_PATH", "x", "settings", "TLS_KEY_PATH is not set"),
        ("AUDIT_LOG", "no such folder/audit.log", "audit", "set AUDIT_LOG"),
        ("PLUGINS", "no.such", "plugins", "remove it from PLUGINS"),
        ("JWT_PUBLIC_KEY", "x", "keys", "it must be an RSA public key in PEM"),
        ("JWT_PRIVATE_KEY", "x", "keys", "it must be an RSA private key in PEM"),
        ("JWT_PRIVATE_KEY_PATH", "no such file", "keys", "bin/genkeys"),
    ],
)
def test_what_is_wrong(environ: dict[str, str], setting: str, value: str, subject: str, advice: str) -> None:
    """Each mistake is found, told in one line, and what to do is said."""
    found = [finding.text for finding in wrong({**environ, setting: value}) if finding.subject == subject]
    assert any(advice in text for text in found), found
    assert not any("\n" in text for text in found)


def test_an_audit_log(environ: dict[str, str], tmp_path: Path) -> None:
    """A file for the audit log that can be written is well, and is not made; so is standard output."""
    path = tmp_path / "audit.log"
    assert wrong({**environ, "AUDIT_LOG": str(path)}) == []
    assert wrong({**environ, "AUDIT_LOG": "-"}) == []
    assert not path.exists()


def _store(environ: dict[str, str], url: str) -> list[tuple[bool, str]]:
    found = examine({**environ, "STORE_URL": url}, Path("no such file"))
    return [(finding.is_wrong, finding.text) for finding in found if finding.subject == "store"]


def test_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    """The doctor looks into the file of the stores, says what there is, and makes none."""
    path = tmp_path / "data" / "peersync.db"
    url = f"sqlite:///{path}"
    (no_file, room) = _store(environ, url)
    assert no_file == (False, f"{path} does not exist yet; the first start makes it")
    assert not path.parent.exists()
    stores = SqliteStores(parsed(url))
    found = _store(environ, url)
    anyio.run(stores.close)
    assert [text for is_wrong, text in found if is_wrong and text != room[1]] == []
    said = [text for _, text in found]
    assert said[0] == f"{path} exists and is writable; only one process can use it at a time"
    assert said[1] == "the file has version 1"
    assert said[2].startswith("its size is 0.")
    assert said[3:5] == ["quick_check found no damage", "0 peers, 0 sessions, 0 logs of users"]
    assert said[5].endswith("MiB are free on the disk") or "; free at least" in said[5]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no database" * 100, "is damaged"), (b"", "the file has version 0; the next start upgrades it to 1")],
)
def test_files_of_other_kinds(environ: dict[str, str], tmp_path: Path, content: bytes, says: str) -> None:
    """A file that is none is wrong; an empty one is well."""
    path = tmp_path / "peersync.db"
    path.write_bytes(content)
    assert any(says in text for _, text in _store(environ, f"sqlite:///{path}"))
    assert path.read_bytes() == content


def test_redis(environ: dict[str, str], redis: RedisServer) -> None:
    """A Redis that answers is fine, and no password is shown."""
    ((is_wrong, text),) = _store(environ, redis.url)
    assert (is_wrong, text) == (False, f"{redis.url} answers; all nodes with this URL share it")
    ((is_wrong, text),) = _store(environ, redis.url.replace("//", "//ann:secret@"))
    assert is_wrong
    assert "secret" not in text
    assert "is it running, and is the URL right?" in text


def test_redis_that_forgets(environ: dict[str, str], redis: RedisServer) -> None:
    """A Redis that evicts keys when it is full is wrong; one that does not tell may be right."""
    silent = ["ACL", "SETUSER", "silent", "on", ">x", "~*", "&*", "+@all", "-info"]

    async def ask(*command: str) -> None:
        client = Redis.from_url(redis.url)
        await client.execute_command(*command)  # type: ignore[no-untyped-call]
        await client.aclose()

    anyio.run(ask, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        (_, (is_wrong, text)) = _store(environ, redis.url)
        assert (is_wrong, "set maxmemory-policy noeviction, not allkeys-lru" in text) == (True, True)
        anyio.run(ask, *silent)
        assert [is_wrong for is_wrong, _ in _store(environ, redis.url.replace("//", "//silent:x@"))] == [False]
    finally:
        anyio.run(ask, "CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1:1/0", "cannot be reached (Redis: "),
        ("redis+sentinel://127.0.0.1:1/main/0", "cannot be reached (Redis: No master found for 'main': Error 111"),
        ("redis://127.0.0.1:x", "it must be sqlite:///PATH, memory://"),
        ("redis://127.0.0.1:1/0?no_such=1", "'no_such' is not known; its options may be namespace, username, "),
        ("redis://127.0.0.1:1/abc", "the number of its database"),
        ("redis://127.0.0.1:1/0?decode_responses=true", "'decode_responses' is not known; its options may be "),
        ("redis+sentinel://127.0.0.1:x/main", "it must be sqlite:///PATH, memory://"),
    ],
)
def test_no_redis(environ: dict[str, str], url: str, says: str) -> None:
    """A Redis that cannot be reached, and a URL that cannot be understood, are told in one line."""
    ((is_wrong, text),) = _store(environ, url)
    assert is_wrong
    assert says in text
    assert "\n" not in text


def test_dev_tokens_in_public(environ: dict[str, str]) -> None:
    """Development tokens for everybody are wrong in any environment."""
    found = wrong({**environ, "APP_ENV": "production", "DEV_TOKENS": "on"})
    assert "DEV_TOKENS" in found[0].text


def test_keys_of_two_pairs(environ: dict[str, str], tmp_path: Path) -> None:
    """A private key that is not the public one's is found by trying."""
    (finding,) = wrong({**environ, "JWT_PUBLIC_KEY_PATH": str(Keys(tmp_path).public_path)})
    assert "do the two keys belong together?" in finding.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_secrets_for_all(environ: dict[str, str], tmp_path: Path) -> None:
    """A private key that others can read is found, in its file and in .env."""
    keys = Keys(tmp_path)
    keys.private_path.chmod(0o640)
    (finding,) = wrong({**environ, **keys.environment()})
    assert f"chmod 600 {keys.private_path}" in finding.text
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"JWT_PRIVATE_KEY={keys.private_path.read_text()!r}".replace("\n", "\\n"))
    dotenv.chmod(0o644)
    keys.private_path.chmod(0o600)
    (finding,) = wrong({**environ, **keys.environment()}, dotenv)
    assert f"chmod 600 {dotenv}" in finding.text


def test_a_port_in_use(environ: dict[str, str], servers: dict[str, Server]) -> None:
    """A port that something else has is wrong; a server of ours on it is not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (finding,) = wrong({**environ, "PORT": str(other.getsockname()[1])})
        assert (finding.subject, "set PORT" in finding.text) == ("port", True)
    assert wrong({**environ, "PORT": str(servers["peersync"].port)}) == []


def test_too_few_files(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In production too few files for the connections are wrong; in development that is said."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    few = {**environ, "MAX_CONNECTIONS": "5000"}
    (told,) = [finding for finding in examine(few, Path("no such file")) if finding.subject == "files"]
    assert (told.level, "MAX_CONNECTIONS=3196" in told.text) == ("note", True)
    production = {**few, "APP_ENV": "production", "HOST": "127.0.0.1"}
    (finding,) = wrong(production)
    assert "MAX_CONNECTIONS=3196" in finding.text
    assert wrong({**production, "MAX_CONNECTIONS": "3196"}) == []


def test_a_clock_behind(environ: dict[str, str], tmp_path: Path) -> None:
    """A clock before the time at which the key was written is behind."""
    keys = Keys(tmp_path)
    os.utime(keys.public_path, (time.time() + 3600, time.time() + 3600))
    (finding,) = wrong({**environ, **keys.environment()})
    assert (finding.subject, "behind the newest file of the server" in finding.text) == ("clock", True)


class Issuer(BaseHTTPRequestHandler):
    """Tells the time, correctly."""

    def do_GET(self) -> None:
        self.send_response_only(404)
        self.send_header("Date", formatdate(time.time(), usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    """Run an issuer, and return its address."""
    with HTTPServer(("127.0.0.1", 0), Issuer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("ahead", "says"), [(0, "it agrees"), (60, "s ahead of the issuer's"), (-60, "s behind the issuer's")]
)
def test_the_issuers_clock(issuer: str, ahead: float, says: str) -> None:
    """A clock that differs from the issuer's by more than the leeway is wrong."""
    (finding,) = doctor._issuers_clock(issuer, 30, lambda: time.time() + ahead)
    assert finding.is_wrong is (ahead != 0)
    assert says in finding.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/jwks", "file:///etc/passwd"])
def test_no_issuer(url: str) -> None:
    """An issuer that cannot be asked is told of."""
    (finding,) = doctor._issuers_clock(url, 30, time.time)
    assert "JWT_JWKS_URL" in finding.text
