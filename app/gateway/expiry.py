"""Tokens that run out: whose socket is closed when, and who is told a minute ahead (docs/protocol.md section 8)."""

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Literal, Protocol

from handlers.ports import Clock, Identity
from schemas.capabilities import Spoken
from stores.model import Holder

NOTICE_SECONDS = 60.0
SLACK = 64

Policy = Literal["auto", "close", "ignore"]


class Watched(Protocol):
    """An authenticated socket."""

    holder: Holder
    spoken: Spoken

    @property
    def identity(self) -> Identity:
        """Who it is, and until when."""

    def expiring(self) -> None:
        """Tell the client, once a token, that it expires soon."""

    def expire(self) -> None:
        """Close: the token has run out."""


class Expiry:
    """When to look at which socket again: one time each, found by a heap, so that idle sockets cost nothing.

    A time that another took the place of stays in the heap until it comes up, or until such times outnumber the others
    and the heap is made anew. It is the time of day, as in tokens.
    """

    def __init__(self, sockets: Mapping[int, Watched], policy: Policy, leeway: float, clock: Clock) -> None:
        self._sockets = sockets
        self._policy = policy
        self._leeway = leeway
        self._clock = clock
        self._times: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Return how many sockets are to be looked at."""
        return len(self._times)

    def watch(self, socket: Watched) -> None:
        """See that the socket is closed when its token runs out."""
        if self._concerns(socket):
            self._look_again(socket, socket.identity.expires_at + self._leeway)

    def look(self, socket: Watched) -> None:
        """Do what is due for the socket's token, which may be a new one, and look again when there is more to do."""
        if not self._concerns(socket):
            return
        now, expires_at = self._clock.now(), socket.identity.expires_at
        is_told = "notices" in socket.spoken
        if expires_at + self._leeway <= now:
            socket.expire()
        elif is_told and now < expires_at - NOTICE_SECONDS:
            self._look_again(socket, expires_at - NOTICE_SECONDS)
        else:
            if is_told:
                socket.expiring()
            self._look_again(socket, expires_at + self._leeway)

    def forget(self, number: int) -> None:
        """Look no more at the socket with this number."""
        if self._times.pop(number, None) is not None:
            self._tidy()

    def sweep(self) -> None:
        """Look at those whose time has come."""
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            time, number = heappop(self._heap)
            if self._times.get(number) == time:
                del self._times[number]
                self.look(self._sockets[number])

    def _concerns(self, socket: Watched) -> bool:
        """Whether the socket is still there, and is to be closed."""
        is_meant = self._policy == "close" or (self._policy == "auto" and bool(socket.spoken))
        return is_meant and socket.holder.socket in self._sockets

    def _look_again(self, socket: Watched, time: float) -> None:
        number = socket.holder.socket
        if self._times.get(number) != time:
            self._times[number] = time
            heappush(self._heap, (time, number))
            self._tidy()

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._times) + SLACK:
            self._heap = [(time, number) for number, time in self._times.items()]
            heapify(self._heap)
