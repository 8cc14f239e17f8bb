"""PING (docs/protocol.md section 3)."""

from handlers.events import heartbeat
from schemas.auth import Ping, Pong
from tests.support.doubles import World


def test_ping() -> None:
    """PING is answered with the server's time in whole milliseconds."""
    world = World()
    world.clock.advance(0.0019)
    assert heartbeat.ping(Ping(), world.open()) == Pong(timestamp=1_700_000_000_001)
