"""Presence and the hub: who is told what, and when (docs/protocol.md section 3, "Presence that scales")."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from app.delivery.hub import Hub
from app.delivery.outbox import Outbox, WriteScheduler
from app.delivery.presence import MOST_WATCHED, Presence
from app.delivery.resumption import Resumption
from app.wire.codec import encode, with_ref
from handlers.domain import disconnects, membership
from handlers.events import connections, messages, peers
from schemas.connections import ConnectionRequest
from schemas.errors import CloseCode
from schemas.events import ServerEvent
from schemas.messages import SendMessage
from schemas.peers import DiscoverPeers, PeerRegister, PeerStatus
from schemas.sessions import SessionEnded
from stores.log import Bounds
from stores.memory.stores import MemoryStores
from stores.model import Revocation, Session, User
from tests.support.doubles import ANN, BOB, HERE, CountingIds, RecordingSocket, RecordingTransport, Seat, Turns, World

AWAY = b"elsewhere"


class HubSocket(RecordingSocket):
    """A socket that the hub delivers to."""

    outbox: Outbox
    transport: RecordingTransport

    def send(self, event: ServerEvent, ref: Raw | None = None) -> None:
        self.outbox.put(encode(event) if ref is None else with_ref(encode(event), ref))

    def clear(self) -> None:
        self.outbox.flush()
        self.transport.writes.clear()

    def supersede(self) -> None:
        self.closed = CloseCode.SUPERSEDED
        self.outbox.close()

    def revoke(self, revocation: Revocation) -> User | None:
        return None


class Town:
    """Handlers, hub and presence at work; turns and windows end when told."""

    def __init__(self, everyone: int = 500) -> None:
        stores = MemoryStores(Bounds(10, 10_000, 10_000))
        self.turns = Turns()
        self.write_scheduler = WriteScheduler(self.turns.call_soon, self.turns.call_later, 1 << 30)
        self.time = 1000.0
        self.presence = Presence(stores.directory, everyone, lambda: self.time, resume_grace=120)
        self.sockets: dict[int, HubSocket] = {}
        resumption = Resumption(stores.log, self.presence, CountingIds())
        self.hub = Hub(
            self.sockets,
            stores.log,
            self.presence,
            stores.directory,
            resumption,
            on_overflow=lambda _: None,
            node="node",
        )
        self.world = World(self.hub, stores, self._socket)

    def _socket(self, number: int, address: bytes, calls: list[tuple[object, ...]]) -> HubSocket:
        socket = self.sockets[number] = HubSocket(number, address, calls)
        socket.transport = RecordingTransport()
        socket.outbox = Outbox(socket.transport, self.write_scheduler, 1 << 30, lambda: None)
        return socket

    async def join(self, *names: str, address: bytes = HERE) -> list[Seat]:
        """Register peers, and let it be known."""
        seats = [await self.world.join(name, PeerRegister(ide="vim"), address) for name in names]
        await self.settle()
        for socket in self.sockets.values():
            socket.transport.writes.clear()
        return seats

    async def end(self, seat: Seat, how: Callable[[Seat], Awaitable[None]] = disconnects.leave) -> None:
        """Have a socket end, as a connection does it."""
        socket = self.socket(seat)
        socket.outbox.close()
        del self.sockets[seat.socket.holder.socket]
        self.hub.lost(seat.user, socket)
        await how(seat)

    async def settle(self, seconds: float = 10) -> None:
        """End the window, and the turn, so long after the last one."""
        self.time += seconds
        await self.presence.flush()
        self.turns.end()

    def socket(self, seat: Seat) -> HubSocket:
        assert isinstance(seat.socket, HubSocket)
        return seat.socket

    def frames(self, seat: Seat) -> list[tuple[str, Any]]:
        """Return what was written to a socket since this was last asked, as event and data."""
        self.turns.end()
        writes = self.socket(seat).transport.writes
        frames = [json.loads(payload) for write in writes for payload in write]
        writes.clear()
        return [(frame["event"], frame["data"]) for frame in frames]

    def heard(self, seat: Seat) -> list[tuple[str, str]]:
        """Return the names of events, or of presence updates peer and status."""
        return [
            (data["id"], data["status"]) if event == "PEER_STATUS_UPDATE" else (event, "")
            for event, data in self.frames(seat)
        ]


@pytest.fixture
def town() -> Town:
    return Town()


async def register(seat: Seat, **profile: Any) -> None:
    await peers.register(PeerRegister(**{"ide": "vim", **profile}), seat)


async def test_everybody_is_told(town: Town) -> None:
    """A registration is told to every other registered peer of the org, once, when the window ends."""
    ann, bob = await town.join("ann", "bob")
    (spy,) = await town.join("spy@acme")
    cat = await town.world.enter("cat")
    await register(cat)
    assert town.heard(ann) == []
    await town.settle()
    await town.settle()
    assert town.heard(ann) == town.heard(bob) == [("cat", "online")]
    assert town.heard(cat) == [("PEER_REGISTERED", "")]
    assert town.heard(spy) == []


async def test_an_update(town: Town) -> None:
    """An update has the profile, the status and each receiver's own relation to the peer."""
    ann, bob = [*await town.join("ann"), *await town.join("bob", address=AWAY)]
    await register(await town.world.enter("cat", AWAY), display_name="Cat")
    await town.settle()
    cat = {"id": "cat", "profile": {"displayName": "Cat", "role": "guest", "ide": "vim"}, "status": "online"}
    assert town.frames(ann) == [("PEER_STATUS_UPDATE", {**cat, "connectionMode": "REMOTE"})]
    assert town.frames(bob) == [("PEER_STATUS_UPDATE", {**cat, "connectionMode": "LAN"})]


