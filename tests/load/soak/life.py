"""The life of a soaking peer: coming, doing something now and then, losing its connection, and coming back."""

import anyio
from picows import WSError

from tests.load.soak.acts import act
from tests.load.soak.peer import Peer
from tests.load.soak.socket import Socket
from tests.load.soak.world import PATIENCE, World

DEPARTURES = {"cut": 55, "linger": 10, "stall": 8, "lapse": 15, "forget": 5, "leave": 12}
"""How a connection ends, and how often.

It is cut, and soon there again; stays until the next takes over; falls mute until then; is cut for longer than any
grace; is cut, and the resume token forgotten; or is left with 1000.
"""
ACTS_A_CONNECTION = 20
HASTY = 0.05
MARGIN = 2.0


class Life:
    """One user."""

    def __init__(self, user: str, token: str, world: World) -> None:
        self.peer = Peer(user, token, world, self._send)
        self._world = world
        self._socket: Socket | None = None
        self._old: Socket | None = None
        self._lost_at: float | None = None

    @property
    def is_connected(self) -> bool:
        """Whether a connection is there."""
        return self._socket is not None

    async def live(self) -> None:
        """Come and go until the soak is ending."""
        world = self._world
        await world.wait(world.random.uniform(0, 10 * world.plan.pause))
        while not world.is_ending:
            await self._enter()
            await self._stay()
            await world.wait(self._depart())

    async def settle(self) -> None:
        """Be there, and see that nothing is missing."""
        if not self.is_connected:
            await self._enter(may_be_hasty=False)
        self.peer.ping()
        with anyio.move_on_after(PATIENCE) as scope:
            await self.peer.ponged.wait()
        if scope.cancelled_caught:
            self._fault("no answer to PING", "at the end")

    def part(self, *, is_leaving: bool) -> None:
        """Go for good, with a goodbye or without."""
        socket, self._socket = self._socket, None
        if socket is not None:
            (socket.leave if is_leaving else socket.cut)()

    async def _enter(self, *, may_be_hasty: bool = True) -> None:
        """Connect, and return once registered; or hastily lose the connection on the way."""
        world, socket = self._world, Socket(self._take, self._closed)
        try:
            await socket.connect(world.url)
        except (OSError, WSError) as error:
            self._fault("cannot connect", repr(error))
            return
        self._socket = socket
        world.tally["connections"] += 1
        self.peer.may_expect_recovery = self.peer.is_registered and self._is_in_time()
        self.peer.introduce()
        if may_be_hasty and world.random.random() < HASTY:
            await world.wait(world.random.uniform(0, 0.02))
            self._lose().cut()
        else:
            await self._await_entry(socket)
        if self._old is not None:
            self._old.cut()
            self._old = None

    async def _await_entry(self, socket: Socket) -> None:
        with anyio.move_on_after(PATIENCE) as scope:
            await self.peer.entered.wait()
        if scope.cancelled_caught and self._socket is socket:
            self._fault("not let in", f"within {PATIENCE:.0f} seconds")
            self._lose().cut()
        else:
            self._lost_at = None

    async def _stay(self) -> None:
        """Do something now and then, for a while or as long as the connection lasts."""
        world, dice = self._world, self._world.random
        while self.is_connected and dice.random() > 1 / ACTS_A_CONNECTION:
            await world.wait(dice.expovariate(1 / world.plan.pause))
            if world.is_ending:
                return
            self._act()

    def _act(self) -> None:
        if self.is_connected and self.peer.is_registered:
            self._world.act()
            act(self.peer)

    def _depart(self) -> float:
        """Lose the connection in some way unless the soak is ending; return how many seconds to stay away."""
        world, peer = self._world, self.peer
        if world.is_ending:
            return 0
        if self._socket is None:
            return world.random.uniform(0, world.plan.pause)
        kind = world.random.choices(list(DEPARTURES), list(DEPARTURES.values()))[0]
        socket = self._lose()
        world.tally[kind] += 1
        if kind in {"linger", "stall"}:
            self._old = socket
            if kind == "stall":
                socket.stall()
        else:
            (socket.leave if kind == "leave" else socket.cut)()
        if kind in {"forget", "leave"}:
            peer.resume_token = None
        if kind == "leave":
            peer.rooms.clear()
            peer.is_registered = False
        return self._absence(kind)

    def _absence(self, kind: str) -> float:
        dice, longest = self._world.random, self._world.longest_grace
        if kind == "lapse":
            return dice.uniform(longest, 1.5 * longest)
        return dice.uniform(0, longest / 4)

    def _lose(self) -> Socket:
        socket, self._socket = self._socket, None
        if socket is None:
            raise RuntimeError("there is no connection to lose")
        if self._lost_at is None:
            self._lost_at = self._world.monotonic()
        return socket

    def _is_in_time(self) -> bool:
        away = 0.0 if self._lost_at is None else self._world.monotonic() - self._lost_at
        return away < self._world.resume_grace - MARGIN

    def _send(self, frame: bytes) -> None:
        if self._socket is not None:
            self._socket.send(frame)

    def _take(self, socket: Socket, payload: memoryview) -> None:
        if socket is self._socket:
            self.peer.take(payload)

    def _closed(self, socket: Socket, code: int) -> None:
        """Take note that a connection is gone; if it is the present one, that was not our doing."""
        if socket is self._socket:
            self._fault("an unexpected close", f"with code {code}")
            self._lose()
            self.peer.entered.set()

    def _fault(self, kind: str, detail: str) -> None:
        self._world.faults.note(kind, f"{self.peer.user}: {detail}")
