"""Serving by uvicorn."""

import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any

import anyio
import click
import uvicorn
from starlette.applications import Starlette

from app.auth.certificate import certificate
from app.cli.port import ALL_IPV6, bind, try_port
from app.main import create_app, open_file
from app.misspellings import misspellings
from app.ops.logs import make_logger, route_standard_logging
from app.settings import Settings, SettingsError
from app.wire import http
from app.wire.protocol import WebSocketProtocol

SHUTDOWN_SECONDS = 8  # after the drain: the last sockets to answer, and requests to end
FORCED_SECONDS = 1
STEP_SECONDS = 0.1
GARBAGE_THRESHOLD = 50_000
ROOT = Path(__file__).resolve().parents[2]


class Server(uvicorn.Server):
    """A uvicorn server that prints where things are once it listens, and drains before it stops."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(uvicorn.Config(app, **_options(settings)))
        self._app = app
        self._settings = settings
        self._reason = "asked to"

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start listening, then greet. The socket for `::` is our own: the one of asyncio would refuse IPv4."""
        await super().startup([bind(self._settings)] if self._settings.bind_host == ALL_IPV6 else sockets)
        _spare_the_collector()
        if self.started and self._settings.log_format == "console":
            port = next(bound.getsockname()[1] for server in self.servers for bound in server.sockets)
            click.echo(greeting(self._settings, port), err=True)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Drain, then stop. A draining server still listens and answers probes. A second signal ends the drain."""
        drain = self._app.state.runtime.drain(self._reason)
        is_over = False
        while not (is_over or self.force_exit):
            await anyio.sleep(STEP_SECONDS)
            is_over = drain.step()
        await super().shutdown(sockets)
        if self.force_exit:  # then uvicorn does not end the application, which would be cut off with a traceback
            with anyio.move_on_after(FORCED_SECONDS):
                await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Drain at the first signal, and stop at once at the second. Either way, the exit code is 0."""
        self._reason = signal.Signals(sig).name
        self.force_exit = self.should_exit
        self.should_exit = True


def run(settings: Settings, *, reload: bool = False) -> None:
    """Serve until told to stop; raises `SettingsError` before anything listens."""
    _check_port(settings)
    app = create_app(settings)
    certificate(settings)
    route_standard_logging(settings)
    _warn_of_misspellings(settings)
    for library in ("uvicorn", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger(http.LOGGER).setLevel(max(logging.INFO, logging.getLogger().level))
    _allow_many_files()
    open_file(app)
    if reload:
        _close_file(app)  # the reloaded process opens it
        os.environ.update(HOST=settings.bind_host, PORT=str(settings.port))  # the reloaded process reads its own
        click.echo(greeting(settings, settings.port), err=True)
        uvicorn.run("app.main:create_app", factory=True, reload=True, reload_dirs=[str(ROOT)], **_options(settings))
        return
    server = Server(app, settings)
    server.run()
    if not server.started:
        raise SystemExit(1)


def _close_file(app: Starlette) -> None:
    if app.state.stores is not None:
        anyio.run(app.state.stores.close)


def _warn_of_misspellings(settings: Settings) -> None:
    log = make_logger(settings)
    for each in misspellings(os.environ):
        log.warning("unknown setting", name=each.name, probably_meant=each.meant)


def _check_port(settings: Settings) -> None:
    """Raise `SettingsError` for a port that is taken: uvicorn would print several lines, and not what to do."""
    try:
        try_port(settings)
    except OSError as error:
        raise SettingsError(
            f"the server cannot listen on PORT {settings.port} of HOST {settings.bind_host} ({error.strerror});"
            " stop the program that uses it, or set another port, such as PORT=3001"
        ) from None


def _allow_many_files() -> None:
    """Raise the limit of open files, and so of sockets, as far as this process is allowed to."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none, and no such limit

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _spare_the_collector() -> None:
    """Collect garbage less often: most objects are sockets, and hardly any are in reference cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def greeting(settings: Settings, port: int) -> str:
    """Return a few lines that say where things are and how to begin."""
    host = settings.near_host
    s = "s" if settings.has_tls else ""
    page = f"http{s}://{host}:{port}/docs  " if settings.docs == "on" else ""
    console = f"  console  http{s}://{host}:{port}/console\n" if settings.has_console else ""
    return (
        f"PeerSync Dev Connect ({settings.app_env})\n"
        f"  socket   ws{s}://{host}:{port}{settings.ws_path}\n"
        f"  health   http{s}://{host}:{port}/health/live  /health/ready  /metrics\n"
        f"  docs     {page}README.md, docs/\n{console}"
        f"  a token  bin/devtoken ann      two people talking  bin/peer ann, and in another terminal: bin/peer bob"
    )


def _options(settings: Settings) -> dict[str, Any]:
    heartbeat = settings.ws_heartbeat_interval / 1000
    return {
        "host": settings.bind_host,
        "port": settings.port,
        **_tls(settings),
        "http": http.HttpProtocol,
        "ws": _websocket_class(settings),
        "ws_max_size": settings.max_message_bytes,
        "ws_ping_interval": heartbeat,
        "ws_ping_timeout": heartbeat,
        "ws_per_message_deflate": False,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
    }


def _tls(settings: Settings) -> dict[str, Any]:
    if not settings.has_tls:
        return {}
    return {
        "ssl_certfile": settings.tls_cert_path,
        "ssl_keyfile": settings.tls_key_path,
        "loop": "app.cli.loops:TlsLoop",
    }


def _websocket_class(settings: Settings) -> Any:  # noqa: ANN401 - uvicorn takes a name or a class
    return WebSocketProtocol if settings.ws_implementation == "peersync" else settings.ws_implementation
