"""What an event costs: one struct, one function, one test. `bin/schema` writes all the rest."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STRUCT = '''\
"""Waving."""

from typing import Annotated, ClassVar

from schemas.events import ClientEvent, ServerEvent
from schemas.examples import Example
from schemas.fields import Id, Label
from schemas.variants import Needs


class PeerWave(ClientEvent, frozen=True):
    """Waves at another peer."""

    example: ClassVar[Example] = {"targetId": "bob", "greeting": "hi"}
    target_id: Id
    greeting: Label | None = None


class PeerWaved(ServerEvent, frozen=True):
    """Another peer waves."""

    event: ClassVar[str] = "PEER_WAVED"
    example: ClassVar[Example] = {"id": "ann"}
    id: str
    greeting: Annotated[str | None, Needs("notices")] = None
'''
IMPORTS = """\
from schemas.waves import PeerWave, PeerWaved
from stores.model import User as _User
"""
FUNCTION = '''

@table.on("PEER_WAVE")
def wave(message: PeerWave, ctx: Context) -> None:
    """Tell the other one."""
    waved = PeerWaved(id=ctx.user.id, greeting=message.greeting)
    ctx.delivery.send((_User(message.target_id, ctx.user.org),), waved)
'''
TEST = '''\
"""PEER_WAVE."""

from handlers.events import peers
from schemas.capabilities import VERSION_1
from schemas.waves import PeerWave, PeerWaved
from tests.support.doubles import BOB, World


async def test_wave() -> None:
    """The other one is told, and greeted if it takes notices."""
    world = World()
    ann, _ = await world.join("ann"), await world.join("bob")
    peers.wave(PeerWave(target_id="bob", greeting="hi"), ann)
    assert world.delivery.to(BOB) == [PeerWaved(id="ann")]
    assert PeerWaved(id="ann", greeting="hi").variant(VERSION_1) == PeerWaved(id="ann")
'''
BY_HAND = {"handlers/events/peers.py", "schemas/waves.py", "tests/handlers/events/test_waves.py"}
WRITTEN = {
    "clients/python/peersync/events.py",
    "clients/typescript/src/events.ts",
    "docs/contract/asyncapi.json",
    "docs/contract/events.md",
    "docs/contract/schemas/PEER_WAVE.json",
    "docs/contract/schemas/PEER_WAVED.json",
}
CHECKS = (
    "tests/handlers/events/test_waves.py",
    "tests/schemas",
    "tests/app/contract/test_documents.py::test_committed_copies",
    "tests/app/contract/test_events.py",
    "tests/app/contract/test_python.py::test_committed_copy",
    "tests/app/contract/test_typescript.py::test_committed_copy",
    "tests/app/wire/test_codec.py::test_null_reads_as_absent",
)
"""The new event's own test, those that hold what `bin/schema` wrote, and some that go through all events."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy what git knows of, as it is now."""
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, env=_alone(), capture_output=True, text=True, check=True)
    for name in filter(None, told.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_three_files(copy: Path) -> None:
    """An event is added by three files; what `bin/schema` changes beyond them is all that changes, and all is well."""
    before = _files(copy)
    (copy / "schemas/waves.py").write_text(STRUCT)
    handlers = copy / "handlers/events/peers.py"
    head, marker, rest = handlers.read_text().partition("from handlers.context import Context\n")
    handlers.write_text(head + IMPORTS + marker + rest + FUNCTION)
    (copy / "tests/handlers/events/test_waves.py").write_text(TEST)
    assert _changed(copy, before) == BY_HAND
    _run(copy, "bin/schema")
    assert _changed(copy, before) == BY_HAND | WRITTEN
    _run(copy, sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *CHECKS)


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _changed(folder: Path, before: dict[str, bytes]) -> set[str]:
    after = _files(folder)
    return {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}


def _run(folder: Path, *command: str) -> None:
    environment = {**_alone(), "VENV": sys.prefix, "REQUIREMENTS": "test"}
    done = subprocess.run(
        [folder / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _alone() -> dict[str, str]:
    """Return an environment in which nothing points back to this tree."""
    ours = ("GIT_", "PYTEST_", "COV_", "COVERAGE_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
