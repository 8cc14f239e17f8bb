"""Peers who talk as fast as they are answered, so many messages at once, and keep score of what they hear."""

from collections import Counter
from itertools import count
from typing import Any

import anyio

from tests.hardening.crowd import PATIENCE, Peer, loopback, until
from tests.support.server import Server

SPOKEN = ["resume", "acks", "sessions", "notices"]
HANDLED_EACH = 25


class Talker(Peer):
    """A peer that speaks everything, and says now and then how far it has come, so that its log is let go of.

    `acked` are its own messages that were acknowledged, `heard` those of others; `errors` are counted by code.
    `window` is how many of its own may be without an answer.
    """

    def __init__(self, window: int = 1) -> None:
        super().__init__()
        self._window = window
        self._room = anyio.Semaphore(window)
        self._offset = 0
        self.acked: list[str] = []
        self.heard: list[str] = []
        self.errors: Counter[str] = Counter()

    async def enter(self, url: str, token: str, source: str = "127.0.0.1") -> "Talker":
        """Connect, authenticate and register."""
        await self.connect(url, source)
        await self.ask("AUTH_SUCCESS", "AUTH", token=token, capabilities=SPOKEN)
        await self.ask("PEER_REGISTERED", "PEER_REGISTER")
        return self

    async def say(self, session: str, message_id: str, content: str = "") -> None:
        """Send a message, as soon as there is room for it."""
        with anyio.fail_after(PATIENCE):
            await self._room.acquire()
        self.send("SEND_MESSAGE", sessionId=session, content=content, messageId=message_id)

    async def answered(self) -> None:
        """Return once all messages have an answer."""
        with anyio.fail_after(PATIENCE):
            for _ in range(self._window):
                await self._room.acquire()
        for _ in range(self._window):
            self._room.release()

    async def handle(self) -> None:
        """Say how far it has come, and return once the server knows."""
        await self.ask("PONG", "PING", offset=self._offset)

    async def meet(self, other: "Talker", name: str) -> str:
        """Have a session with another peer, which has this name; return its id."""
        accepted = self.expect("CONNECTION_ACCEPTED")
        request_id = await self.request(other, name)
        other.send("CONNECTION_RESPONSE", requestId=request_id, accepted=True)
        return str((await self.received(accepted))["sessionId"])

    async def request(self, other: "Talker", name: str) -> str:
        """Ask another peer for a connection; return the id of the request once the other is told."""
        asked = other.expect("CONNECTION_REQUEST_RECEIVED")
        self.send("CONNECTION_REQUEST", targetId=name)
        return str((await other.received(asked))["requestId"])

    async def withdraw(self, other: "Talker", request_id: str) -> None:
        """Take a request back; return once the other is told."""
        cancelled = other.expect("CONNECTION_CANCELLED")
        self.send("CONNECTION_CANCEL", requestId=request_id)
        await other.received(cancelled)

    def took(self, event: Any) -> None:
        """Keep score."""
        if "offset" in event:
            self._handled(event["offset"])
        match event["event"]:
            case "MESSAGE_ACK":
                self.acked.append(event["data"]["messageId"])
                self._room.release()
            case "MESSAGE_RECEIVED":
                self.heard.append(event["data"]["messageId"])
            case "ERROR":
                self.errors[event["data"]["code"]] += 1
                self._room.release()

    def _handled(self, offset: int) -> None:
        assert offset == self._offset + 1
        self._offset = offset
        if not offset % HANDLED_EACH:
            self.send("PING", offset=offset)


class Pairs:
    """Pairs of which one talks to the other, as fast as it is answered, until told to be quiet."""

    def __init__(self, pairs: int, window: int, content: str) -> None:
        self._content = content
        self._sessions: list[str] = []
        self.pairs = [(Talker(window), Talker()) for _ in range(pairs)]
        self.is_quiet = False

    @property
    def errors(self) -> Counter[str]:
        """What was refused, by code."""
        return sum((ann.errors for ann, _ in self.pairs), Counter())

    async def come(self, server: Server) -> None:
        """Have all come in, and meet."""
        for number, (ann, bob) in enumerate(self.pairs):
            await ann.enter(server.url, server.keys.token(f"ann-{number}"), loopback(number))
            await bob.enter(server.url, server.keys.token(f"bob-{number}"), loopback(number))
            self._sessions.append(await ann.meet(bob, f"bob-{number}"))

    async def talk(self) -> None:
        """Talk, and return once all is answered and has arrived."""
        async with anyio.create_task_group() as tasks:
            for (ann, bob), session in zip(self.pairs, self._sessions, strict=True):
                tasks.start_soon(self._talk, ann, bob, session)

    async def leave(self) -> None:
        """Have all leave."""
        for pair in self.pairs:
            for talker in pair:
                await talker.leave()

    async def _talk(self, ann: Talker, bob: Talker, session: str) -> None:
        numbers = count()
        while not self.is_quiet:
            await ann.say(session, f"m{next(numbers)}", self._content)
        await ann.answered()
        await until(lambda: len(bob.heard) >= len(ann.acked))
        await bob.handle()
