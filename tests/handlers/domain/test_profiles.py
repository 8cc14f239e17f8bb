"""Bounds on what a peer may show of itself (docs/protocol.md section 8, "Presence and discovery")."""

import pytest

from handlers.domain.profiles import check_metadata
from handlers.events import peers
from schemas.errors import ErrorCode
from schemas.fields import KEY_MAX, METADATA_MAX
from schemas.peers import Metadata, PeerRegister
from tests.support.doubles import ANN, World, refused

PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
EMPTY_LIST_BYTES = len('{"capabilities":[]}')
LABEL_BYTES = len('"",')


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        Metadata(),
        Metadata(os="Linux", timezone="Europe/Zürich", public_key=PEM, capabilities=["a", "ü"]),
        Metadata(public_key="x" * KEY_MAX, capabilities=["x" * 256] * 7),
        Metadata(capabilities=["x" * (METADATA_MAX - EMPTY_LIST_BYTES - LABEL_BYTES + 1)]),
    ],
)
def test_metadata_that_fits(metadata: Metadata | None) -> None:
    """2 KiB of all together as encoded, and 4 KiB of a key besides, in PEM, are fine."""
    check_metadata(metadata)


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        (Metadata(capabilities=["x" * 256] * 8), "metadata"),
        (Metadata(capabilities=["\u00fc" * 256] * 4), "metadata"),
        (Metadata(capabilities=['"' * 256] * 4), "metadata"),
        (Metadata(public_key="\u00fc" * (KEY_MAX // 2 + 1)), "metadata.publicKey"),
        (Metadata(public_key="\n" * (KEY_MAX // 2 + 1)), "metadata.publicKey"),
        (Metadata(os="a\x1b[2Jb"), "metadata"),
        (Metadata(capabilities=["\x9b"]), "metadata"),
        (Metadata(timezone="\n"), "metadata"),
        (Metadata(public_key="\0"), "metadata"),
    ],
)
def test_metadata_that_does_not(metadata: Metadata, field: str) -> None:
    """Beyond that, or with control characters, it is refused, and the message names the field."""
    with refused(ErrorCode.INVALID_DATA) as info:
        check_metadata(metadata)
    assert info.value.message.startswith(f"PEER_REGISTER: {field}: ")


async def test_registration_is_held_to_it() -> None:
    """A peer that asks for more is not registered."""
    world = World()
    ann = await world.enter("ann")
    with refused(ErrorCode.INVALID_DATA):
        await peers.register(PeerRegister(metadata=Metadata(os="\x1b")), ann)
    assert world.stores.directory.peer(ANN) is None