@pytest.mark.parametrize("way", [disconnects.leave, disconnects.drop])
async def test_offline(town: Town, way: Callable[[Seat], Awaitable[None]]) -> None:
    """Who goes is told as offline."""
    ann, bob = await town.join("ann", "bob")
    await town.end(bob, way)
    await town.settle()
    assert town.heard(ann) == [("bob", "offline")]


async def test_the_latest_wins(town: Town) -> None:
    """Of several changes in one window the last is told."""
    ann, bob = await town.join("ann", "bob")
    await register(bob, display_name="B1")
    await register(bob, display_name="B2")
    await town.settle()
    assert [data["profile"]["displayName"] for _, data in town.frames(ann)] == ["B2"]


async def test_a_peer_that_keeps_changing(town: Town) -> None:
    """What a peer changes about itself goes out four times a second at most, the latest winning; nobody else waits."""
    ann, bob, cid = await town.join("ann", "bob", "cid")
    heard = []
    await town.settle()
    for step in range(40):  # two seconds
        await register(bob, display_name=f"B{step}")
        await town.settle(0.05)
        heard += [data["profile"]["displayName"] for _, data in town.frames(ann)]
    assert len(heard) in {7, 8}
    assert heard[0] == "B0"
    await register(cid)
    await town.settle(0)
    assert town.heard(ann) == [("cid", "online")]
    await town.settle(0.25)
    assert [data["profile"]["displayName"] for _, data in town.frames(ann)] == ["B39"]


