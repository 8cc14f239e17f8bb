"""The runtime: all parts of one application that exist while it serves."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from anyio import to_thread
from anyio.abc import TaskGroup
from msgspec import Struct
from starlette.datastructures import Address

from app import VERSION
from app.admission.admission import Admission
from app.admission.limiter import Rate
from app.auth.keys import private_key
from app.cached import CachedValue
from app.compose.background import Background
from app.compose.delivery import DeliveryParts
from app.compose.plan import Plan
from app.compose.readiness import Readiness
from app.compose.shared_state import SharedState
from app.compose.timers import LocalTimer, StoreTimer
from app.compose.tokens import TokenParts
from app.delivery.listener import NodeListener
from app.gateway.connection import Connection
from app.gateway.dispatch import Dispatcher
from app.gateway.drain import Drain
from app.gateway.expiry import Expiry
from app.gateway.gateway import Gateway, GatewayParts
from app.gateway.host import ConnectionLimits
from app.ops.audit import AuditLog, NoAudit
from app.ops.metrics import Parts, ServiceCollector, exposition
from app.ops.store_timings import StoreTimings, TimedStores
from app.settings import Settings
from handlers.domain import disconnects
from handlers.events import connections as requests
from handlers.ports import Limits, Services
from schemas.capabilities import CAPABILITIES
from stores.model import User
from stores.protocols import Stores

REQUEST_SECONDS = 30.0
RECONCILE_SECONDS = 1.0
METRICS_SECONDS = 1.0
KEY_SECONDS = 1.0


class Stop(Struct, frozen=True):
    """Why the node stops, when that began (monotonic seconds), and how many sockets had closed before."""

    reason: str
    began: float
    closed_before: int


class Runtime:
    """One application's parts. Background work runs in the task group `tasks` and ends with it."""

    def __init__(self, plan: Plan, stores: Stores, tasks: TaskGroup) -> None:
        self.plan = plan
        self.settings = plan.settings
        self.log = plan.log
        self.stores = stores
        self.background = Background(tasks, plan.log)
        self._monotonic = plan.sources.monotonic
        self._stop: Stop | None = None
        connections: dict[int, Connection] = {}
        self.admission = Admission(self.settings, connections, plan.log, self._monotonic)
        self.shared_state = SharedState(stores, plan.sources.clock, self.admission.addresses)
        self.store_timings = StoreTimings(time.perf_counter)
        timed = TimedStores(stores, self.store_timings)
        self.tokens = TokenParts(plan, timed.revocations)
        self.delivery = DeliveryParts(plan, stores, connections, self._overflow)
        self.audit = NoAudit() if plan.audit is None else AuditLog(plan.audit, plan.log)
        self.services = self._make_services(timed)
        self.dispatcher = Dispatcher(
            plan.routes, plan.log, self.admission.rejections.note, is_tracing=self.settings.log_level == "debug"
        )
        self.gateway = self._make_gateway(connections)
        self.nodes = NodeListener(
            connections,
            self.delivery.hub,
            self.delivery.presence,
            self.services,
            spawn=self.background.spawn,
            recheck=self.gateway.recheck_tokens,
        )
        stores.listener = self.nodes
        self._reconciled_at = self._monotonic()
        self._orphaned_members = disconnects.OrphanedMembers(self.services, self._monotonic)
        self.local_timer = LocalTimer(self._local_duties(), self.background)
        self.store_timer = StoreTimer(self._store_calls(), self.background, plan.log)
        self.readiness = Readiness(stores, self.tokens.issuer, self._monotonic)
        self.collector = self._make_collector()
        self.exposition = CachedValue(lambda: exposition(self.collector), METRICS_SECONDS, self._monotonic)
        self.signing_key = CachedValue(
            partial(to_thread.run_sync, private_key, self.settings), KEY_SECONDS, self._monotonic
        )

    def drain(self, reason: str) -> Drain:
        """Accept no new sockets from now on, and log the reason; return the drain that closes the open ones."""
        self.readiness.is_draining = True
        self._stop = Stop(reason, self._monotonic(), self.gateway.closed.total())
        self.log.info("draining", reason=reason, sockets=len(self.gateway.connections))
        return self.gateway.drain(self.settings.drain_seconds)

    def stop_summary(self) -> dict[str, object]:
        """Return the values of the `stopped` log line: the reason, the sockets closed and cut, and the duration."""
        stop = self._stop
        if stop is None:  # there was no drain
            return {"reason": None, "sockets_cut": len(self.gateway.connections)}
        return {
            "reason": stop.reason,
            "sockets_closed": self.gateway.closed.total() - stop.closed_before,
            "sockets_cut": len(self.gateway.connections),
            "seconds": round(self._monotonic() - stop.began, 3),
        }

    def address(self, client: Address | None) -> bytes:
        """Return the salted hash of a client's address."""
        return self.admission.addresses.hashed(client.host if client else "")

    def _make_services(self, stores: Stores) -> Services:
        plan = self.plan
        return Services(
            stores=stores,
            delivery=self.delivery.hub,
            tokens=self.tokens.verifier,
            auth_throttle=self.admission.auth_throttle,
            logins=self.admission.logins,
            audit=self.audit,
            clock=plan.sources.clock,
            ids=plan.sources.ids,
            limits=_limits(plan.settings),
            version=VERSION,
            capabilities=tuple(each for each in CAPABILITIES if each != "trace" or plan.tracing is not None),
        )

    def _make_gateway(self, connections: dict[int, Connection]) -> Gateway:
        settings, delivery = self.settings, self.delivery
        clock = self.plan.sources.clock
        parts = GatewayParts(
            services=self.services,
            admission=self.admission,
            dispatcher=self.dispatcher,
            hub=delivery.hub,
            resumption=delivery.resumption,
            write_scheduler=delivery.write_scheduler,
            connections=connections,
            expiry=Expiry(connections, settings.token_expiry, settings.token_leeway_seconds, clock),
            log=self.log,
        )
        limits = ConnectionLimits(
            rate=Rate(settings.rate_limit_events_per_second, settings.rate_limit_burst),
            outbox_bytes=settings.outbox_bytes,
            max_message_bytes=settings.max_message_bytes,
            bytes_per_second=settings.rate_limit_bytes_per_second,
            max_unauthenticated=settings.max_unauthenticated,
            heartbeat_seconds=settings.ws_heartbeat_interval / 1000,
        )
        return Gateway(parts, limits, monotonic=self._monotonic, spawn=self.background.spawn)

    def _make_collector(self) -> ServiceCollector:
        return ServiceCollector(
            Parts(
                gateway=self.gateway,
                admission=self.admission,
                dispatcher=self.dispatcher,
                hub=self.delivery.hub,
                resumption=self.delivery.resumption,
                engine=self.stores,
                write_scheduler=self.delivery.write_scheduler,
                presence=self.delivery.presence,
                stores=self.store_timings,
                audit=self.audit,
                loop_lag=self.local_timer.lag,
                table_sizes=self._table_sizes,
            )
        )

    def _local_duties(self) -> Sequence[Callable[[], object]]:
        return (
            self.shared_state.follow,
            self.gateway.sweep,
            self.admission.http.sweep,
            self.admission.evict_expired,
            self.delivery.trimmer.check,
            self._reconcile,
        )

    def _store_calls(self) -> Sequence[Callable[[], Awaitable[object]]]:
        return (
            self.gateway.disconnects.retry,
            self.services.retries.retry,
            partial(requests.expire_requests, self.services),
            partial(disconnects.expire_absences, self.services),
            self._orphaned_members.remove,
        )

    def _reconcile(self) -> None:
        """Reconcile sockets with peers and remove old message keys, at most once every `RECONCILE_SECONDS`."""
        now = self._monotonic()
        if now - self._reconciled_at >= RECONCILE_SECONDS:
            self._reconciled_at = now
            self.nodes.reconcile()
            self.delivery.presence.forget_quiet()
            self.stores.log.forget_old(self.services.clock.now())

    def _table_sizes(self) -> dict[str, int]:
        """Return the number of entries in each table."""
        return {
            **self.stores.directory.sizes()._asdict(),
            **self.delivery.presence.sizes(),
            **{name: int(size) for name, size in self.stores.log.stats().items() if name != "log_bytes"},
            **self.admission.sizes(),
            "sockets": len(self.gateway.connections),
            "unauthenticated": self.gateway.unauthenticated(),
            "expiries": self.gateway.expiries(),
            "retries": len(self.services.retries),
            "disconnects": len(self.gateway.disconnects),
            "resuming": len(self.delivery.resumption),
        }

    def _overflow(self, user: User) -> None:
        self.background.spawn(disconnects.overflow(user, self.services))


def _limits(settings: Settings) -> Limits:
    return Limits(
        session_grace=settings.session_grace_seconds,
        resume_grace=settings.resume_grace_seconds,
        request_life=REQUEST_SECONDS,
        directory_page=settings.directory_page,
        session_participants=settings.max_session_participants,
        sessions_per_user=settings.max_sessions_per_user,
        requests_per_user=settings.max_pending_requests,
        message_bytes=settings.max_message_bytes,
        events_per_second=int(settings.rate_limit_events_per_second),
        burst=int(settings.rate_limit_burst),
        heartbeat_seconds=settings.ws_heartbeat_interval / 1000,
    )
