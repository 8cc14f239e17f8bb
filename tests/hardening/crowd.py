"""Many clients at once, each as cheap as may be."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.support.server import Server

PATIENCE = 60.0
KIB_A_MIB = 1024


class ClosedError(Exception):
    """The socket closed with this code; 1006 if it was cut."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Peer(WSListener):
    """One socket. `linger` is how many seconds after the server's close frame it closes; None: it never does."""

    def __init__(self, linger: float | None = 0) -> None:
        self._linger = linger
        self._transport: WSTransport | None = None
        self._awaited: dict[str, asyncio.Future[Any]] = {}
        self._code = 1006
        self.seen: Counter[str] = Counter()
        self.is_gone = anyio.Event()

    @property
    def code(self) -> int:
        """What the server closed with; 1006 if it has not."""
        return self._code

    async def connect(self, url: str, source: str = "127.0.0.1") -> "Peer":
        """Connect from this address of the loopback network; raises `OSError` or `picows.WSError`."""
        await ws_connect(
            lambda: self,
            url,
            websocket_handshake_timeout=PATIENCE,
            max_redirects=0,
            use_aiofastnet=False,  # whose transports cannot be paused
            local_addr=(source, 0),
        )
        return self

    async def join(self, token: str) -> None:
        """Authenticate and register."""
        await self.ask("AUTH_SUCCESS", "AUTH", token=token)
        await self.ask("PEER_REGISTERED", "PEER_REGISTER")

    async def ask(self, answer: str, event: str, **data: object) -> Any:
        """Send an event and return the data of this answer; raises `ClosedError`."""
        coming = self.expect(answer)
        self.send(event, **data)
        return await self.received(coming)

    def expect(self, *events: str) -> asyncio.Future[Any]:
        """Return what will be the data of the next of these events."""
        coming = asyncio.get_running_loop().create_future()
        self._awaited.update(dict.fromkeys(events, coming))
        if self.is_gone.is_set():
            coming.set_exception(ClosedError(self._code))
        return coming

    async def received(self, coming: asyncio.Future[Any]) -> Any:
        """Wait for what is expected."""
        with anyio.fail_after(PATIENCE):
            return await coming

    def send(self, event: str, **data: object) -> None:
        """Send an event."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, json.dumps({"event": event, "data": data}).encode())

    async def leave(self) -> None:
        """Say goodbye, and wait until the server has closed."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            with anyio.fail_after(PATIENCE):
                await self.is_gone.wait()

    def cut(self) -> None:
        """Lose the connection."""
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    def stop_reading(self) -> None:
        """Hang."""
        if self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.underlying_transport.resume_reading()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take note of the socket."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take what comes."""
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.CLOSE:
            self._code = int.from_bytes(payload[:2], "big") or 1005
            if self._linger is not None:
                asyncio.get_running_loop().call_later(self._linger, self._close)
            return
        event = json.loads(payload)
        self.seen[event["event"]] += 1
        self.took(event)
        coming = self._awaited.pop(event["event"], None)
        if coming is not None and not coming.done():
            coming.set_result(event["data"])

    def took(self, event: Any) -> None:
        """Do nothing more about an event; others may."""

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell whoever waits."""
        self._transport = None
        for coming in self._awaited.values():
            if not coming.done():
                coming.set_exception(ClosedError(self._code))
                coming.exception()  # nobody may be waiting any more
        self.is_gone.set()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()


async def all_of(work: Callable[[int], Awaitable[None]], count: int, at_once: int) -> None:
    """Do `work` for each number below `count`, so many at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with anyio.create_task_group() as tasks:
        for _ in range(min(count, at_once)):
            tasks.start_soon(worker)


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Look again and again until something is so."""
    with anyio.fail_after(seconds):
        while not is_so():  # noqa: ASYNC110 - another process says so
            await anyio.sleep(0.1)


def loopback(number: int) -> str:
    """Return one of many addresses of this machine, so that ports do not run out."""
    return f"127.0.{number // 200 % 200}.{number % 200 + 1}"


def metric(server: Server, name: str) -> float:
    """Return a sample of /metrics."""
    match = re.search(rf"^{re.escape(name)} (\S+)$", metrics(server), re.MULTILINE)
    assert match, name
    return float(match[1])


def metrics(server: Server) -> str:
    """Return /metrics."""
    return server.metrics()


def registries(server: Server) -> dict[str, float]:
    """Return the tables of the server that are not empty, but for the connection that asks."""
    found = re.findall(r'^peersync_registry_entries\{registry="(\w+)"\} (\S+)$', metrics(server), re.MULTILINE)
    entries = {name: float(count) for name, count in found}
    assert len(entries) > 10
    entries["http"] -= 1
    return {name: count for name, count in entries.items() if count}


def resident_mib(server: Server, *, peak: bool = False) -> float:
    """Return the server's resident memory, or the most that it ever was."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    match = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB$", status, re.MULTILINE)
    assert match
    return int(match[1]) / KIB_A_MIB


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which this share is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


REFUSED = (OSError, WSError, ClosedError)
