"""What a socket speaks beyond version 1 (docs/protocol.md section 8)."""

from collections.abc import Iterable
from typing import Literal, get_args

Capability = Literal["resume", "acks", "sessions", "notices", "trace"]
Spoken = frozenset[str]
"""The capabilities of a socket, and `VERSION_1_1` if it named any list of them, even an empty one."""

VERSION_1_1 = "1.1"
VERSION_1: Spoken = frozenset()
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


def spoken(asked: Iterable[str] | None, offered: Iterable[str] = CAPABILITIES) -> Spoken:
    """Return what a socket speaks that asked for these; None means that it knows of no capabilities."""
    return VERSION_1 if asked is None else frozenset({VERSION_1_1, *(set(offered) & set(asked))})
