"""Resumption: going on over a new socket where a user's last one left off (docs/protocol.md section 8)."""

from collections import Counter

from app.delivery.presence import Presence
from handlers.ports import Ids, Socket
from schemas.auth import Resume
from stores.log import Log
from stores.model import User
from stores.protocols import SupersededError


class Resumption:
    """Hands out the tokens to resume with, and counts in `attempts` how often that succeeds."""

    def __init__(self, log: Log, presence: Presence, ids: Ids) -> None:
        self._log = log
        self._presence = presence
        self._ids = ids
        self._positions: dict[int, int] = {}
        self.attempts: Counter[str] = Counter(recovered=0, refused=0)

    def __len__(self) -> int:
        """Return how many sockets are about to follow their user's log."""
        return len(self._positions)

    async def begin(self, user: User, socket: Socket) -> str | None:
        """Start the user's log over; return the token to resume with, None for a socket of version 1.

        Raises `SupersededError` if another socket of the user holds the claim by now.
        """
        token = self._ids("res_") if "resume" in socket.spoken else None
        if not await self._log.start(user, socket.holder, token):
            raise SupersededError
        if token is not None:
            self._positions[socket.holder.socket] = 0
        return token

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        token = self._ids("res_")
        is_recovered = await self._log.resume(user, socket.holder, resume.token, resume.offset, token)
        self.attempts["recovered" if is_recovered else "refused"] += 1
        if not is_recovered:
            return None
        self._positions[socket.holder.socket] = resume.offset
        return token

    def position(self, socket: Socket) -> int | None:
        """Return after which offset the socket's client goes on; None for one of version 1."""
        return self._positions.pop(socket.holder.socket, None)

    def closed(self, socket: int) -> None:
        """Forget a socket that has closed, by its number."""
        self._positions.pop(socket, None)

    def confirm(self, user: User) -> None:
        """Take note that the user was heard after it was recovered: the token it used is good no more."""
        self._log.confirm(user)

    def handled(self, user: User, offset: int) -> None:
        link = self._presence.links.get(user)
        if link is not None and link.cursor is not None and offset <= link.offset:
            self._log.trim(user, offset)
            link.cursor.handled(offset)

    def pinged(self, user: User) -> None:
        """Take note that the user's client is asked for a sign of life."""
        link = self._presence.links.get(user)
        if link is not None and link.cursor is not None:
            link.cursor.ping()

    def ponged(self, user: User) -> None:
        """Take note that it gave one: what was sent before it was asked has arrived."""
        link = self._presence.links.get(user)
        if link is not None and link.cursor is not None:
            link.cursor.pong()
