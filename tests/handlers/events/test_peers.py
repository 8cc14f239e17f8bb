"""PEER_REGISTER, PEER_STATUS and DISCOVER_PEERS (docs/protocol.md sections 3 and 8)."""

from typing import Any

import pytest

from handlers.domain import disconnects
from handlers.events import peers
from handlers.ports import State
from schemas.capabilities import spoken
from schemas.errors import ErrorCode, EventError
from schemas.peers import (
    DiscoverPeers,
    Metadata,
    PeerEntry,
    PeerRegister,
    PeerRegistered,
    PeersList,
    PeerStatus,
    Profile,
)
from schemas.prices import PEERS_PER_EVENT
from tests.support.doubles import ANN, BOB, CAT, Seat, World

DEFAULT = Profile(display_name="Name ann", role="guest", ide="other")


@pytest.fixture
def world() -> World:
    return World()


def found(seat: Seat, message: DiscoverPeers | None = None) -> list[str]:
    return [entry.id for entry in peers.discover(message or DiscoverPeers(), seat).peers]


@pytest.mark.parametrize(
    ("message", "profile"),
    [
        (PeerRegister(), DEFAULT),
        (PeerRegister(display_name="A", role="host", ide="vim"), Profile(display_name="A", role="host", ide="vim")),
    ],
)
async def test_registration(world: World, message: PeerRegister, profile: Profile) -> None:
    """The answer comes first, then what was kept, then the others are told; what is not given has defaults."""
    seat = await world.enter("ann")
    await peers.register(message, seat)
    peer = world.peer(ANN)
    assert (peer.profile, peer.status, peer.lapses_at, peer.address) == (profile, "online", None, seat.socket.address)
    assert world.delivery.calls == [
        ("answer", PeerRegistered(id="ann", profile=profile, status="online")),
        ("attach", ANN, seat.socket.holder),
        ("announce", peer),
    ]
    assert seat.socket.state is State.REGISTERED


async def test_version_1_calls_roles_and_editors_as_it_likes(world: World) -> None:
    """Any text is kept as it came, and found by those who speak version 1; a session's roles are of the list."""
    ann = await world.join("ann", PeerRegister(role="fullstack", ide="VS Code"))
    bob = await world.join("bob")
    assert world.peer(ANN).profile == Profile(display_name="Name ann", role="fullstack", ide="VS Code")
    assert found(bob, DiscoverPeers(role="fullstack")) == found(bob, DiscoverPeers(ide="VS Code")) == ["ann"]
    assert found(bob, DiscoverPeers(role="Fullstack")) == []
    session = world.directory.session(await world.pair(ann, bob))
    assert session is not None
    assert session.participants == {ANN: "host", BOB: "guest"}


@pytest.mark.parametrize("capabilities", [[], ["sessions"], ["unknown"]])
@pytest.mark.parametrize(("field", "listed"), [("role", "host, guest, observer"), ("ide", "vscode, cursor, jetbrains")])
async def test_version_1_1_is_held_to_the_lists(world: World, capabilities: list[str], field: str, listed: str) -> None:
    """A socket that sent `capabilities` is told what is allowed; it sees what others registered with."""
    await world.join("cat", PeerRegister(role="fullstack", ide="VS Code"))
    seat = await world.enter("ann", capabilities=capabilities)
    wrong: dict[str, Any] = {field: "fullstack"}
    with pytest.raises(EventError, match=f"PEER_REGISTER: {field}: .*; allowed are {listed}") as refused:
        await peers.register(PeerRegister(**wrong), seat)
    assert (refused.value.code, world.directory.peer(ANN)) == (ErrorCode.INVALID_DATA, None)
    await peers.register(PeerRegister(role="host", ide="vim"), seat)
    with pytest.raises(EventError, match=f"DISCOVER_PEERS: {field}: "):
        peers.discover(DiscoverPeers(**wrong), seat)
    assert [entry.profile.role for entry in peers.discover(DiscoverPeers(), seat).peers] == ["fullstack"]


async def test_registering_again(world: World) -> None:
    """A second registration replaces the whole profile, keeps the place in the list, and is told."""
    ann = await world.join("ann", PeerRegister(display_name="A", role="host", ide="vim"))
    bob = await world.join("bob")
    await world.join("cat")
    await peers.register(PeerRegister(ide="emacs"), ann)
    assert world.peer(ANN).profile == Profile(display_name="Name ann", role="guest", ide="emacs")
    assert world.delivery.calls[-1] == ("announce", world.peer(ANN))
    assert found(bob) == ["ann", "cat"]


async def test_metadata_and_visibility(world: World) -> None:
    """Both are kept with the peer, and replaced with its profile."""
    metadata = Metadata(os="linux", capabilities=["chat"])
    seat = await world.join("ann", PeerRegister(metadata=metadata, visibility="hidden"))
    assert (world.peer(ANN).profile.metadata, world.peer(ANN).is_hidden) == (metadata, True)
    await peers.register(PeerRegister(visibility="everyone"), seat)
    assert (world.peer(ANN).profile, world.peer(ANN).is_hidden) == (DEFAULT, False)


