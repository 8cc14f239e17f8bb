"""What a soaking peer may do next, each as often as its weight says."""

from collections.abc import Callable
from typing import NamedTuple

from tests.load.soak.peer import Peer

MOST_ROOMS, MOST_IN_ROOM, MOST_ASKED = 6, 12, 5
SMALL, LARGE = 400, 100_000
LARGE_SHARE, TO_ONE_SHARE = 0.005, 0.1
IGNORED_SHARE, ACCEPTED_SHARE = 0.1, 0.8


class Act(NamedTuple):
    """Something to do, whether it can be done now, and how often it is chosen."""

    weight: int
    can: Callable[[Peer], object]
    do: Callable[[Peer], None]


def act(peer: Peer) -> None:
    """Do one thing that can be done."""
    possible = [each for each in ACTS if each.can(peer)]
    weights = [each.weight for each in possible]
    peer.world.random.choices(possible, weights)[0].do(peer)


def _talk(peer: Peer) -> None:
    dice = peer.world.random
    session = dice.choice(list(peer.rooms))
    for _ in range(dice.randint(1, 3)):
        padding = dice.randrange(LARGE if dice.random() < LARGE_SHARE else SMALL)
        others = sorted(peer.rooms[session].others)
        to = [dice.choice(others)] if others and dice.random() < TO_ONE_SHARE else None
        peer.say(session, padding, to)


def _answer(peer: Peer) -> None:
    dice = peer.world.random
    request = peer.requests.pop()
    if dice.random() < IGNORED_SHARE:
        return  # it is left to expire
    accepted = len(peer.rooms) < MOST_ROOMS + 2 and dice.random() < ACCEPTED_SHARE
    peer.send("CONNECTION_RESPONSE", requestId=request, accepted=accepted)


def _ask(peer: Peer) -> None:
    del peer.asked[:-MOST_ASKED]
    peer.send("CONNECTION_REQUEST", targetId=_target(peer))


def _invite(peer: Peer) -> None:
    session = peer.world.random.choice(_own(peer))
    role = peer.world.random.choice(("guest", "guest", "observer"))
    peer.send("SESSION_INVITE", session, sessionId=session, targetId=_target(peer), role=role)


def _cancel(peer: Peer) -> None:
    peer.send("CONNECTION_CANCEL", requestId=peer.asked.pop())


def _clean_up(peer: Peer) -> None:
    session = peer.world.random.choice(list(peer.rooms))
    peer.send("SESSION_LEAVE", session, sessionId=session)


def _end(peer: Peer) -> None:
    session = peer.world.random.choice(_own(peer))
    peer.send("SESSION_END", session, sessionId=session)


def _rule(peer: Peer) -> None:
    """Do what only a host may, to one of its guests."""
    dice = peer.world.random
    session = dice.choice(_own(peer))
    target = dice.choice(sorted(peer.rooms[session].others))
    event = dice.choice(("SESSION_KICK", "SESSION_ROLE", "SESSION_HANDOVER"))
    role = dice.choice(("guest", "observer")) if event == "SESSION_ROLE" else None
    peer.send(event, session, sessionId=session, targetId=target, role=role)


def _discover(peer: Peer) -> None:
    dice = peer.world.random
    query = dice.choice((None, None, "ann", "7"))
    limit = dice.choice((None, 20))
    peer.send("DISCOVER_PEERS", query=query if peer.capabilities is not None else None, limit=limit)


def _set_status(peer: Peer) -> None:
    peer.send("PEER_STATUS", status=peer.world.random.choice(("online", "away", "busy")))


def _renew(peer: Peer) -> None:
    peer.send("AUTH", token=peer.token)


def _target(peer: Peer) -> str:
    """Return one who was listed, or anybody, who may not be there; never oneself."""
    others = peer.known or [peer.world.acquaintance(peer.user)]
    target = peer.world.random.choice(others)
    return target if target != peer.user else "nobody"


def _own(peer: Peer) -> list[str]:
    return [session for session, room in peer.rooms.items() if room.host == peer.user and room.others]


def _always(_peer: Peer) -> bool:
    return True


def _has_rooms(peer: Peer) -> bool:
    return bool(peer.rooms)


def _has_requests(peer: Peer) -> bool:
    return bool(peer.requests)


def _may_ask(peer: Peer) -> bool:
    return len(peer.rooms) < MOST_ROOMS


def _may_invite(peer: Peer) -> bool:
    return _may_rule(peer) and all(len(peer.rooms[session].others) < MOST_IN_ROOM for session in _own(peer))


def _may_part(peer: Peer) -> bool:
    return peer.speaks("sessions") and bool(peer.rooms)


def _may_rule(peer: Peer) -> bool:
    return peer.speaks("sessions") and bool(_own(peer))


def _may_cancel(peer: Peer) -> bool:
    return peer.speaks("sessions") and bool(peer.asked)


ACTS = (
    Act(40, _has_rooms, _talk),
    Act(30, _has_requests, _answer),
    Act(8, _may_ask, _ask),
    Act(12, _may_invite, _invite),
    Act(3, _may_part, _clean_up),
    Act(2, _may_rule, _end),
    Act(3, _may_rule, _rule),
    Act(1, _may_cancel, _cancel),
    Act(3, _always, _discover),
    Act(3, _always, _set_status),
    Act(6, _always, Peer.ping),
    Act(2, _always, Peer.register),
    Act(1, _always, _renew),
)
