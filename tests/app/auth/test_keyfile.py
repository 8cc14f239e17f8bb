"""The key file while it changes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from app.auth.keyfile import KeyFile
from app.auth.keyring import KeyRing
from app.auth.keys import public_keys
from app.ops.logs import make_logger
from app.settings import Settings
from tests.support.tokens import Keys


class Watched:
    """A key file, the keys taken from it, and what is logged of it."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.settings = Settings(jwt_public_key_path=path, log_format="json", **settings)
        self._log = io.StringIO()
        self.file = KeyFile(self.settings, public_keys(self.settings), make_logger(self.settings, self._log))
        self.ring = KeyRing(self.file)

    async def changed_to(self, content: str | None) -> None:
        """Write the file anew, or delete it, and have it reloaded."""
        if content is None:
            self.path.unlink()
        else:
            self.path.write_text(content)
        await self.file.refresh()

    @property
    def kids(self) -> list[str]:
        return [key.thumbprint() for key in self.file.keys]

    def lines(self) -> list[dict[str, Any]]:
        """Return what was logged since the last time."""
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        self._log.truncate(0)
        self._log.seek(0)
        return lines


@pytest.fixture(scope="module")
def pems(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two public keys."""
    other = Keys(tmp_path_factory.mktemp("other"))
    return [keys.public_path.read_text(), other.public_path.read_text()]


@pytest.fixture
def watched(tmp_path: Path, pems: list[str]) -> Watched:
    (tmp_path / "public.pem").write_text(pems[0])
    return Watched(tmp_path / "public.pem")


async def test_rotation(watched: Watched, pems: list[str]) -> None:
    """A key that is added counts, one that is taken away counts no more, and each change is logged once."""
    (first,) = watched.kids
    await watched.changed_to(pems[1] + pems[0])
    second, old = watched.kids
    assert old == first
    await watched.file.refresh()
    await watched.changed_to(pems[1])
    assert watched.kids == [second]
    before_after = [(line["before"], line["after"]) for line in watched.lines()]
    assert before_after == [([first], [second, first]), ([second, first], [second])]


@pytest.mark.parametrize("bad", ["", "-----BEGIN PUBLIC KEY-----\nMIIB", "junk", None])
async def test_a_bad_new_file(bad: str | None, watched: Watched, pems: list[str]) -> None:
    """While the file cannot be used the last good keys stay; one line says what to do; a good file is taken again."""
    kids = watched.kids
    await watched.changed_to(bad)
    await watched.file.refresh()
    assert watched.kids == kids
    (line,) = watched.lines()
    assert line["level"] == "error"
    assert str(watched.path) in line["reason"]
    assert "rename" in line["advice"]
    await watched.changed_to(pems[1])
    assert watched.kids not in ([], kids)


async def test_a_file_that_comes_later(tmp_path: Path, pems: list[str]) -> None:
    """With JWT_JWKS_URL no file is needed, nor complained of; one that comes later counts."""
    watched = Watched(tmp_path / "public.pem", jwt_jwks_url="https://id.example.com/jwks")
    await watched.file.refresh()
    assert (watched.kids, watched.lines()) == ([], [])
    await watched.changed_to(pems[0])
    assert len(watched.kids) == 1


async def test_a_key_in_the_settings(tmp_path: Path, pems: list[str]) -> None:
    """A key that stands in the settings does not change, whatever the file holds."""
    watched = Watched(tmp_path / "none.pem", jwt_public_key=pems[0])
    await watched.file.run()
    assert (len(watched.kids), watched.lines()) == (1, [])


async def test_which_key(watched: Watched, pems: list[str]) -> None:
    """A token's kid names its key; without one, or with one that is of no key here, every key in PEM may be it."""
    await watched.changed_to(pems[0] + pems[1])
    for kid, key in zip(watched.kids, watched.file.keys, strict=True):
        assert await watched.ring.candidates(kid) == [key]
    unknown: list[str | None] = [None, "", "junk", watched.kids[0] + "x"]
    for other in unknown:
        assert list(await watched.ring.candidates(other)) == list(watched.file.keys)