async def test_status(world: World) -> None:
    """A new status is told, one that is not new is not."""
    ann = await world.join("ann")
    await peers.set_status(PeerStatus(status="online"), ann)
    assert world.delivery.calls == []
    await peers.set_status(PeerStatus(status="busy"), ann)
    assert world.peer(ANN).status == "busy"
    assert world.delivery.calls == [("announce", world.peer(ANN))]


async def test_registering_again_keeps_the_status(world: World) -> None:
    """Over the same socket as over one that superseded it; whom the others saw go is back as online."""
    ann = await world.join("ann")
    await peers.set_status(PeerStatus(status="away"), ann)
    await peers.register(PeerRegister(), ann)
    assert ann.socket.sent == [PeerRegistered(id="ann", profile=DEFAULT, status="away")]
    again = await world.join("ann")
    assert world.peer(ANN).status == "away"
    await disconnects.drop(again)
    await world.join("ann")
    assert world.peer(ANN).status == "online"


async def test_status_of_a_superseded_socket(world: World) -> None:
    """What still comes over a superseded socket changes nothing."""
    ann = await world.join("ann")
    await world.enter("ann")
    await peers.set_status(PeerStatus(status="busy"), ann)
    assert world.peer(ANN).status == "online"
    assert world.delivery.named("announce") == []


@pytest.mark.parametrize("has_dropped", [True, False])
async def test_return(world: World, *, has_dropped: bool) -> None:
    """Registering after a drop or a superseding ends the grace."""
    old = await world.join("ann")
    if has_dropped:
        await disconnects.drop(old)
    await world.join("ann")
    assert (world.peer(ANN).status, world.peer(ANN).lapses_at) == ("online", None)
    world.clock.advance(1000)
    await disconnects.expire_absences(world.services)
    assert world.directory.peer(ANN) is not None


@pytest.mark.parametrize(
    ("message", "ids"),
    [
        (DiscoverPeers(), ["bob", "cat", "dan"]),
        (DiscoverPeers(role="host"), ["bob", "dan"]),
        (DiscoverPeers(ide="vim"), ["bob", "cat"]),
        (DiscoverPeers(role="host", ide="vim"), ["bob"]),
        (DiscoverPeers(role="observer"), []),
        (DiscoverPeers(lan_only=True), ["cat"]),
        (DiscoverPeers(lan_only=False), ["bob", "cat", "dan"]),
    ],
)
async def test_discovery(world: World, message: DiscoverPeers, ids: list[str]) -> None:
    """Each filter given must match; the list is in the order of registration and without the asker."""
    ann = await world.join("ann", PeerRegister(role="host", ide="vim"))
    await world.join("bob", PeerRegister(role="host", ide="vim"), b"elsewhere")
    await world.join("cat", PeerRegister(role="guest", ide="vim"))
    await world.join("dan", PeerRegister(role="host", ide="emacs"), b"elsewhere")
    assert found(ann, message) == ids


async def test_entries(world: World) -> None:
    """An entry has the peer's profile and status and the asker's relation to it; delivery is told what was shown."""
    ann = await world.join("ann")
    profile = Profile(display_name="Name bob", role="guest", ide="other")
    await world.join("bob")
    await world.join("cat", address=b"elsewhere")
    entries = peers.discover(DiscoverPeers(), ann).peers
    assert entries[0] == PeerEntry(id="bob", profile=profile, status="online", connection_mode="LAN")
    assert [entry.connection_mode for entry in entries] == ["LAN", "REMOTE"]
    assert world.delivery.calls == [("listed", ANN, [BOB, CAT])]


async def test_the_absent_are_not_listed(world: World) -> None:
    """Who dropped, left, was superseded or never registered is not found."""
    ann = await world.join("ann")
    await disconnects.drop(await world.join("bob"))
    await disconnects.leave(await world.join("cat"))
    await world.join("dan")
    await world.enter("dan")
    await world.enter("eve")
    assert found(ann) == []


async def test_the_wall(world: World) -> None:
    """Peers of different orgs do not find each other; no org is one too."""
    seats = {token: await world.join(token) for token in ("ann", "bob", "ann@acme", "cat@acme", "dan@other")}
    assert {token: found(seat) for token, seat in seats.items()} == {
        "ann": ["bob"],
        "bob": ["ann"],
        "ann@acme": ["cat"],
        "cat@acme": ["ann"],
        "dan@other": [],
    }


async def test_hidden_peers(world: World) -> None:
    """Who hides is not found, and finds the others."""
    ann = await world.join("ann", PeerRegister(visibility="hidden"))
    bob = await world.join("bob")
    assert (found(ann), found(bob)) == (["bob"], [])


