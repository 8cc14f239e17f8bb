"""Keys that change under a running process, as Kubernetes changes the files of a secret."""

from pathlib import Path

import httpx2
import pytest

from tests.support.client import client, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys


class Secret:
    """A folder with a key file as a secret is mounted: two symbolic links, of which one is swapped at a change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "public.pem"
        self._count = 0

    def put(self, *pems: str) -> None:
        """Put other content behind the file's name, in one step."""
        self._count += 1
        version = self.folder / f"..version{self._count}"
        version.mkdir(parents=True)
        (version / "public.pem").write_text("".join(pems))
        (self.folder / "..data_tmp").symlink_to(version.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        if not self.path.is_symlink():
            self.path.symlink_to("..data/public.pem")


@pytest.fixture
def other(tmp_path: Path) -> Keys:
    """Another key pair."""
    return Keys(tmp_path / "other")


async def test_rotation(keys: Keys, other: Keys, tmp_path: Path) -> None:
    """A new key comes beside the old one, then alone; nobody is cut, and tokens of the old one are then refused."""
    secret = Secret(tmp_path / "secret")
    old, new = keys.public_path.read_text(), other.public_path.read_text()
    secret.put(old)
    with serving(keys, tmp_path, jwt_public_key_path=secret.path, log_level="info") as server:
        async with client(server) as ann:
            await ann.join("ann")
            assert (_status(server, keys), _status(server, other)) == (200, 401)
            secret.put(new, old)
            await until(lambda: _kids(server) == [other.key.thumbprint(), keys.key.thumbprint()])
            assert (_status(server, keys), _status(server, other)) == (200, 200)
            secret.put(new)
            await until(lambda: _kids(server) == [other.key.thumbprint()])
            assert (_status(server, keys), _status(server, other)) == (401, 200)
            await ann.expect_quiet()
    assert server.log.read_text().count("public keys changed") == 2


async def test_a_bad_file(keys: Keys, other: Keys, tmp_path: Path) -> None:
    """A file that is no key leaves the old ones in use, and the log says what to do; mended, it is taken."""
    secret = Secret(tmp_path / "secret")
    secret.put(keys.public_path.read_text())
    with serving(keys, tmp_path, jwt_public_key_path=secret.path) as server:
        secret.put("-----BEGIN PUBLIC KEY-----\nhalf of it")
        await until(lambda: "public keys not loaded" in server.log.read_text())
        assert "advice" in server.log.read_text()
        assert (_status(server, keys), _status(server, other)) == (200, 401)
        secret.put(other.public_path.read_text())
        await until(lambda: _status(server, other) == 200)


def _kids(server: Server) -> list[str]:
    return [key["kid"] for key in server.get("/.well-known/jwks.json").json()["keys"]]


def _status(server: Server, keys: Keys) -> int:
    headers = {"Authorization": f"Bearer {keys.token('bob')}"}
    return httpx2.get(f"{server.http}/api/v1/auth/verify", headers=headers).status_code
