"""Tracing of a real process: what clients get, and what a collector gets (docs/tracing.md)."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import anyio
import anyio.to_thread
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.client import Client, client, until
from tests.support.server import Server, serving
from tests.support.tokens import Keys

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-01"


class Collector(HTTPServer):
    """Takes spans over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def names(self) -> list[str]:
        """The names of the spans."""
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                found += [span.name for scope in resource.scope_spans for span in scope.spans]
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join(10)


async def enter(ann: Client, user: str, capabilities: list[str] | None) -> list[str] | None:
    """Authenticate and register; return the capabilities that the server has."""
    asked = {} if capabilities is None else {"capabilities": capabilities}
    await ann.send("AUTH", token=ann.server.keys.token(user), **asked)
    granted: list[str] | None = (await ann.expect("AUTH_SUCCESS")).get("capabilities")
    await ann.send("PEER_REGISTER")
    await ann.until("PEER_REGISTERED")
    return granted


async def connect(ann: Client, bob: Client) -> str:
    await ann.send("CONNECTION_REQUEST", targetId="bob")
    request = await bob.until("CONNECTION_REQUEST_RECEIVED")
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    session_id: str = (await ann.until("CONNECTION_ACCEPTED"))["sessionId"]
    return session_id


async def said(server: Server, capabilities: list[str] | None) -> tuple[list[str] | None, dict[str, object]]:
    """Say something within a trace; return what bob, who asks for these capabilities, is granted and receives."""
    async with client(server) as ann, client(server) as bob:
        await enter(ann, "ann", None)
        granted = await enter(bob, "bob", capabilities)
        session_id = await connect(ann, bob)
        await ann.send("SEND_MESSAGE", sessionId=session_id, content="a secret", traceparent=GIVEN)
        return granted, await bob.until("MESSAGE_RECEIVED")


async def test_on(keys: Keys, tmp_path: Path) -> None:
    """Who asks for `trace` gets it with the message, nobody else; the collector gets spans, and no content."""
    with collecting() as collector:
        environment = {
            "otel_exporter_otlp_endpoint": f"http://127.0.0.1:{collector.server_port}",
            "otel_resource_attributes": "deployment.environment=a test",
        }
        with serving(keys, tmp_path, tracing="on", **environment) as server:
            granted, message = await said(server, ["trace", "acks"])
            assert granted == ["acks", "trace"]
            assert str(message["traceparent"]).startswith(f"00-{TRACE}-")
            assert message["traceparent"] != GIVEN
            for capabilities in (None, ["acks"]):
                assert "traceparent" not in (await said(server, capabilities))[1]
            server.process.terminate()
            await until(lambda: server.process.poll() is not None)
        assert {"AUTH", "PEER_REGISTER", "CONNECTION_REQUEST", "SEND_MESSAGE"} <= set(collector.names)
        assert collector.names.count("SEND_MESSAGE") == 3
        everything = b"".join(collector.bodies)
    assert b"a test" in everything
    assert b"peersync" in everything
    assert b"a secret" not in everything
    assert server.log.read_text() == ""


async def test_a_collector_that_does_not_answer(keys: Keys, tmp_path: Path) -> None:
    """The process ends before OpenTelemetry would give up, which takes ten seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serving(keys, tmp_path, tracing="on", log_level="info", otel_exporter_otlp_endpoint=endpoint) as server:
            await said(server, ["trace"])
            server.process.terminate()
            await anyio.to_thread.run_sync(server.process.wait, 30)
    log = server.log.read_text()
    assert server.process.returncode == 0
    assert '"stopped"' in log
    assert "Failed to export" not in log
    assert "Traceback" not in log


async def test_off(servers: dict[str, Server]) -> None:
    """While it is off nobody is granted `trace`, and no message carries one."""
    granted, message = await said(servers["peersync"], ["trace"])
    assert granted == []
    assert "traceparent" not in message
