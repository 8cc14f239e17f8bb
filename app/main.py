"""The composition root."""

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
from app.contract.contract import Contract
from app.ops.audit import opened
from app.ops.logs import make_logger
from app.ops.tracing import opened_tracing
from app.rest import health
from app.rest.endpoints import endpoints, paths, static_files
from app.rest.responses import json_error, on_exception, on_http_exception, on_refusal, on_unreachable
from app.runtime import Plan, Runtime, running
from app.settings import FILE, MEMORY, STORE_URLS, Settings, SettingsError, read_settings, without_secrets
from app.tables import load_routes
from app.wire import asgi
from app.wire.handshake import HANDOVER
from app.wire.http import ADMISSION, PATHS
from schemas.errors import ErrorCode, EventError
from stores.log import Bounds
from stores.memory.stores import MemoryStores
from stores.protocols import Stores, StoreUnreachableError


def create_app(settings: Settings | None = None, stores: Stores | None = None) -> Starlette:
    """Return the application; settings are read from the environment if not given. Two of them share nothing.

    Raises `SettingsError` for a setting, key or plugin that cannot be used.
    """
    chosen = read_settings() if settings is None else settings
    check_store_url(chosen.store_url)
    routes, tracing = load_routes(chosen.plugins), opened_tracing(chosen)
    traced = routes if tracing is None else tracing.traced(routes)
    plan = Plan(chosen, public_keys(chosen), traced, make_logger(chosen), opened(chosen.audit_log), tracing)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        async with running(plan, app.state.stores or make_stores(plan)) as runtime:
            app.state.runtime = runtime
            yield {ADMISSION: runtime.http_admission, PATHS: paths(chosen, health.probe(runtime))}

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
            EventError: on_refusal,
            StoreUnreachableError: on_unreachable,
            Exception: on_exception,
        },
        lifespan=lifespan,
    )
    app.state.plan, app.state.stores = plan, stores
    app.state.contract = Contract(routes, endpoints(chosen), chosen.ws_path)
    return app


def check_store_url(url: str) -> None:
    """Raise `SettingsError` for a `STORE_URL` that cannot be understood; nothing is connected to."""
    if url == MEMORY:
        return
    try:
        _check_url(url)
    except ValueError as error:
        raise SettingsError(f"STORE_URL is {without_secrets(url)!r} ({error}); it must be {STORE_URLS}") from None


def _check_url(url: str) -> None:
    if url.startswith(FILE):
        from stores.sqlite.schema import parsed  # noqa: PLC0415 - each engine is imported where it is used

        parsed(url)
    else:
        from stores.redis.client import check_url  # noqa: PLC0415 - memory:// starts a third faster

        check_url(url)


def open_file(app: Starlette) -> None:
    """Open the file that `STORE_URL` names, if it does, before anything listens; raises `SettingsError`."""
    if app.state.plan.settings.store_url.startswith(FILE):
        app.state.stores = make_stores(app.state.plan)


def make_stores(plan: Plan) -> Stores:
    """Return the stores that `STORE_URL` names; raises `SettingsError` if that is a file that cannot be used."""
    settings = plan.settings
    bounds = Bounds(settings.replay_events, settings.replay_bytes, settings.replay_total_bytes)
    node = plan.sources.ids("node_")
    if settings.store_url == MEMORY:
        return MemoryStores(bounds, node=node)
    if settings.store_url.startswith(FILE):
        return _file_stores(plan, bounds, node)
    from stores.redis.stores import LIFETIME_SECONDS, RedisStores  # noqa: PLC0415 - as above

    lifetime = settings.resume_grace_seconds + LIFETIME_SECONDS
    return RedisStores(settings.store_url, node, bounds, lease=settings.node_lease_seconds, lifetime=lifetime)


def _file_stores(plan: Plan, bounds: Bounds, node: str) -> Stores:
    from stores.sqlite.schema import UnusableFileError, parsed  # noqa: PLC0415 - as above
    from stores.sqlite.stores import Graces, SqliteStores  # noqa: PLC0415

    settings = plan.settings
    graces = Graces(settings.resume_grace_seconds, settings.session_grace_seconds)
    try:
        return SqliteStores(parsed(settings.store_url), bounds, node, graces, plan.sources.clock.now)
    except UnusableFileError as error:
        raise SettingsError(str(error)) from None


async def _socket(websocket: WebSocket) -> None:
    """Accept a WebSocket that may come in; our own protocol then gives its frames to the gateway, and this ends."""
    runtime: Runtime = websocket.app.state.runtime
    address = runtime.address(websocket.client)
    if not await runtime.delay.wait(address):
        why = "Too many sockets of your address end before they authenticate; try again later"
        await websocket.send_denial_response(json_error(429, "TOO_MANY_CONNECTIONS", why, {"Retry-After": "10"}))
        return
    if runtime.is_draining:
        await websocket.send_denial_response(json_error(503, "DRAINING", "This node stops; connect again"))
        return
    if runtime.is_blind:
        why = "This node has not reached its store yet; connect again"
        await websocket.send_denial_response(json_error(503, ErrorCode.STORE_UNREACHABLE, why))
        return
    refused = runtime.door.refuse(websocket.headers.get("origin"), address)
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
    await websocket.send_denial_response(json_error(404, "NOT_FOUND", f"There is no WebSocket here; open it at {path}"))


async def _no_upgrade(_request: Request) -> Response:
    """Say that the upgrade is missing; most often a proxy in between dropped it."""
    message = (
        "This is a WebSocket: send Connection: Upgrade and Upgrade: websocket, over HTTP/1.1."
        " If your client does, a proxy in between drops these headers; make it pass them on"
    )
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    return json_error(426, "UPGRADE_REQUIRED", message, upgrade)


def _rest(settings: Settings) -> list[Route | Mount]:
    routes = [Route(each.path, each.call, methods=[each.method]) for each in endpoints(settings)]
    return [*routes, *static_files(settings)]


def _proxies(settings: Settings) -> list[Middleware]:
    """Have X-Forwarded-For believed from the trusted: what counts is the rightmost address that is none of them."""
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
