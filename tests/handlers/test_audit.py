"""What handlers note for the audit log: who, and what was done; never what was said."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from handlers.events import auth, messages, peers, sessions
from schemas.auth import Client, Resume
from schemas.errors import EventError
from schemas.messages import SendMessage
from schemas.peers import PeerRegister
from schemas.sessions import SessionEnd, SessionInvite, SessionKick, SessionLeave
from tests.support.doubles import ANN, BOB, CAT, HERE, Seat, World, presented

MODERN = ["sessions"]


@pytest.fixture
def world() -> World:
    return World()


async def trio(world: World) -> tuple[str, Seat, Seat, Seat]:
    """Bring ann, the host, bob and cat into one session; nothing of that stays written down."""
    ann, bob, cat = [await world.join(name, capabilities=MODERN) for name in ("ann", "bob", "cat")]
    session_id = await world.pair(ann, bob)
    await sessions.invite(SessionInvite(session_id=session_id, target_id="cat"), ann)
    (request,) = world.directory.requests_of(CAT)
    await world.answer(request.id, cat)
    world.audit.noted.clear()
    return session_id, ann, bob, cat


async def test_coming_in(world: World) -> None:
    """Who authenticated: the user, its token, its socket, where it is and with which client; then its registration."""
    seat = world.open()
    client = Client(name="Vim", version="9")
    await auth.authenticate(replace(presented("ann@acme"), client=client), seat)
    await peers.register(PeerRegister(), seat)
    (entered, who, details), registered = world.audit.noted
    assert (entered, who) == ("authenticated", seat.user)
    assert details == {
        "token_id": "token of ann",
        "node": seat.socket.holder.node,
        "socket_id": 1,
        "address": HERE,
        "client": "Vim",
        "client_version": "9",
    }
    assert registered == ("registered", seat.user, {"socket_id": 1})


async def test_renewing(world: World) -> None:
    """A renewed token is noted; a new profile is not."""
    seat = await world.join("ann")
    world.audit.noted.clear()
    await peers.register(PeerRegister(display_name="Someone"), seat)
    await auth.authenticate(presented("ann"), seat)
    assert world.audit.noted == [("renewed", ANN, {"token_id": "token of ann", "socket_id": 1})]


async def test_who_is_not_let_in(world: World) -> None:
    """A stranger cannot write into the log."""
    await auth.authenticate(presented("expired"), world.open())
    assert world.audit.noted == []


async def test_superseding(world: World) -> None:
    """Which socket took the place of which."""
    old = await world.join("ann")
    world.audit.noted.clear()
    await world.enter("ann")
    superseded, entered = world.audit.noted
    holder = old.socket.holder
    assert superseded == ("superseded", ANN, {"node": holder.node, "socket_id": holder.socket, "by_socket_id": 2})
    assert entered[0] == "authenticated"


async def test_resuming(world: World) -> None:
    """Who is back where it was counts as registered."""
    await world.join("ann", capabilities=["resume"])
    world.audit.noted.clear()
    world.delivery.recoverable.add("t")
    await auth.authenticate(presented("ann", ["resume"], Resume(token="t", offset=0)), world.open())
    assert [event for event, *_ in world.audit.noted] == ["superseded", "authenticated", "registered"]


async def test_accepting(world: World) -> None:
    """Whose request was accepted by whom, and the session."""
    ann, bob = await world.join("ann"), await world.join("bob")
    world.audit.noted.clear()
    session_id = await world.pair(ann, bob)
    (noted,) = world.audit.noted
    (_, _, details) = noted
    assert noted[:2] == ("accepted", BOB)
    assert details == {"request_id": details["request_id"], "requester_id": "ann", "session_id": session_id}


async def test_kicking(world: World) -> None:
    """Who was kicked out of which session, and by whom; a kick that is refused is none."""
    session_id, ann, bob, _ = await trio(world)
    with pytest.raises(EventError):
        await sessions.kick(SessionKick(session_id=session_id, target_id="cat"), bob)
    await sessions.kick(SessionKick(session_id=session_id, target_id="cat"), ann)
    assert world.audit.noted == [("kicked", CAT, {"by_id": "ann", "session_id": session_id})]


async def test_leaving_and_ending(world: World) -> None:
    """Who left a session and why, and who ended it."""
    session_id, ann, _, cat = await trio(world)
    await sessions.leave(SessionLeave(session_id=session_id), cat)
    await sessions.end(SessionEnd(session_id=session_id), ann)
    assert world.audit.noted == [
        ("parted", CAT, {"session_id": session_id, "reason": "left"}),
        ("ended", ANN, {"session_id": session_id}),
    ]


@pytest.mark.parametrize("more", [{}, {"message_id": "m"}, {"to": ["bob"]}])
async def test_messages(more: dict[str, Any], world: World) -> None:
    """Of messages there is not a word."""
    session_id, ann, *_ = await trio(world)
    content = Raw(msgspec.json.encode("a secret"))
    messages.send_message(SendMessage(session_id=session_id, content=content, type="a type", **more), ann)
    assert world.audit.noted == []
