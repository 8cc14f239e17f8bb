"""A harness in simulated time: the real runtime over a simulated network, its clients, and the reference beside it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from app.auth.keys import public_keys
from app.auth.tokens import dev_claims, sign
from app.clock import Sources, iso
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.gateway.connection import Connection
from app.gateway.host import End
from app.ops.logs import make_logger
from app.settings import Settings
from app.tables import load_routes
from handlers.context import Context
from stores.log import Bounds
from stores.memory.stores import MemoryStores
from stores.model import User
from tests.model.loop import LeapingLoop
from tests.model.network import Link, Network
from tests.model.plugin import Plugin
from tests.model.reference import LEEWAY, REPLAY_EVENTS, RESUME_GRACE, SESSION_GRACE, Reference
from tests.support.tokens import AUDIENCE, ISSUER, Keys

START = 1_700_000_000.0
EVERYTHING = ["resume", "acks", "sessions", "notices"]
PEOPLE: dict[User, list[str] | None] = {
    User("ann"): EVERYTHING,
    User("bob"): EVERYTHING,
    User("cat"): ["resume", "acks"],
    User("dan"): ["acks", "sessions"],
    User("eve"): None,
    User("ann", "acme"): EVERYTHING,
    User("eve", "acme"): None,
}


class LeapingClock:
    """See `handlers.ports.Clock`."""

    def __init__(self, loop: LeapingLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return START + self._loop.time()

    def timestamp(self) -> str:
        return iso(self.now())

    def timestamp_of(self, moment: float) -> str:
        return iso(moment)


class CountedIds:
    """Identifiers that the reference can count, too: for each prefix from 1."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __call__(self, prefix: str) -> str:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}{self._counts[prefix]}"


class Tokens:
    """Access tokens, made once, and whom and how long each is for."""

    def __init__(self, keys: Keys, now: Callable[[], float]) -> None:
        self._keys = keys
        self._now = now
        self._lasting: dict[User, str] = {}
        self.meanings: dict[str, tuple[User, float]] = {}

    def lasting(self, user: User) -> str:
        """Return a token for all the time there is."""
        if user not in self._lasting:
            self._lasting[user] = self.make(user, 10**9)
        return self._lasting[user]

    def make(self, user: User, seconds: int) -> str:
        """Return a token for so long."""
        now = self._now()
        claims = dev_claims(
            user, issuer=ISSUER, audience=AUDIENCE, now=now, ttl=seconds, name=user.id, email=f"{user.id}@example.com"
        )
        token = sign(self._keys.key, claims)
        self.meanings[token] = user, int(now) + seconds
        return token


class Harness:
    """Everything, with `pass_time` to have it go on."""

    def __init__(self, keys: Keys) -> None:
        self.loop = LeapingLoop()
        self.clock = LeapingClock(self.loop)
        self.tokens = Tokens(keys, self.clock.now)
        self.network = Network(self.loop, self._arrived)
        self.reference = Reference(self.clock.now, PEOPLE)
        self.plugins = {
            user: Plugin(user, wants, self.tokens.lasting, self.clock.now) for user, wants in PEOPLE.items()
        }
        self.errors: list[dict[str, Any]] = []
        self._over = asyncio.Event()
        self._opened: asyncio.Future[Runtime] = self.loop.create_future()
        self._main = self.loop.create_task(self._run(self._plan(keys)))
        self.runtime = self.loop.run_until_complete(self._opened)

    def connect(self, user: User, latency: float) -> None:
        """Have a plugin connect, whatever it had before."""
        plugin = self.plugins[user]
        link = Link(self.network, plugin, latency)
        link.connection = self.runtime.gateway.open(link, b"here")
        plugin.open(link)

    def pass_time(self, seconds: float) -> None:
        """Have things happen for so long; raises what went wrong meanwhile."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        if self.errors:
            raise self.errors[0].get("exception") or AssertionError(self.errors[0])

    def close(self) -> None:
        """End."""
        self._over.set()
        self.loop.run_until_complete(self._main)
        self.loop.close()

    def _plan(self, keys: Keys) -> Plan:
        settings = Settings(
            jwt_public_key=keys.public_path.read_text(),  # no file, at which a thread would look in real time
            session_grace_seconds=SESSION_GRACE,
            resume_grace_seconds=RESUME_GRACE,
            replay_events=REPLAY_EVENTS,
            token_leeway_seconds=LEEWAY,
            max_message_bytes=4096,
            outbox_bytes=16_384,
            log_level="error",
        )
        sources = Sources(clock=self.clock, monotonic=self.loop.time, ids=CountedIds())
        return Plan(settings, public_keys(settings), load_routes(()), make_logger(settings), sources=sources)

    async def _run(self, plan: Plan) -> None:
        self.loop.set_exception_handler(lambda _, problem: self.errors.append(problem))
        async with running(plan, MemoryStores(Bounds(REPLAY_EVENTS))) as runtime:
            self._listen(runtime)
            self._opened.set_result(runtime)
            await self._over.wait()

    def _listen(self, runtime: Runtime) -> None:
        """Have the reference told of what the runtime finds out by itself."""
        gateway, lost, disconnected = runtime.gateway, runtime.gateway.lost, runtime.gateway.disconnected
        tick = runtime.store_timer.tick

        def also_lost(connection: Connection) -> None:
            self.reference.lost(connection.holder.socket)
            lost(connection)

        async def also_disconnected(connection: Connection, context: Context, end: End) -> None:
            self.reference.ended(connection.holder.socket, is_leaving=end.is_leaving)
            await disconnected(connection, context, end)

        async def also_tick() -> None:
            await tick()
            self.reference.tick()

        replacements: dict[tuple[object, str], Callable[..., Awaitable[None] | None]] = {
            (gateway, "lost"): also_lost,
            (gateway, "disconnected"): also_disconnected,
            (runtime.store_timer, "tick"): also_tick,
        }
        for (owner, name), replacement in replacements.items():
            setattr(owner, name, replacement)

    def _arrived(self, link: Link, frame: bytes) -> None:
        members = json.loads(frame)
        token = members["data"].get("token")
        if token is not None:
            members["data"]["token"] = self.tokens.meanings[token]
        self.reference.arrived(link.number, members)
