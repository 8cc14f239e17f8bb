"""The lifespan: starts and ends an application's background work."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from structlog.typing import FilteringBoundLogger

from app import VERSION
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.settings import without_secrets
from stores.protocols import Stores

RETRY_SECONDS = 0.5


@asynccontextmanager
async def running(plan: Plan, stores: Stores) -> AsyncIterator[Runtime]:
    """Run an application's background work until the context exits."""
    async with anyio.create_task_group() as tasks:
        runtime = Runtime(plan, stores, tasks)
        started = anyio.Event()
        tasks.start_soon(_keep_running, stores, started.set, plan.log)
        await started.wait()
        runtime.shared_state.follow()
        issuer = runtime.tokens.issuer
        for work in (
            runtime.delivery.presence.run,
            runtime.local_timer.run,
            runtime.store_timer.run,
            runtime.tokens.key_file.run,
            runtime.audit.run,
            *([] if issuer is None else [issuer.run]),
        ):
            tasks.start_soon(work)
        _log_start(plan)
        yield runtime
        runtime.readiness.is_draining = True
        summary = runtime.stop_summary()
        tasks.cancel_scope.cancel()
    if issuer is not None:
        await issuer.close()
    await stores.close()
    await runtime.audit.flush()
    if plan.tracing is not None:
        await plan.tracing.close()
    plan.log.info("stopped", version=VERSION, **summary)


def _log_start(plan: Plan) -> None:
    settings = plan.settings
    plan.log.info(
        "started",
        version=VERSION,
        address=settings.bind_address,
        tls=settings.has_tls,
        ws_path=settings.ws_path,
        environment=settings.app_env,
        store=without_secrets(settings.store_url),
        keys=[key.thumbprint() for key in plan.keys],
        jwks_url=settings.jwt_jwks_url or None,
        issuer=settings.jwt_issuer,
        dev_tokens=settings.hands_out_dev_tokens,
        admin=settings.admin == "on",
        audit_log=settings.audit_log or None,
        tracing=settings.tracing == "on",
        plugins=list(settings.plugins),
        max_connections=settings.max_connections,
        trusted_proxies=list(settings.trusted_proxies),
    )


async def _keep_running(stores: Stores, started: Callable[[], None], log: FilteringBoundLogger) -> None:
    """Run the stores' work; restart it if a bug makes it fail, because a node cannot serve without it."""
    while True:
        try:
            await stores.run(started)
        except Exception:
            log.exception("store work failed")
            await anyio.sleep(RETRY_SECONDS)
        else:
            return
