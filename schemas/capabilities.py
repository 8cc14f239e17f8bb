"""What a socket speaks beyond version 1 (docs/protocol.md section 8)."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, get_args

Capability = Literal["resume", "acks", "sessions", "notices", "trace"]
Spoken = frozenset[str]
"""The capabilities of a socket, and `VERSION_1_1` if it named any list of them, even an empty one."""

VERSION_1_1 = "1.1"
VERSION_1: Spoken = frozenset()
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


def spoken(asked: Iterable[str] | None, offered: Iterable[str] = CAPABILITIES) -> Spoken:
    """Return what a socket speaks that asked for these; None means that it knows of no capabilities.

    Sockets that speak the same share one set, which is then found at a glance wherever it is a key.
    """
    return VERSION_1 if asked is None else _shared(frozenset({VERSION_1_1, *(set(offered) & set(asked))}))


@lru_cache(maxsize=1024)
def _shared(capabilities: Spoken) -> Spoken:
    return capabilities
