"""Reading an org from the store, a page at a time, while others change it."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio

from stores.base import Peer, Request, Session
from stores.bus import Home
from stores.redis.changes import Change
from stores.redis.rows import home_of, peer_of, request_of, session_of

HASHES = ("peers", "places", "homes", "requests", "sessions")


class Reading:
    """What was read of an org, and the changes that were told meanwhile.

    A page shows each record as it was at some time since the reading began, and misses none that was there all along.
    Once the changes that were told since then are done to it, in order, each record is as the last of them left it.
    """

    def __init__(self, org: str | None) -> None:
        self.org = org
        self.version = 0
        self.peers: dict[str, Peer] = {}
        self.places: dict[str, int] = {}
        self.homes: dict[str, Home] = {}
        self.requests: dict[str, Request] = {}
        self.sessions: dict[str, Session] = {}
        self._gone: dict[str, dict[str, Any]] = {
            "gone": self.peers,
            "left": self.homes,
            "taken": self.requests,
            "ended": self.sessions,
        }
        self._told: deque[Change] = deque()
        self._heard = anyio.Event()
        self._has_gap = False

    def put(self, name: str, page: Mapping[bytes, bytes]) -> None:
        """Take in a page of one of the `HASHES`."""
        read = {key.decode(): value for key, value in page.items()}
        match name:
            case "peers":
                self.peers |= {user: peer_of(row) for user, row in read.items()}
            case "places":
                self.places |= {user: int(row) for user, row in read.items()}
            case "homes":
                self.homes |= {user: home_of(row) for user, row in read.items()}
            case "requests":
                self.requests |= {number: request_of(row) for number, row in read.items()}
            case _:
                self.sessions |= {number: session_of(row) for number, row in read.items()}

    def hear(self, change: Change) -> None:
        """Take note of a change that was told since the reading began."""
        self._told.append(change)
        self._heard.set()

    async def settle(self, since: int, until: int, patience: float) -> bool:
        """Do the changes that were told after version `since`, up to `until` at least.

        Returns False if one of them was not told within `patience` seconds, as when a store is filled again.
        """
        self.version = since
        with anyio.move_on_after(patience):
            while self._take_told() < until and not self._has_gap:
                self._heard = anyio.Event()
                await self._heard.wait()
        return self.version >= until and not self._has_gap

    def _take_told(self) -> int:
        while self._told:
            change = self._told.popleft()
            if change.version == self.version + 1:
                self.version = change.version
                if change.is_known:
                    self._take(change)
            elif change.version > self.version:
                self._has_gap = True
        return self.version

    def _take(self, change: Change) -> None:
        match change.kind, change.about:
            case "peer", (place, peer):
                self.places[peer.user.id], self.peers[peer.user.id] = place, peer
            case "home", (user, home):
                self.homes[user] = home
            case "request", (request,):
                self.requests[request.id] = request
            case "session", (session,):
                self.sessions[session.id] = session
            case kind, (name,):
                self._gone[kind].pop(name, None)
