"""An echo server over our WebSocket protocol, for the Autobahn cases: `python -m tests.support.echo PORT`."""

import asyncio
import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from app.wire.frames import BINARY, FIN
from app.wire.handshake import HANDOVER
from app.wire.protocol import WebSocketProtocol

LIMIT = 32 * 2**20


class EchoOutbox:
    """Holds nothing back."""

    is_congested = False

    def congest(self) -> None:
        """Nothing to do."""

    def relieve(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Nothing to do."""


class EchoConnection:
    """Sends each message back."""

    def __init__(self, transport: WebSocketProtocol) -> None:
        self.transport = transport
        self.outbox = EchoOutbox()
        self.max_bytes = LIMIT
        self.bytes_per_second = 2**40
        self.was_heard = True
        self.is_open = True
        self.is_stranger = False

    def receive(self, frame: bytes) -> None:
        """Echo text, once all that was read is taken, as an outbox does."""
        asyncio.get_running_loop().call_soon(self.transport.write, [frame])

    def ponged(self) -> None:
        """Take no note of pongs."""

    def receive_binary(self, frame: bytes) -> None:
        """Echo binary, which the service itself never sends."""
        length = len(frame)
        if length < 126:
            head = bytes((FIN | BINARY, length))
        elif length < 2**16:
            head = bytes((FIN | BINARY, 126)) + length.to_bytes(2, "big")
        else:
            head = bytes((FIN | BINARY, 127)) + length.to_bytes(8, "big")
        asyncio.get_running_loop().call_soon(self.transport._write_raw, head + frame)

    def charge_frames(self, count: int) -> None:
        """Charge nothing."""

    def violated(self, code: int, reason: str) -> None:
        """Close."""
        asyncio.get_running_loop().call_soon(self.transport.close, code, reason)

    def closed(self, code: int) -> None:
        """Answer a close."""
        asyncio.get_running_loop().call_soon(self.transport.close, code, "")

    def close(self, code: int, reason: str) -> None:
        """Close."""
        self.transport.close(code, reason)


class EchoGateway:
    """Opens echo connections."""

    def open(self, transport: WebSocketProtocol, address: bytes) -> EchoConnection:
        """Return a new one."""
        return EchoConnection(transport)


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.scope["extensions"][HANDOVER]["open"](EchoGateway().open)


def main(port: int) -> None:
    """Serve echoes on 127.0.0.1."""
    app: Any = Starlette(routes=[WebSocketRoute("/", _echo)])
    uvicorn.run(app, host="127.0.0.1", port=port, ws=WebSocketProtocol, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main(int(sys.argv[1]))
