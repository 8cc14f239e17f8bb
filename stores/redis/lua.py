"""The scripts that Redis runs: the `.lua` files of this package, by name."""

from functools import cache
from hashlib import sha1
from importlib.resources import files

from msgspec import Struct


class Script(Struct, frozen=True):
    """A script: its text, and the name by which Redis knows it once it was loaded."""

    text: str
    sha: str


@cache
def read_scripts() -> dict[str, Script]:
    """Return all scripts, by the names of their files without `.lua`."""
    found = (files("stores.redis") / "scripts").iterdir()
    texts = {file.name.removesuffix(".lua"): file.read_text() for file in found if file.name.endswith(".lua")}
    return {name: Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest()) for name, text in texts.items()}
