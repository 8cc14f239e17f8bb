"""Probes and metrics (docs/protocol.md section 6)."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from app.ops.metrics import exposition
from app.rest.answers import json
from app.runtime import Runtime
from schemas.errors import ErrorCode


async def live(_request: Request) -> Response:
    """Answer while the event loop turns."""
    return json({"status": "ok"})


async def ready(request: Request) -> Response:
    """Say whether traffic should come here, and if not, why."""
    runtime: Runtime = request.app.state.runtime
    reasons = await runtime.reasons_not_ready()
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


async def metrics(request: Request) -> Response:
    """Return the metrics as Prometheus reads them."""
    runtime: Runtime = request.app.state.runtime
    return Response(exposition(runtime.collector), headers={"Content-Type": CONTENT_TYPE_LATEST})