async def test_discovery_by_status_and_name(world: World) -> None:
    """A query is a part of the display name, in any case; all of its characters stand for themselves."""
    ann = await world.join("ann", PeerRegister(display_name="Zoë"))
    bob = await world.join("bob", PeerRegister(display_name="Bob.*"))
    await world.join("cat", PeerRegister(display_name="ÉMILE"))
    await peers.set_status(PeerStatus(status="away"), bob)
    assert found(ann, DiscoverPeers(status="away")) == found(ann, DiscoverPeers(query="B.*")) == ["bob"]
    assert found(ann, DiscoverPeers(query="émi")) == found(ann, DiscoverPeers(status="online")) == ["cat"]
    assert found(ann, DiscoverPeers(query="")) == ["bob", "cat"]
    assert found(ann, DiscoverPeers(query="zo")) == found(ann, DiscoverPeers(query="b", status="busy")) == []


async def test_paging(world: World) -> None:
    """A cursor leads to the next page while there is more; a page of those who match, never of the asker."""
    seats = [await world.join(token, PeerRegister(ide="vim")) for token in ("ann", "bob", "cat", "dan", "eve")]
    first = peers.discover(DiscoverPeers(limit=2, ide="vim"), seats[1])
    assert ([entry.id for entry in first.peers], first.next_cursor is None) == (["ann", "cat"], False)
    second = peers.discover(DiscoverPeers(limit=2, cursor=first.next_cursor), seats[1])
    assert ([entry.id for entry in second.peers], second.next_cursor) == (["dan", "eve"], None)
    assert peers.discover(DiscoverPeers(cursor="fffff"), seats[1]) == PeersList(peers=[])
    assert world.delivery.calls[-1] == ("listed", BOB, [])


async def test_a_cursor_tells_nothing_of_other_orgs() -> None:
    """It is the same whatever goes on behind the wall."""
    cursors = set()
    for others in (0, 7):
        world = World()
        seats = [await world.join(token) for token in ("ann", "bob")]
        for number in range(others):
            await world.join(f"far {number}@acme")
        await world.join("cat")
        cursors.add(peers.discover(DiscoverPeers(limit=1), seats[0]).next_cursor)
        await world.join("dan")
        cursors.add(peers.discover(DiscoverPeers(limit=2), seats[0]).next_cursor)
    assert len(cursors) == 2


@pytest.mark.parametrize(("cursor", "found"), [("0", ["bob", "cat"]), ("2", ["cat"]), ("f" * 15, [])])
async def test_a_cursor_made_by_hand(world: World, cursor: str, found: list[str]) -> None:
    """It leads to some page of one's own org, or to none."""
    seats = [await world.join(token) for token in ("ann", "bob", "far@acme", "cat")]
    page = peers.discover(DiscoverPeers(cursor=cursor), seats[0])
    assert ([entry.id for entry in page.peers], page.next_cursor) == (found, None)


async def test_no_cursor_unasked() -> None:
    """Who asks for no page gets no cursor, which version 1 does not know; a limit beyond a page is a page."""
    world = World(directory_page=2)
    seats = [await world.join(token) for token in ("ann", "bob", "cat", "dan")]
    assert peers.discover(DiscoverPeers(), seats[0]).next_cursor is None
    page = peers.discover(DiscoverPeers(limit=100), seats[0])
    assert (len(page.peers), page.next_cursor is None) == (2, False)


async def test_a_page() -> None:
    """A list holds no more than a page, counting only who matches."""
    world = World(directory_page=2)
    seats = [await world.join(token, PeerRegister(ide="vim")) for token in ("ann", "bob", "cat", "dan")]
    assert found(seats[0]) == ["bob", "cat"]
    assert found(seats[3], DiscoverPeers(ide="vim")) == ["ann", "bob"]
    assert world.peer(BOB).status == "online"


async def test_a_list_has_its_price() -> None:
    """A list costs more the more peers are searched for it, and stand in it; a page costs less."""
    world = World()
    for number in range(PEERS_PER_EVENT * 4 - 1):
        await world.join(f"peer-{number}")
    ann = await world.join("ann")
    found(ann)
    assert ann.socket.charged == 4
    found(ann, DiscoverPeers(limit=PEERS_PER_EVENT))
    assert ann.socket.charged == 5


async def test_a_list_with_much_metadata_is_cut() -> None:
    """Who sees metadata gets no more of it at once than a message may have, and a cursor to go on from."""
    world = World(message_bytes=10_000)
    metadata = Metadata(public_key="x" * 3000)
    for number in range(8):
        await world.join(f"peer-{number}", PeerRegister(metadata=metadata))
    ann, old = await world.join("ann"), await world.join("old")
    ann.socket.spoken = spoken([])
    answer = peers.discover(DiscoverPeers(), ann)
    assert [entry.id for entry in answer.peers] == ["peer-0", "peer-1", "peer-2"]
    seen = [entry.id for entry in answer.peers]
    while answer.next_cursor is not None:
        answer = peers.discover(DiscoverPeers(cursor=answer.next_cursor), ann)
        seen += [entry.id for entry in answer.peers]
    assert seen == [*(f"peer-{number}" for number in range(8)), "old"]
    assert peers.discover(DiscoverPeers(), old).next_cursor is None