async def test_a_large_profile_is_told_less_often(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more bytes it takes to tell everybody, the longer a peer waits until its next change goes out."""
    monkeypatch.setattr("app.delivery.presence.BROADCAST_BYTES_PER_SECOND", 1000)
    ann, bob, _ = await town.join("ann", "bob", "cid")
    await register(bob, display_name="B" * 128)
    await town.settle()
    ((_, data),) = town.frames(ann)
    update = json.dumps({"event": "PEER_STATUS_UPDATE", "data": data}, separators=(",", ":"))
    seconds = 2 * len(update) / 1000  # two peers are told
    await register(bob)
    await town.settle(seconds - 0.01)
    assert town.heard(ann) == []
    await town.settle(0.02)
    assert town.heard(ann) == [("bob", "online")]


async def test_leaving_is_told_at_once(town: Town) -> None:
    """A peer that has changed a moment before is still told as gone at once."""
    ann, bob = await town.join("ann", "bob")
    await register(bob, display_name="B1")
    await town.settle()
    await register(bob, display_name="B2")
    await town.end(bob)
    await town.settle(0)
    assert town.heard(ann) == [("bob", "online"), ("bob", "offline")]


async def test_hiding_is_told_at_once(town: Town) -> None:
    """A peer that hides a moment after a change is told as offline at once; that it shows itself again waits."""
    ann, bob = await town.join("ann", "bob")
    await register(bob, display_name="B1")
    await town.settle()
    await register(bob, visibility="hidden")
    await town.settle(0)
    assert town.heard(ann) == [("bob", "online"), ("bob", "offline")]
    await register(bob)
    await town.settle(0)
    assert town.heard(ann) == []
    await town.settle()
    assert town.heard(ann) == [("bob", "online")]


async def test_an_event_brings_what_was_put_off(town: Town) -> None:
    """Whoever gets an event that names a peer is told first of the change that others have to wait for."""
    ann, bob = await town.join("ann", "bob")
    await register(bob, display_name="B1")
    await town.settle()
    await register(bob, display_name="B2")
    await town.settle(0)
    assert town.heard(ann) == [("bob", "online")]
    await connections.request(ConnectionRequest("ann"), bob)
    assert town.heard(ann) == [("bob", "online"), ("CONNECTION_REQUEST_RECEIVED", "")]


async def test_coming_and_going(town: Town) -> None:
    """Who comes and goes within a window is not told of, even if it was there before."""
    ann, bob = await town.join("ann", "bob")
    await town.end(bob)
    await town.settle()
    assert town.heard(ann) == [("bob", "offline")]
    await town.end(await town.world.join("bob"))
    await town.settle()
    assert town.heard(ann) == []


async def test_going_and_coming(town: Town) -> None:
    """Who goes and comes back as it was within a window is not told of; the next change is."""
    ann, bob = await town.join("ann", "bob")
    await town.end(bob, disconnects.drop)
    again = await town.world.join("bob", PeerRegister(ide="vim"))
    await town.settle()
    assert town.heard(ann) == []
    await town.end(again)
    await town.settle()
    assert town.heard(ann) == [("bob", "offline")]


async def test_going_and_coming_changed(town: Town) -> None:
    """Who comes back with another profile is told of."""
    ann, bob = await town.join("ann", "bob")
    await town.end(bob)
    await town.world.join("bob", PeerRegister(ide="emacs"))
    await town.settle()
    assert town.heard(ann) == [("bob", "online")]


async def test_going_and_coming_from_elsewhere(town: Town) -> None:
    """Who comes back over another network is told of, since the receiver's relation to it is another."""
    ann, bob = await town.join("ann", "bob")
    await town.end(bob, disconnects.drop)
    await town.world.join("bob", PeerRegister(ide="vim"), AWAY)
    await town.settle()
    assert [data["connectionMode"] for _, data in town.frames(ann)] == ["REMOTE"]


async def test_a_status(town: Town) -> None:
    """A new status is told, also if a drop made it so and the peer was back within the window."""
    ann, bob = await town.join("ann", "bob")
    await peers.set_status(PeerStatus(status="busy"), bob)
    await town.settle()
    assert town.heard(ann) == [("bob", "busy")]
    await town.end(bob, disconnects.drop)
    await register(await town.world.enter("bob"))
    await town.settle()
    assert town.heard(ann) == [("bob", "online")]


async def test_a_peer_that_was_never_seen(town: Town) -> None:
    """Nobody is told of a peer that hides, whatever it does; it is told of the others."""
    (ann,) = await town.join("ann")
    bob = await town.world.join("bob", PeerRegister(visibility="hidden"))
    await town.settle()
    await register(bob, display_name="B", visibility="hidden")
    cat = await town.world.join("cat")
    await peers.set_status(PeerStatus(status="busy"), bob)
    ann.socket.send(peers.discover(DiscoverPeers(), ann))
    assert town.heard(ann) == [("cat", "online"), ("PEERS_LIST", "")]
    await town.settle()
    await town.end(bob)
    await town.settle()
    assert (town.heard(ann), town.heard(cat)) == ([], [("PEER_REGISTERED", "")])


async def test_hiding_and_showing(town: Town) -> None:
    """One that hides is told as offline, once; one that shows itself is told as it is then."""
    ann, bob = await town.join("ann", "bob")
    await peers.set_status(PeerStatus(status="away"), bob)
    await register(bob, visibility="hidden")
    await register(bob, visibility="hidden", display_name="B")
    await town.settle()
    assert town.heard(ann) == [("bob", "offline")]
    await register(bob, visibility="hidden", display_name="C")
    await town.settle()
    assert town.heard(ann) == []
    await register(bob)
    await town.settle()
    assert town.heard(ann) == [("bob", "away")]


async def test_hiding_for_a_moment(town: Town) -> None:
    """Who hides and shows itself as before within a window is not told of."""
    ann, bob = await town.join("ann", "bob")
    await register(bob, visibility="hidden")
    await register(bob)
    await town.settle()
    assert town.heard(ann) == []


async def test_registering_again_unchanged(town: Town) -> None:
    """Registering again is told again, even if nothing changed, as by the original."""
    ann, bob = await town.join("ann", "bob")
    await register(bob)
    await town.settle()
    assert town.heard(ann) == [("bob", "online")]


async def test_newcomers_are_not_told_of_before(town: Town) -> None:
    """Who registers after a change, within the window, is not told of it: its list has it."""
    _, bob = await town.join("ann", "bob")
    await register(bob, display_name="B")
    cat = await town.world.join("cat")
    await town.settle()
    assert town.heard(cat) == [("PEER_REGISTERED", "")]


async def test_newcomers_are_told_of_after(town: Town) -> None:
    """Who registers within the window and lists a peer that came in it is told when that peer goes in it."""
    bob = await town.world.join("bob")
    cat = await town.world.join("cat")
    assert [entry.id for entry in peers.discover(DiscoverPeers(), cat).peers] == ["bob"]
    await town.end(bob)
    await town.settle()
    assert town.heard(cat) == [("PEER_REGISTERED", ""), ("bob", "offline")]


async def test_an_update_goes_before_what_names_the_peer(town: Town) -> None:
    """An event that names a peer brings its pending update to its receiver first; the window brings no second one."""
    ann, bob = await town.join("ann", "bob")
    cat = await town.world.join("cat")
    await connections.request(ConnectionRequest(target_id="ann"), cat)
    assert town.heard(ann) == [("cat", "online"), ("CONNECTION_REQUEST_RECEIVED", "")]
    await town.settle()
    assert (town.heard(ann), town.heard(bob)) == ([], [("cat", "online")])


async def test_updates_go_before_a_session_that_shows_the_peers(town: Town) -> None:
    """All whom an update of a session names are told of before it, to those who get it; nobody is told of itself."""
    (bob,) = await town.join("bob")
    ann = await town.world.join("ann", capabilities=["sessions"])
    await town.settle()
    cat, dan = [await town.world.join(name, capabilities=["sessions"]) for name in ("cat", "dan")]
    for seat in (ann, bob, cat, dan):
        town.frames(seat)
    session = Session("ses_1", ann.user, {seat.user: "guest" for seat in (ann, bob, cat)})
    membership.tell(town.world.services, session, "left", dan.user)
    assert town.heard(ann) == [("cat", "online"), ("dan", "online"), ("SESSION_UPDATED", "")]
    assert town.heard(cat) == [("dan", "online"), ("SESSION_UPDATED", "")]
    assert (town.heard(bob), town.heard(dan)) == ([], [])
    await town.settle()
    assert [town.heard(seat) for seat in (ann, bob, cat, dan)] == [[], [("cat", "online"), ("dan", "online")], [], []]


async def test_a_change_after_the_early_word(town: Town) -> None:
    """Who was told early that a peer is there is told if it goes in the same window; the others hear nothing of it."""
    ann, bob = await town.join("ann", "bob")
    cat = await town.world.join("cat")
    await connections.request(ConnectionRequest(target_id="ann"), cat)
    await town.end(cat)
    await town.settle()
    assert town.heard(ann) == [("cat", "online"), ("CONNECTION_REQUEST_RECEIVED", ""), ("cat", "offline")]
    assert town.heard(bob) == []


async def test_an_update_goes_before_a_list(town: Town) -> None:
    """A list that shows a peer brings its pending update first; the window brings no second one."""
    (ann,) = await town.join("ann")
    await town.world.join("bob")
    ann.socket.send(peers.discover(DiscoverPeers(), ann))
    assert town.heard(ann) == [("bob", "online"), ("PEERS_LIST", "")]
    await town.settle()
    assert town.heard(ann) == []


async def test_a_list_without_one_who_returns(town: Town) -> None:
    """Who comes back as it was is told of to those who saw a list without it in between."""
    ann, bob = await town.join("ann", "bob")
    await town.end(bob, disconnects.drop)
    ann.socket.send(peers.discover(DiscoverPeers(), ann))
    await town.world.join("bob", PeerRegister(ide="vim"))
    await town.settle()
    assert town.heard(ann)[-1] == ("bob", "online")


async def test_nobody_is_told_of_itself(town: Town) -> None:
    """Whatever a peer does within a window, it gets no update about itself."""
    (ann,) = await town.join("ann")
    await register(ann, display_name="A1")
    ann.socket.send(peers.discover(DiscoverPeers(), ann))
    await register(ann, display_name="A2")
    await town.settle()
    assert town.heard(ann) == [("PEER_REGISTERED", ""), ("PEERS_LIST", ""), ("PEER_REGISTERED", "")]


async def test_registering_again_loses_no_news(town: Town) -> None:
    """Who registers again over its socket is still told of what changed in the window before."""
    (ann,) = await town.join("ann")
    await town.world.join("bob")
    await register(ann, display_name="A")
    await town.settle()
    assert ("bob", "online") in town.heard(ann)


async def test_each_receiver_at_once(town: Town) -> None:
    """A receiver gets all its updates together, in one write."""
    receivers = await town.join(*map(str, range(30)))
    for number in range(30):
        await town.world.join(f"new-{number}")
    town.turns.end()
    await town.presence.flush()
    assert not any(town.socket(seat).transport.writes for seat in receivers)
    town.turns.end()
    assert {len(town.socket(seat).transport.writes) for seat in receivers} == {1}
    assert {len(town.frames(seat)) for seat in receivers} == {30}


async def test_receivers_one_after_the_other(town: Town) -> None:
    """Where the news takes several turns, each receiver's still fall into one."""
    receivers = await town.join(*map(str, range(60)))
    for number in range(60):
        await town.world.join(f"new-{number}")
    done = anyio.Event()

    async def turn() -> None:
        while not done.is_set():
            await anyio.lowlevel.checkpoint()
            town.turns.end()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn)
        await town.presence.flush()
        done.set()
    town.turns.end()
    assert {tuple(map(len, town.socket(seat).transport.writes)) for seat in receivers} == {(60,)}


