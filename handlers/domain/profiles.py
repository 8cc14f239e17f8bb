"""What a peer may show of itself: bounds on its metadata (docs/protocol.md section 8, "Presence and discovery")."""

import re

import msgspec
from msgspec.structs import replace
from schemas.errors import ErrorCode, EventError
from schemas.fields import KEY_MAX, METADATA_MAX
from schemas.peers import Metadata

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_KEY_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # PEM has lines


def check_metadata(metadata: Metadata | None) -> None:
    """Raise `EventError` `ERR_9003` for metadata that is too large as encoded, or has control characters.

    It goes out to everybody with each change of its peer, and is shown to people.
    """
    if metadata is None:
        return
    key, rest = metadata.public_key or "", replace(metadata, public_key=None)
    _check_size("metadata", "without publicKey ", size_of(rest), METADATA_MAX)
    _check_size("metadata.publicKey", "", len(msgspec.json.encode(key)) - 2, KEY_MAX)
    texts = [rest.ide_version, rest.extension_version, rest.os, rest.timezone, *(rest.capabilities or ())]
    if any(text and _CONTROLS.search(text) for text in texts) or _KEY_CONTROLS.search(key):
        raise _unfit("metadata", "must not have control characters")


def size_of(metadata: Metadata) -> int:
    """Return how many bytes metadata has as encoded."""
    return len(msgspec.json.encode(metadata))


def _check_size(field: str, what: str, size: int, most: int) -> None:
    if size > most:
        raise _unfit(field, f"{what}has {size} bytes as encoded; it must have {most} at most")


def _unfit(field: str, why: str) -> EventError:
    return EventError(ErrorCode.INVALID_DATA, f"PEER_REGISTER: {field}: it {why}")
