"""Draining: sockets of a node that stops are closed little by little, so the clients do not return all at once."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Protocol

from schemas.errors import CloseCode
from schemas.notices import ServerNotice

SECONDS_EACH = 0.01


class Closable(Protocol):
    """A socket."""

    def notify(self, notice: ServerNotice) -> None:
        """Tell the client, if it asked for notices."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close, which takes the socket from the others."""


class Drain:
    """Tells all sockets at its beginning; then each step closes the share of them that the time passed is of the rest.

    So a socket that comes meanwhile has its turn with the others. A few sockets take a few milliseconds, however long a
    drain may take. `guard` must catch what goes wrong with one socket, so that the others have their turn.
    """

    def __init__(
        self,
        sockets: Mapping[int, Closable],
        seconds: float,
        monotonic: Callable[[], float],
        guard: Callable[[Any], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._sockets = sockets
        self._guard = guard
        self._monotonic = monotonic
        self._left = min(seconds, len(sockets) * SECONDS_EACH)
        self._ends_at = monotonic() + self._left
        for socket in list(sockets.values()):
            with guard(socket):
                self.tell(socket)

    def tell(self, socket: Closable) -> None:
        """Tell a socket when it will be closed at the latest."""
        left = max(0.0, self._ends_at - self._monotonic())
        socket.notify(ServerNotice(kind="draining", closes_in_seconds=round(left, 2)))

    def step(self) -> bool:
        """Close those whose turn has come; return whether that was all."""
        before, self._left = self._left, max(0.0, self._ends_at - self._monotonic())
        share = 1 - self._left / before if before else 1
        for socket in list(islice(self._sockets.values(), round(len(self._sockets) * share))):
            with self._guard(socket):
                socket.close(CloseCode.RESTART, "This node restarts")
        return self._left == 0 or not self._sockets
