"""A network between a client and a server that can be cut."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup

Broken = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class Proxy:
    """Passes on what comes in either direction, until it is cut; then it refuses connections, until it is mended."""

    def __init__(self, tasks: TaskGroup, to_port: int) -> None:
        self._tasks = tasks
        self._to_port = to_port
        self._streams: list[ByteStream] = []
        self._is_cut = False
        self._is_mute = False
        self._unanswered, self._times = b"", 0
        self.lost = 0
        self._word = self._awaited = b""
        self._released = anyio.Event()
        self._thawed = anyio.Event()
        self._thawed.set()
        self.is_holding = False
        self.port = 0

    async def cut(self) -> None:
        """End all connections without a word."""
        self._is_cut = True
        for stream in self._streams:
            await anyio.aclose_forcefully(stream)
        self._streams.clear()

    async def cut_one(self, number: int) -> None:
        """End one of the connections, if there are any, without a word."""
        if self._streams:
            await anyio.aclose_forcefully(self._streams.pop(number % len(self._streams)))

    def freeze(self) -> None:
        """Keep back all that is said in either direction until it thaws."""
        self._thawed = anyio.Event()

    def thaw(self) -> None:
        """Let through what was kept back."""
        self._thawed.set()

    def mute(self) -> None:
        """Swallow what the server says from now on."""
        self._is_mute = True

    def lose_answers(self, to: bytes, times: int) -> None:
        """So many times let through what has this in it, and end the connection once it is answered."""
        self._unanswered, self._times = to, times

    def hold(self, word: bytes) -> None:
        """Keep back what a client says with this word in it, and what it says after it, until it is released."""
        self._word, self._released = word, anyio.Event()

    def hold_answers(self, to: bytes) -> None:
        """Keep back what the server says over a connection once a client said something with this in it."""
        self._awaited, self._released = to, anyio.Event()

    def release(self) -> None:
        """Let through what was held."""
        self._word, self._awaited, self.is_holding = b"", b"", False
        self._released.set()

    def lead_to(self, port: int) -> None:
        """Pass new connections on to another port."""
        self._to_port = port

    def mend(self) -> None:
        """Let everything through again."""
        self._is_cut = self._is_mute = False

    async def serve(self, client: ByteStream) -> None:
        """Pass on one connection."""
        try:
            await self._serve(client)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(client)

    async def _serve(self, client: ByteStream) -> None:
        try:
            server = None if self._is_cut else await anyio.connect_tcp("127.0.0.1", self._to_port)
        except OSError:
            server = None
        if server is not None:
            self._streams += [client, server]
            is_over, is_held = anyio.Event(), anyio.Event()
            self._tasks.start_soon(_copy, client, server, partial(self._said, is_over, is_held))
            await _copy(server, client, partial(self._answered, is_over, is_held))

    async def _said(self, is_over: anyio.Event, is_held: anyio.Event, data: bytes) -> bytes:
        await self._thawed.wait()
        if self._word and self._word in data:
            self.is_holding = True
            await self._released.wait()
        if self._times and self._unanswered in data:
            self._times -= 1
            self.lost += 1
            is_over.set()
        if self._awaited and self._awaited in data:
            is_held.set()
        return data

    async def _answered(self, is_over: anyio.Event, is_held: anyio.Event, data: bytes) -> bytes:
        await self._thawed.wait()
        if is_held.is_set():
            await self._released.wait()
        if is_over.is_set():
            raise anyio.EndOfStream
        return b"" if self._is_mute else data


@asynccontextmanager
async def proxy(to_port: int) -> AsyncIterator[Proxy]:
    """Listen on a port of this machine and pass on to another one."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        made = Proxy(tasks, to_port)
        made.port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(listener.serve, made.serve)
        yield made
        tasks.cancel_scope.cancel()  # which closes all; to cut them before would bring new ones just when it ends


async def _copy(source: ByteStream, target: ByteStream, passing: Callable[[bytes], Awaitable[bytes]]) -> None:
    try:
        with suppress(*Broken):
            async for data in source:
                await target.send(await passing(data))
    finally:
        with anyio.CancelScope(shield=True), suppress(*Broken):
            await anyio.aclose_forcefully(target)
