"""The composition root: creates the ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import origins
from app.admission.addresses import as_seen
from app.auth.keys import public_keys
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.compose.stores import check_store_url, make_stores
from app.contract.contract import Contract
from app.ops.audit import open_audit_log
from app.ops.logs import make_logger
from app.ops.tracing import make_tracing
from app.rest import health
from app.rest.endpoints import endpoints, paths, static_files
from app.rest.responses import json_error, on_event_error, on_exception, on_http_exception, on_store_unreachable
from app.settings import FILE, Settings, read_settings
from app.tables import load_routes
from app.wire import asgi
from app.wire.handshake import HANDOVER
from app.wire.http import ADMISSION, PATHS
from schemas.errors import ErrorCode, EventError
from stores.protocols import Stores, StoreUnreachableError


def create_app(settings: Settings | None = None, stores: Stores | None = None) -> Starlette:
    """Return the application; reads the settings from the environment unless given. Applications share no state.

    Raises `SettingsError` for an unusable setting, key or plugin.
    """
    chosen = read_settings() if settings is None else settings
    check_store_url(chosen.store_url)
    routes, tracing = load_routes(chosen.plugins), make_tracing(chosen)
    traced = routes if tracing is None else tracing.traced(routes)
    plan = Plan(chosen, public_keys(chosen), traced, make_logger(chosen), open_audit_log(chosen.audit_log), tracing)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        async with running(plan, app.state.stores or make_stores(plan)) as runtime:
            app.state.runtime = runtime
            yield {ADMISSION: runtime.admission.http, PATHS: paths(chosen, health.probe(runtime))}

    app = Starlette(
        routes=[
            *_rest(chosen),
            Route(chosen.ws_path, _no_upgrade),
            WebSocketRoute(chosen.ws_path, _socket),
            WebSocketRoute("/{path:path}", _no_socket),
        ],
        middleware=[*_proxies(chosen), *_cors(chosen)],
        exception_handlers={
            HTTPException: on_http_exception,
            EventError: on_event_error,
            StoreUnreachableError: on_store_unreachable,
            Exception: on_exception,
        },
        lifespan=lifespan,
    )
    app.state.plan, app.state.stores = plan, stores
    app.state.contract = Contract(routes, endpoints(chosen), chosen.ws_path)
    return app


def open_file(app: Starlette) -> None:
    """Open the file if `STORE_URL` names one; call this before listening. Raises `SettingsError` if it is unusable."""
    if app.state.plan.settings.store_url.startswith(FILE):
        app.state.stores = make_stores(app.state.plan)


async def _socket(websocket: WebSocket) -> None:
    """Accept or reject an upgrade; with our own protocol class, hand the connection to the gateway and return."""
    runtime: Runtime = websocket.app.state.runtime
    address = runtime.address(websocket.client)
    if not await runtime.admission.delay.wait(address):
        why = "Too many sockets from your address close before they authenticate; try again later"
        await websocket.send_denial_response(json_error(429, "TOO_MANY_CONNECTIONS", why, {"Retry-After": "10"}))
        return
    if runtime.readiness.is_draining:
        await websocket.send_denial_response(json_error(503, "DRAINING", "Node is shutting down; reconnect"))
        return
    if not runtime.shared_state.is_known:
        why = "Node has not reached its store yet; reconnect"
        await websocket.send_denial_response(json_error(503, ErrorCode.STORE_UNREACHABLE, why))
        return
    refused = runtime.admission.upgrades.refuse(websocket.headers.get("origin"), address)
    if refused is not None:
        again = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
        await websocket.send_denial_response(json_error(refused.status, refused.code, refused.message, again))
        return
    await websocket.accept()
    handover = websocket.scope.get("extensions", {}).get(HANDOVER)
    if handover is None:
        await asgi.serve(websocket, runtime.gateway.open, address)
    else:
        handover["open"](runtime.gateway.open, address)


async def _no_socket(websocket: WebSocket) -> None:
    path = websocket.app.state.runtime.settings.ws_path
    await websocket.send_denial_response(json_error(404, "NOT_FOUND", f"There is no WebSocket here; connect to {path}"))


async def _no_upgrade(_request: Request) -> Response:
    """Respond to a request without an upgrade; most often a proxy has dropped the headers."""
    message = (
        "This is a WebSocket: send Connection: Upgrade and Upgrade: websocket over HTTP/1.1."
        " If your client does, a proxy drops these headers; configure it to forward them"
    )
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    return json_error(426, "UPGRADE_REQUIRED", message, upgrade)


def _rest(settings: Settings) -> list[Route | Mount]:
    routes = [Route(each.path, each.call, methods=[each.method]) for each in endpoints(settings)]
    return [*routes, *static_files(settings)]


def _proxies(settings: Settings) -> list[Middleware]:
    """Accept X-Forwarded-For from trusted proxies: the rightmost untrusted address is the client's."""
    trusted = as_seen(settings.trusted_proxies)
    return [Middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)] if trusted else []


def _cors(settings: Settings) -> list[Middleware]:
    allowed = origins.parsed(settings.cors_origin)
    if not allowed:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=[origins.ANY] if origins.ANY in allowed else [],
            allow_origin_regex=origins.matcher(allowed).pattern,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
        )
    ]
