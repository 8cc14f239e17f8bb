"""The peers of a load run: pairs of sockets that talk, one way, as fast as the other side receives."""

from collections import Counter
from collections.abc import Callable, Sequence
from ssl import SSLContext
from time import perf_counter_ns

import anyio
import msgspec
from msgspec import Raw, Struct
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from peersync.frames import encode
from peersync.resumption import HANDLED_AT_ONCE
from schemas.errors import CloseCode
from tests.load.bench.latency import Histogram
from tests.load.bench.report import Plan, closing, refusal

PATIENCE = 20.0
STAMP_DIGITS = 20
_CLOSE_CODE_BYTES = 2


class Data(Struct, frozen=True, rename="camel", gc=False):
    """What a peer of ours looks at in the data of any event."""

    id: str = ""
    request_id: str = ""
    session_id: str = ""
    content: Raw = Raw(b"")
    code: str = ""
    message: str = ""


class Event(Struct, frozen=True, gc=False):
    """An event of the server."""

    event: str
    data: Data
    offset: int = 0


_decode = msgspec.json.Decoder(Event).decode


class Load:
    """What all pairs share: what they send, what is counted, and the first reason to give up."""

    def __init__(self, plan: Plan, give_up: Callable[[], None], tls: SSLContext | None = None) -> None:
        self.tls = tls
        self.window = plan.window
        self.padding = b"x" * (plan.size - STAMP_DIGITS)
        self.capabilities = list(plan.capabilities) or None
        self.asks_for_acks = "acks" in plan.capabilities
        self.latencies = Histogram()
        self.connected = 0
        self.in_flight = 0
        self.closed: Counter[int] = Counter()
        self.has_begun = False
        self.is_sending = False
        self.is_leaving = False
        self.has_drained = anyio.Event()
        self.failure: str | None = None
        self._give_up = give_up

    def fail(self, reason: str) -> None:
        """End the run; of several reasons the first is told."""
        if self.failure is None and not self.is_leaving:
            self.failure = reason
            self._give_up()