async def test_a_change_while_the_news_goes_out(town: Town) -> None:
    """Who goes while its coming is being told is told of as gone, to all who heard that it came."""
    receivers = await town.join(*map(str, range(60)))
    news = [await town.world.join(f"new-{number}") for number in range(60)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(town.presence.flush)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert town.presence.pending
        await town.end(news[0])
    await town.settle()
    stories = [[status for name, status in town.heard(seat) if name == "new-0"] for seat in receivers]
    assert ["online", "offline"] in stories
    assert all(story in (["online", "offline"], []) for story in stories)


async def test_windows(town: Town) -> None:
    """Windows follow each other by themselves, for as long as there is news."""
    (ann,) = await town.join("ann")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(town.presence.run)
        for name in ("bob", "cat"):
            await town.world.join(name)
            with anyio.fail_after(5):
                while town.presence.pending:
                    await anyio.lowlevel.checkpoint()
            assert town.heard(ann) == [(name, "online")]
        tasks.cancel_scope.cancel()


async def test_a_large_org() -> None:
    """Above PRESENCE_EVERYONE only those are told who saw the peer in their last list."""
    town = Town(everyone=2)
    ann, bob, cat = await town.join("ann", "bob", "cat")
    peers.discover(DiscoverPeers(), ann)
    for again in range(2):
        await register(bob)
        await town.settle()
        assert town.heard(ann)[again:] == [("bob", "online")]
        assert town.heard(cat) == []
        await register(ann)
    peers.discover(DiscoverPeers(role="host"), ann)
    await register(bob)
    await town.settle()
    assert town.heard(ann) == [("PEER_REGISTERED", "")]


async def test_the_limit_of_a_small_org() -> None:
    """At PRESENCE_EVERYONE everybody is told; each org counts for itself."""
    town = Town(everyone=2)
    ann, bob = await town.join("ann", "bob")
    await town.join("cat@acme", "dan@acme", "eve@acme")
    await register(bob)
    await town.settle()
    assert town.heard(ann) == [("bob", "online")]


async def test_the_first_of_a_long_list() -> None:
    """In a large org the first 100 of a list are watched, the others not."""
    town = Town(everyone=2)
    (ann, *others) = await town.join("ann", *map(str, range(MOST_WATCHED + 1)))
    peers.discover(DiscoverPeers(), ann)
    for seat in others[MOST_WATCHED - 1 :]:
        await register(seat)
    await town.settle()
    assert town.heard(ann) == [(str(MOST_WATCHED - 1), "online")]


async def test_a_peer_that_is_listed_twice(town: Town) -> None:
    """As where it has left and come back, and one of both was missed: it is watched, and no more when that is over."""
    await town.join("ann", "bob")
    for listed in ([BOB, BOB], [BOB], []):
        town.presence.listed(ANN, listed)
        assert town.presence.sizes()["presence_watched"] == bool(listed)


@pytest.mark.parametrize("bond", ["session", "request"])
async def test_the_concerned(bond: str) -> None:
    """In a large org those are told who share a session or a request with the peer, of its leaving too."""
    town = Town(everyone=1)
    ann, bob, cat = await town.join("ann", "bob", "cat")
    await (town.world.pair if bond == "session" else town.world.ask)(bob, ann)
    town.frames(ann)
    await register(bob)
    await town.settle()
    assert town.heard(ann) == [("bob", "online")]
    await town.end(bob)
    await town.settle()
    assert ("bob", "offline") in town.heard(ann)
    assert town.heard(cat) == []


async def test_what_is_kept(town: Town) -> None:
    """What is sent to one who dropped is delivered right after its registration, in order, then what comes."""
    ann, bob = await town.join("ann", "bob")
    session_id = await town.world.pair(ann, bob)
    await town.end(bob, disconnects.drop)
    delivered = town.hub.delivered
    for content in (b"1", b"2"):
        messages.send_message(SendMessage(session_id=session_id, content=content), ann)  # type: ignore[arg-type]
    again = await town.world.enter("bob")
    await register(again)
    messages.send_message(SendMessage(session_id=session_id, content=b"3"), ann)  # type: ignore[arg-type]
    frames = town.frames(again)
    assert [event for event, _ in frames] == ["PEER_REGISTERED", *["MESSAGE_RECEIVED"] * 3]
    assert town.world.stores.log.stats()["logs"] == 0
    assert (town.hub.kept, town.hub.delivered - delivered) == (2, 1)


async def test_a_socket_gone_before_it_is_attached(town: Town) -> None:
    """If the socket is gone when its registration is done, what comes is kept."""
    ann, bob = await town.world.enter("ann"), (await town.join("bob"))[0]
    del town.sockets[ann.socket.holder.socket]
    await register(ann)
    assert User("ann") not in town.presence.links
    session_id = await town.world.pair(bob, ann)
    kept = await town.world.stores.log.count(User("ann"))
    messages.send_message(SendMessage(session_id=session_id, content=b"1"), bob)  # type: ignore[arg-type]
    assert await town.world.stores.log.count(User("ann")) == kept + 1


async def test_a_superseded_socket(town: Town) -> None:
    """The superseded socket is closed and gets nothing more; what comes meanwhile is for the new one."""
    ann, bob = await town.join("ann", "bob")
    session_id = await town.world.pair(ann, bob)
    town.frames(bob)
    new = await town.world.enter("bob")
    messages.send_message(SendMessage(session_id=session_id, content=b"1"), ann)  # type: ignore[arg-type]
    assert (town.socket(bob).closed, town.frames(bob)) == (CloseCode.SUPERSEDED, [])
    await register(new)
    await town.end(bob, disconnects.drop)
    assert town.heard(new) == [("PEER_REGISTERED", ""), ("MESSAGE_RECEIVED", "")]
    assert town.world.peer(User("bob")).status == "online"
    messages.send_message(SendMessage(session_id=session_id, content=b"2"), ann)  # type: ignore[arg-type]
    assert town.heard(new) == [("MESSAGE_RECEIVED", "")]


class Crowd:
    """Random comings and goings; each socket's view is what a client makes of the frames it gets."""

    NAMES = ("ann", "bob", "cat", "dan")

    def __init__(self) -> None:
        self.town = Town()
        self.seats: dict[str, Seat] = {}
        self.views: dict[str, dict[str, Any]] = {}

    async def act(self, what: str, name: str) -> None:
        seat = self.seats.get(name)
        if what in {"vim", "emacs"}:
            await self.register(name, what)
        elif seat is not None:
            await self.act_registered(what, name, seat)

    async def register(self, name: str, ide: str) -> None:
        is_new = name not in self.seats
        if is_new:
            self.seats[name] = await self.town.world.enter(name)
            self.views[name] = {}
        await register(self.seats[name], ide=ide)
        if is_new:
            self.discover(self.seats[name])

    async def act_registered(self, what: str, name: str, seat: Seat) -> None:
        match what:
            case "leave" | "drop":
                del self.seats[name]
                await self.town.end(seat, getattr(disconnects, what))
            case "supersede":
                del self.seats[name]
                await self.register(name, "vim")
            case "discover":
                self.discover(seat)
            case "message":
                others = [other.user for other in self.seats.values() if other is not seat]
                self.town.hub.send(others, SessionEnded(session_id="s", reason="left"), about=seat.user)
            case "congest" | "relieve":
                getattr(self.town.socket(seat).outbox, what)()

    def discover(self, seat: Seat) -> None:
        seat.socket.send(peers.discover(DiscoverPeers(), seat))

    def read(self) -> None:
        for name, seat in self.seats.items():
            for event, data in self.town.frames(seat):
                if event == "PEERS_LIST":
                    self.views[name] = {peer["id"]: peer for peer in data["peers"]}
                elif event == "PEER_STATUS_UPDATE" and data["status"] == "offline":
                    self.views[name].pop(data["id"], None)
                elif event == "PEER_STATUS_UPDATE":
                    self.views[name][data["id"]] = data

    async def check(self) -> None:
        for seat in self.seats.values():
            self.town.socket(seat).outbox.relieve()
        await self.town.settle()
        self.read()
        for name, seat in self.seats.items():
            listed = encode(peers.discover(DiscoverPeers(), seat))
            truth = {peer["id"]: peer for peer in json.loads(listed)["data"]["peers"]}
            assert self.views[name] == truth, name


ACTS = ["vim", "emacs", "leave", "drop", "supersede", "discover", "message"]


@pytest.mark.parametrize("acts", [ACTS, [*ACTS, "congest", "relieve"]], ids=["keeping up", "congested"])
@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_views_come_true(acts: list[str], data: st.DataObject) -> None:
    """Whatever happens, when all has settled each socket's view of the others is the directory's."""
    steps = st.tuples(st.sampled_from([*acts, "window", "turn"]), st.sampled_from(Crowd.NAMES))
    script = data.draw(st.lists(steps, max_size=30))

    async def play() -> None:
        crowd = Crowd()
        for what, name in script:
            if what == "window":
                await crowd.town.presence.flush()
            elif what == "turn":
                crowd.town.turns.end()
            else:
                await crowd.act(what, name)
        await crowd.check()

    anyio.run(play)
