"""A checkout works whatever git is configured to do with line endings."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "bin").iterdir() if path.is_file())
WINDOWS = {"core.autocrlf": "true", "core.eol": "crlf", "core.safecrlf": "false"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commit the commands and some other files, and check them out as git does on Windows by default."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / ".gitattributes", folder)
    shutil.copytree(ROOT / "bin", folder / "bin", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\n")
    (folder / "page.md").write_bytes(b"one\r\ntwo\r\n")
    _git(folder, "init", "-q")
    _git(folder, "add", ".")
    for path in [*(folder / "bin").iterdir(), folder / "picture.png", folder / "page.md"]:
        path.unlink()
    _git(folder, "checkout-index", "--all", "--force")
    return folder


def _git(folder: Path, *words: str) -> None:
    options = [word for name, value in WINDOWS.items() for word in ("-c", f"{name}={value}")]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *options, *words], cwd=folder, env=alone, capture_output=True, check=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_commands_have_unix_lines(name: str, checkout: Path) -> None:
    """The commands are what a shell can run."""
    assert (checkout / "bin" / name).read_bytes() == (ROOT / "bin" / name).read_bytes()
    assert b"\r" not in (checkout / "bin" / name).read_bytes()


def test_pictures_are_left_alone(checkout: Path) -> None:
    """Text becomes text of Unix, pictures stay as they are."""
    assert (checkout / "picture.png").read_bytes() == b"\x89PNG\r\n\n"
    assert (checkout / "page.md").read_bytes() == b"one\ntwo\n"
