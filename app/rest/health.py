"""Health probes and metrics (docs/protocol.md section 6)."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.compose.runtime import Runtime
from app.rest.responses import json
from schemas.errors import ErrorCode


async def live(_request: Request) -> Response:
    """Return 200 as long as the event loop runs."""
    return _live()


async def ready(request: Request) -> Response:
    """Return whether this node is ready for traffic, and if not, why."""
    return await _ready(request.app.state.runtime)


async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus's text format, at most a second old."""
    runtime: Runtime = request.app.state.runtime
    return Response(await runtime.exposition.get(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def probe(runtime: Runtime) -> ASGIApp:
    """Return an ASGI application that answers only probes, without routing or middleware."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _ready(runtime) if scope["path"].endswith("/ready") else _live()
        await response(scope, receive, send)

    return answer


def _live() -> Response:
    return json({"status": "ok"})


async def _ready(runtime: Runtime) -> Response:
    reasons = await runtime.readiness.reasons()
    if not reasons:
        return json({"status": "ready"})
    message = "; ".join(reasons)
    return json(
        {
            "status": "unavailable",
            "reasons": reasons,
            "code": ErrorCode.STORE_UNREACHABLE,
            "message": message,
        },
        503,
    )
