"""The package can be installed without the server."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients/python"


def project(folder: Path) -> Any:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def imported(path: Path) -> set[str]:
    """Return the packages that a module imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_one_dependency() -> None:
    """What it imports is its own, Python's, or the one package that it asks for."""
    used = set.union(*(imported(path) for path in (PACKAGE / "peersync").glob("*.py")))
    [asked] = project(PACKAGE)["dependencies"]
    assert used - {"peersync"} - sys.stdlib_module_names == {re.split(r"\W", asked)[0]} == {"websockets"}


def test_it_says_what_the_server_says() -> None:
    """Its licence, and the Pythons that it runs on."""
    ours, theirs = project(PACKAGE), project(ROOT)
    assert {name: ours[name] for name in ("license", "requires-python")} == {
        name: theirs[name] for name in ("license", "requires-python")
    }
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (PACKAGE / "peersync/py.typed").is_file()