class Pair:
    """Two peers with a session: ann sends, bob receives."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._ann = Peer(self, load)
        self._bob = Peer(self, load)
        self._head = b""
        self._tail = load.padding + (b'","messageId":"%020d"}}' if load.asks_for_acks else b'"}}')
        self._in_flight = 0
        self._is_over = False

    async def connect(self, urls: Sequence[str], tokens: tuple[str, str], source: tuple[str, int] | None) -> None:
        """Take both as far as a session, ann by the first URL and bob by the last.

        Raises `OSError` or `picows.WSError`.
        """
        await self._ann.introduce(urls[0], tokens[0], source)
        target = await self._bob.introduce(urls[-1], tokens[1], source)
        asked = self._bob.expect("CONNECTION_REQUEST_RECEIVED")
        accepted = self._ann.expect("CONNECTION_ACCEPTED")
        self._ann.send(_frame("CONNECTION_REQUEST", targetId=target))
        request = await asked.wait()
        self._bob.send(_frame("CONNECTION_RESPONSE", requestId=request.request_id, accepted=True))
        session = (await accepted.wait()).session_id
        self._head = b'{"event":"SEND_MESSAGE","data":{"sessionId":%s,"content":"' % msgspec.json.encode(session)

    def fill(self) -> None:
        """Put as many messages on their way as may be."""
        for _ in range(self._load.window):
            self._send()

    def received(self, sent_at: int) -> None:
        """Count a message that arrived, and send the next."""
        if self._is_over:
            return
        load = self._load
        load.latencies.record(perf_counter_ns() - sent_at)
        self._in_flight -= 1
        load.in_flight -= 1
        if load.is_sending:
            self._send()
        elif not load.in_flight:
            load.has_drained.set()

    def refused(self, event: Event) -> None:
        """Give up, unless it is but the echo of a lost socket."""
        if not self._is_over:
            is_token = event.event == "AUTH_FAILED"
            self._load.fail(refusal(event.data.code, event.data.message, is_token=is_token))

    def closed(self, code: int) -> None:
        """Go on without this pair if it had begun to talk; what it has in flight is lost with it."""
        load = self._load
        if load.is_leaving:
            return
        load.closed[code] += 1
        self._is_over = True
        load.in_flight -= self._in_flight
        self._in_flight = 0
        if not load.has_begun or not load.connected:
            load.fail(closing(load.closed))

    async def leave(self) -> None:
        """Close both sockets, as a client that leaves does."""
        await self._ann.leave()
        await self._bob.leave()

    def _send(self) -> None:
        if self._is_over:
            return
        self._in_flight += 1
        self._load.in_flight += 1
        stamp = perf_counter_ns()
        tail = self._tail % stamp if self._load.asks_for_acks else self._tail
        self._ann.send(b"%b%020d%b" % (self._head, stamp, tail))


class Answer:
    """An event that is waited for."""

    def __init__(self, event: str) -> None:
        self.event = event
        self._has_come = anyio.Event()
        self._data = Data()

    def set(self, data: Data) -> None:
        """Say that it came."""
        self._data = data
        self._has_come.set()

    async def wait(self) -> Data:
        """Return its data; raises `TimeoutError`."""
        with anyio.move_on_after(PATIENCE):
            await self._has_come.wait()
            return self._data
        raise TimeoutError(f"the server sent no {self.event} within {PATIENCE:.0f} seconds")


class Peer(WSListener):
    """One socket."""

    def __init__(self, pair: Pair, load: Load) -> None:
        self._pair = pair
        self._load = load
        self._transport: WSTransport | None = None
        self._expected: Answer | None = None
        self._close_code: int = CloseCode.ABNORMAL

    async def introduce(self, url: str, token: str, source: tuple[str, int] | None) -> str:
        """Connect, authenticate and register; return the id that the server knows the user by.

        The peer is hidden, so that people who use the server meanwhile are told nothing of it.
        """
        await ws_connect(
            lambda: self,
            url,
            ssl_context=self._load.tls,
            websocket_handshake_timeout=PATIENCE,
            max_redirects=0,
            local_addr=source,
        )
        await self._ask("AUTH_SUCCESS", _frame("AUTH", token=token, capabilities=self._load.capabilities))
        return (await self._ask("PEER_REGISTERED", _frame("PEER_REGISTER", visibility="hidden"))).id

    def expect(self, event: str) -> Answer:
        """Look out for an event."""
        self._expected = Answer(event)
        return self._expected

    def send(self, message: bytes) -> None:
        """Send a text frame."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, message)

    async def leave(self) -> None:
        """Close the socket if it is open."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()
            await self._transport.wait_disconnected()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take note of the socket."""
        self._transport = transport
        self._load.connected += 1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take what comes; pings are answered by picows."""
        if frame.msg_type == WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            self._close_code = int.from_bytes(payload[:_CLOSE_CODE_BYTES], "big") or CloseCode.NO_STATUS
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        try:
            event = _decode(frame.get_payload_as_memoryview())
            if event.event == "MESSAGE_RECEIVED":
                self._pair.received(int(bytes(memoryview(event.data.content)[1 : 1 + STAMP_DIGITS])))
                if event.offset and event.offset % HANDLED_AT_ONCE == 0:
                    self.send(_frame("PING", offset=event.offset))
                return
        except (msgspec.MsgspecError, ValueError) as error:
            self._load.fail(f"the server sent a frame that cannot be decoded: {error}")
            return
        self._take(event)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell that the socket is closed."""
        self._transport = None
        self._load.connected -= 1
        self._pair.closed(self._close_code)

    def _take(self, event: Event) -> None:
        if self._expected is not None and event.event == self._expected.event:
            self._expected.set(event.data)
            self._expected = None
        elif event.event in {"ERROR", "AUTH_FAILED"}:
            self._pair.refused(event)
        elif event.event == "CONNECTION_REJECTED":
            self._load.fail("the server ended a connection request before the peer answered it")

    async def _ask(self, answer: str, question: bytes) -> Data:
        expected = self.expect(answer)
        self.send(question)
        return await expected.wait()


def _frame(event: str, **data: object) -> bytes:
    return encode(event, data).encode()
