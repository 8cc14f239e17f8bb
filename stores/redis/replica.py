"""The replica: what all nodes know, kept right by the changes that each node tells of."""

from collections.abc import Iterator
from typing import Any

import anyio
import msgspec
from msgspec import Raw

from stores.base import Holder, Peer, StoreUnreachableError, User
from stores.bus import Home, Standing, Watcher
from stores.memory import MemoryDirectory, MemorySent
from stores.redis import scripts
from stores.redis.client import Client
from stores.redis.rows import home_of, home_row, peer_of, request_of, revocation_of, row, session_of

RESTORED_AT_ONCE = 3000

_change_of = msgspec.json.Decoder(list[Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
_number_of = msgspec.json.Decoder(int).decode
_org_of = msgspec.json.Decoder(str | None).decode


class Replica:
    """A directory of everything, and how far it has come, by org."""

    def __init__(self, client: Client) -> None:
        self.directory = MemoryDirectory()
        self.sent = MemorySent()
        self.homes: dict[User, Home] = {}
        self.watcher = Watcher()
        self.standing = Standing()
        self._client = client
        self._versions: dict[str | None, int] = {}
        self._waiting: dict[tuple[str | None, int], anyio.Event] = {}
        self._takes = {
            "peer": self._take_peer,
            "gone": self._take_gone,
            "home": self._take_home,
            "request": self._take_request,
            "taken": self._take_taken,
            "session": self._take_session,
            "ended": self._take_ended,
        }

    @property
    def nodes(self) -> set[str]:
        """The nodes that are somebody's home."""
        return {home.node for home in self.homes.values()}

    async def reached(self, org: str | None, version: int, patience: float) -> None:
        """Wait until the org's changes up to this version are here.

        Raises `StoreUnreachableError` if they are not within `patience` seconds.
        """
        if self._versions.get(org, 0) >= version:
            return
        event = self._waiting.setdefault((org, version), anyio.Event())
        with anyio.move_on_after(patience):
            await event.wait()
            return
        raise StoreUnreachableError("Redis: a change was made, but not heard of in time")

    async def hear(self, message: bytes) -> None:
        """Take in a change; where some before it were missed, the org is read anew."""
        kind, node, *rest = _change_of(message)
        name = _text_of(kind)
        if name == "revoked":
            if _text_of(node) != self._client.node:
                self.watcher.revoked(revocation_of(rest[0]))
            return
        org, version = _org_of(rest[0]), _number_of(rest[1])
        known = self._versions.get(org, 0)
        if version == known + 1:
            self._takes[name](org, rest[2:], is_own=_text_of(node) == self._client.node)
            self._advance(org, version)
        elif version > known:
            await self.read(org)

    async def read_all(self) -> None:
        """Read everything anew: changes may have been missed."""
        for org in await self._client.orgs():
            await self.read(org)

    async def read(self, org: str | None) -> None:
        """Read an org anew, and tell the watcher of what is not as it was."""
        self.standing.reads += 1
        snapshot: Any = await self._client.run(scripts.SNAPSHOT, self._client.space.org(org))
        version, peers, places, homes, requests, sessions = snapshot
        self._replace_homes(org, dict(_pairs(homes)))
        self._replace_sessions(org, {each.id: each for each in map(session_of, sessions)})
        self._replace_requests(org, {each.id: each for each in map(request_of, requests)})
        at = {user: int(place) for user, place in _pairs(places)}
        self._replace_peers(org, sorted((at[user], peer_of(peer)) for user, peer in _pairs(peers)))
        self._advance(org, version)

    async def restore(self) -> None:
        """Write what is here into an emptied store; what another node has written already stays."""
        for org, version in list(self._versions.items()):
            fields = [field for record in self._records(org) for field in record]
            placed = max(map(self.directory.place, (peer.user for peer in self.directory.peers(org))), default=0)
            fenced = max((home.fence for user, home in self.homes.items() if user.org == org), default=0)
            await self._client.note(org)
            for at in range(0, max(1, len(fields)), RESTORED_AT_ONCE):
                some = fields[at : at + RESTORED_AT_ONCE]
                key = self._client.space.org(org)
                await self._client.run(scripts.RESTORE, key, version, placed, fenced, *some)

    def _records(self, org: str | None) -> Iterator[tuple[str, str, bytes | int]]:
        """Return what there is of an org: the hash, the field and the value of each record."""
        directory = self.directory
        for peer in directory.peers(org):
            yield "peers", peer.user.id, row(peer)
            yield "places", peer.user.id, directory.place(peer.user)
        for user in [user for user in self.homes if user.org == org]:
            yield from self._claims(user)
        for request in [each for each in directory.requests.values() if each.requester.org == org]:
            yield "requests", request.id, row(request)
        for session in [each for each in directory.sessions.values() if each.host.org == org]:
            yield "sessions", session.id, row(session)

    def _claims(self, user: User) -> Iterator[tuple[str, str, bytes]]:
        home, peer = self.homes[user], self.directory.peer(user)
        yield "homes", user.id, home_row(home)
        if home.socket and (peer is None or peer.lapses_at is None):
            yield "holders", user.id, row(Holder(home.node, home.socket))

    def _advance(self, org: str | None, version: int) -> None:
        before, self._versions[org] = self._versions.get(org, 0), version
        for reached in range(before + 1, version + 1) if self._waiting else ():
            event = self._waiting.pop((org, reached), None)
            if event is not None:
                event.set()

    def _take_peer(self, _org: str | None, about: list[Raw], *, is_own: bool) -> None:
        self._put_peer(_number_of(about[0]), peer_of(about[1]), is_own=is_own)

    def _put_peer(self, place: int, peer: Peer, *, is_own: bool) -> None:
        before = self.directory.peer(peer.user)
        self.directory.put_peer(peer, place)
        if not is_own and before != peer:
            self.watcher.peer_changed(before, peer)

    def _take_gone(self, org: str | None, about: list[Raw], *, is_own: bool) -> None:
        self._remove_peer(User(_text_of(about[0]), org), is_own=is_own)

    def _remove_peer(self, user: User, *, is_own: bool) -> None:
        before = self.directory.remove_peer(user)
        if not is_own and before is not None:
            self.watcher.peer_changed(before, None)

    def _take_home(self, org: str | None, about: list[Raw], *, is_own: bool) -> None:  # noqa: ARG002 - as the others
        self._put_home(
            User(_text_of(about[0]), org), Home(_text_of(about[1]), _number_of(about[2]), _number_of(about[3]))
        )

    def _put_home(self, user: User, home: Home) -> None:
        before = self.homes.get(user)
        self.homes[user] = home
        if before != home:
            self.watcher.home_changed(user, before, home)

    def _take_request(self, _org: str | None, about: list[Raw], *, is_own: bool) -> None:  # noqa: ARG002
        self.directory.put_request(request_of(about[0]))

    def _take_taken(self, _org: str | None, about: list[Raw], *, is_own: bool) -> None:  # noqa: ARG002
        self.directory.remove_request(_text_of(about[0]))

    def _take_session(self, _org: str | None, about: list[Raw], *, is_own: bool) -> None:  # noqa: ARG002
        session = session_of(about[0])
        self.sent.forget(session.id, self.directory.put_session(session))

    def _take_ended(self, _org: str | None, about: list[Raw], *, is_own: bool) -> None:  # noqa: ARG002
        session_id = _text_of(about[0])
        self.sent.forget(session_id, self.directory.remove_session(session_id))

    def _replace_homes(self, org: str | None, homes: dict[str, bytes]) -> None:
        for user in [user for user in self.homes if user.org == org and user.id not in homes]:
            del self.homes[user]
        for name, home in homes.items():
            self._put_home(User(name, org), home_of(home))

    def _replace_sessions(self, org: str | None, sessions: dict[str, Any]) -> None:
        known = [each for each in self.directory.sessions.values() if each.host.org == org]
        for session in known:
            if session.id not in sessions:
                self.sent.forget(session.id, self.directory.remove_session(session.id))
        for session in sessions.values():
            self.sent.forget(session.id, self.directory.put_session(session))

    def _replace_requests(self, org: str | None, requests: dict[str, Any]) -> None:
        for request in [each for each in self.directory.requests.values() if each.requester.org == org]:
            self.directory.remove_request(request.id)
        for request in sorted(requests.values(), key=lambda each: each.expires_at):
            self.directory.put_request(request)

    def _replace_peers(self, org: str | None, peers: list[tuple[int, Peer]]) -> None:
        there = {peer.user for _, peer in peers}
        for user in [peer.user for peer in self.directory.peers(org) if peer.user not in there]:
            self._remove_peer(user, is_own=False)
        for place, peer in peers:
            self._put_peer(place, peer, is_own=False)


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """Return the fields and values of a hash, which Redis answers one after the other."""
    return ((flat[at].decode(), flat[at + 1]) for at in range(0, len(flat), 2))
