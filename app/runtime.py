"""The runtime: everything of one application that lives while it serves, wired together."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from msgspec import Struct, field
from starlette.datastructures import Address
from structlog.typing import FilteringBoundLogger

from app import VERSION
from app.admission.addresses import Addresses
from app.admission.auth_throttle import AuthFailures
from app.admission.delay import Delay
from app.admission.http_admission import HttpAdmission
from app.admission.http_budget import HttpBudget
from app.admission.limiter import Rate
from app.admission.logins import UserLogins
from app.admission.rejections import Refusals
from app.admission.upgrade_policy import Door
from app.auth.algorithms import Key
from app.auth.issuer import Fetcher, IssuerKeys
from app.auth.keyfile import KeyFile
from app.auth.keyring import KeyRing
from app.auth.keys import private_key
from app.auth.tokens import TokenVerifier
from app.cached import Shared
from app.clock import Sources, SystemClock
from app.delivery.hub import Hub
from app.delivery.listener import NodeListener
from app.delivery.outbox import Flusher
from app.delivery.presence import Presence
from app.delivery.resumption import Resumption
from app.gateway.connection import Connection
from app.gateway.dispatch import Dispatcher
from app.gateway.drain import Drain
from app.gateway.expiry import Expiry
from app.gateway.gateway import Gateway
from app.histogram import Histogram
from app.ops.audit import Append, AuditLog, NoAudit
from app.ops.memory import Trimmer, malloc_trim
from app.ops.metrics import Parts, ServiceCollector, exposition
from app.ops.tracing import Tracing
from app.ops.watch import StoreWatch, WatchedStores
from app.settings import Settings, without_secrets
from handlers.domain import disconnects
from handlers.domain.retries import run_each
from handlers.events import connections as requests
from handlers.ports import Limits, Services
from handlers.table import Route
from schemas.capabilities import CAPABILITIES
from stores.model import User
from stores.protocols import Stores, StoreUnreachableError

REQUEST_SECONDS = 30.0
TICK_SECONDS = 0.1
RECONCILE_SECONDS = 1.0
PING_SECONDS = 3.0
AGAIN_SECONDS = 0.5
PROBE_SECONDS = 1.0
KEY_SECONDS = 1.0


class Plan(Struct, frozen=True):
    """What is decided before anything runs, so that a mistake in it stops the start."""

    settings: Settings
    keys: tuple[Key, ...]
    routes: dict[str, Route]
    log: FilteringBoundLogger
    audit: Append | None = None
    tracing: Tracing | None = None
    sources: Sources = field(default_factory=Sources)


class Stopping(Struct, frozen=True):
    """Why the node stops, since when on the monotonic clock, and how many sockets had closed until then."""

    reason: str
    began: float
    closed_before: int


class Runtime:
    """One application's parts. What runs in the background runs in `tasks`, and ends with it."""

    def __init__(self, plan: Plan, stores: Stores, tasks: TaskGroup) -> None:
        settings, log, sources = plan.settings, plan.log, plan.sources
        self.settings = settings
        self.stores = stores
        self.log = log
        self.is_draining = False
        self._is_blind = not stores.salt
        self._monotonic = sources.monotonic
        self._stopping: Stopping | None = None
        self._tasks = tasks
        self.key_file = KeyFile(settings, plan.keys, log)
        self.issuer = _issuer(settings, sources.monotonic, log)
        self.keys = KeyRing(self.key_file, self.issuer)
        self._addresses = Addresses(secrets.token_bytes(32), settings.trusted_proxies)
        self.refusals = Refusals(log, sources.monotonic)
        self.store_watch = StoreWatch(time.perf_counter)
        watched = WatchedStores(stores, self.store_watch)
        self.loop_lag = Histogram()
        self.failures = AuthFailures(settings.auth_failures_per_minute, self.refusals, sources.monotonic)
        self.http_failures = AuthFailures(settings.auth_failures_per_minute, self.refusals, sources.monotonic)
        self.logins = UserLogins(self.refusals.note, sources.monotonic)
        tokens = TokenVerifier(
            self.keys,
            watched.revocations,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            leeway=settings.token_leeway_seconds,
            clock=sources.clock,
            algorithms=settings.jwt_algorithms,
            name_claim=settings.jwt_name_claim,
        )
        endpoints: dict[int, Connection] = {}
        self.presence = Presence(
            stores.directory,
            settings.presence_everyone,
            sources.monotonic,
            resume_grace=settings.resume_grace_seconds,
        )
        resumption = Resumption(stores.log, self.presence, sources.ids)
        self.hub = Hub(
            endpoints,
            stores.log,
            self.presence,
            stores.directory,
            resumption,
            on_overflow=self._overflow,
            node=stores.node,
        )
        self.audit = NoAudit() if plan.audit is None else AuditLog(plan.audit, log)
        self.services = Services(
            stores=watched,
            delivery=self.hub,
            tokens=tokens,
            failures=self.failures,
            logins=self.logins,
            audit=self.audit,
            clock=sources.clock,
            ids=sources.ids,
            limits=_limits(settings),
            version=VERSION,
            capabilities=tuple(each for each in CAPABILITIES if each != "trace" or plan.tracing is not None),
        )
        self._strays = disconnects.Strays(self.services, sources.monotonic)
        loop = asyncio.get_running_loop()
        self.flusher = Flusher(loop.call_soon, loop.call_later, settings.outbox_total_bytes)
        self._trimmer = Trimmer(lambda: self.flusher.held + int(stores.log.stats()["log_bytes"]), malloc_trim)
        self.dispatcher = Dispatcher(plan.routes, log, self.refusals.note, is_tracing=settings.log_level == "debug")
        self.gateway = Gateway(
            node=stores.node,
            services=self.services,
            dispatcher=self.dispatcher,
            hub=self.hub,
            resumption=resumption,
            flusher=self.flusher,
            connections=endpoints,
            expiry=Expiry(endpoints, settings.token_expiry, settings.token_leeway_seconds, sources.clock),
            refusals=self.refusals,
            rate=Rate(settings.rate_limit_events_per_second, settings.rate_limit_burst),
            outbox_bytes=settings.outbox_bytes,
            max_message_bytes=settings.max_message_bytes,
            bytes_per_second=settings.rate_limit_bytes_per_second,
            max_unauthenticated=settings.max_unauthenticated,
            heartbeat=settings.ws_heartbeat_interval / 1000,
            monotonic=sources.monotonic,
            spawn=self.spawn,
            log=log,
        )
        self.delay = Delay(self.gateway.strangers, settings.max_unauthenticated)
        self.door = Door(settings, endpoints, self.gateway.crowds, self.refusals)
        self._http_budget = HttpBudget(settings.http_requests_per_second, sources.monotonic)
        self.http_admission = HttpAdmission(
            settings.max_http_connections,
            self._http_budget,
            self._addresses,
            self.refusals,
            sources.monotonic,
        )
        self.collector = ServiceCollector(
            Parts(
                gateway=self.gateway,
                dispatcher=self.dispatcher,
                hub=self.hub,
                resumption=resumption,
                engine=stores,
                flusher=self.flusher,
                presence=self.presence,
                failures=(self.failures, self.http_failures),
                stores=self.store_watch,
                audit=self.audit,
                loop_lag=self.loop_lag,
                registries=self._registries,
            )
        )

        self.exposition = Shared(lambda: exposition(self.collector), PROBE_SECONDS, sources.monotonic)
        self.signing_key = Shared(partial(to_thread.run_sync, private_key, settings), KEY_SECONDS, sources.monotonic)
        self._store_fault = Shared(self._ping_store, PROBE_SECONDS, sources.monotonic)
        self.nodes = NodeListener(
            endpoints, self.hub, self.presence, self.services, spawn=self.spawn, recheck=self.gateway.recheck_tokens
        )
        stores.listener = self.nodes
        self._reconciled_at = sources.monotonic()

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something in a task of the application; what it raises is logged and ends nothing else."""
        self._tasks.start_soon(self._guarded, work)

    def tick(self) -> None:
        """Do the local duties that have become due, such as looking after sockets. None of them waits for a store."""
        duties = [
            self.follow_store,
            self.gateway.sweep,
            self.http_admission.sweep,
            self.failures.forget,
            self.http_failures.forget,
            self.logins.forget,
            self.gateway.debts.forget,
            self.gateway.strangers.forget,
            self._trimmer.look,
            self._reconcile,
        ]
        for duty in duties:
            with self._logged():
                duty()

    async def do_store_work(self) -> None:
        """Do what has become due and needs the store: expire requests and absences, and retry what failed."""
        duties = (
            self.gateway.catch_up,
            self.services.retries.retry,
            partial(requests.expire_requests, self.services),
            partial(disconnects.expire_absences, self.services),
            self._strays.look,
        )
        try:
            await run_each(duties)
        except StoreUnreachableError as error:
            self.log.warning("store unreachable", reason=str(error))

    async def keep_ticking(self) -> None:
        """Tick until cancelled."""
        while True:
            began = time.perf_counter()
            await anyio.sleep(TICK_SECONDS)
            self.loop_lag.observe(max(0.0, time.perf_counter() - began - TICK_SECONDS))
            self.tick()

    async def keep_up_store(self) -> None:
        """Do the store's work until cancelled. It is apart from the ticks, which a stalled store must not delay."""
        while True:
            await anyio.sleep(TICK_SECONDS)
            await self._guarded(self.do_store_work())

    def drain(self, reason: str) -> Drain:
        """Take no new sockets from now on, and say why in the log; return what closes those that are there."""
        self.is_draining = True
        self._stopping = Stopping(reason, self._monotonic(), self.gateway.closed.total())
        self.log.info("draining", reason=reason, sockets=len(self.gateway.connections))
        return self.gateway.drain(self.settings.drain_seconds)

    def last_words(self) -> dict[str, object]:
        """Return what the log says of a stop: why, how many sockets it closed or cut, and how long it took."""
        stopping = self._stopping
        if stopping is None:  # there was no drain
            return {"reason": None, "sockets_cut": len(self.gateway.connections)}
        return {
            "reason": stopping.reason,
            "sockets_closed": self.gateway.closed.total() - stopping.closed_before,
            "sockets_cut": len(self.gateway.connections),
            "seconds": round(self._monotonic() - stopping.began, 3),
        }

    @property
    def is_blind(self) -> bool:
        """Whether it is yet to be known what time it is on all nodes, and how they hash addresses."""
        if self._is_blind:
            self.follow_store()
        return self._is_blind

    def follow_store(self) -> None:
        """Go by the clock of all nodes, and hash addresses as they do."""
        stores, clock = self.stores, self.services.clock
        if stores.ahead is not None and isinstance(clock, SystemClock):
            clock.follow(stores.ahead)
        if stores.salt:
            self._addresses.salt = stores.salt
            self._is_blind = False

    def _reconcile(self) -> None:
        """Compare sockets and peers, and forget message keys that are old; once a second is enough."""
        now = self._monotonic()
        if now - self._reconciled_at >= RECONCILE_SECONDS:
            self._reconciled_at = now
            self.nodes.reconcile()
            self.stores.log.forget_old(self.services.clock.now())

    def address(self, client: Address | None) -> bytes:
        """Return the salted hash of where a request comes from."""
        return self._addresses.hashed(client.host if client else "")

    async def reasons_not_ready(self) -> list[str]:
        """Return why no traffic should come here; empty if it should."""
        if self.is_draining:
            return ["draining"]
        reasons: list[str] = []
        if self.issuer is not None and not self.issuer.is_ready:
            reasons.append("no keys of the issuer yet (JWT_JWKS_URL)")
        fault = await self._store_fault.get()
        return [*reasons, fault] if fault else reasons

    async def _ping_store(self) -> str:
        """Return what is wrong with the store; empty if it answers."""
        try:
            with anyio.fail_after(PING_SECONDS):
                await self.stores.ping()
        except StoreUnreachableError as error:
            return f"store unreachable: {error}"
        except TimeoutError:
            return f"store unreachable: no answer within {PING_SECONDS:g} s"
        return ""

    def _registries(self) -> dict[str, int]:
        """Return how many entries each table has."""
        return {
            **self.stores.directory.sizes()._asdict(),
            **self.presence.sizes(),
            **{name: int(size) for name, size in self.stores.log.stats().items() if name != "log_bytes"},
            "sockets": len(self.gateway.connections),
            "addresses": len(self.gateway.crowds),
            "unauthenticated": self.gateway.waiting(),
            "http": len(self.http_admission),
            "auth_failures": len(self.failures) + len(self.http_failures),
            "http_budgets": len(self._http_budget),
            "logins": len(self.logins),
            "debts": len(self.gateway.debts),
            "strangers": len(self.gateway.strangers),
            "delayed": len(self.delay),
            "expiries": self.gateway.expiries(),
            "retries": len(self.services.retries),
        }

    def _overflow(self, user: User) -> None:
        self.spawn(disconnects.overflow(user, self.services))

    async def _guarded(self, work: Awaitable[None]) -> None:
        with self._logged():
            await work

    @contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.log.exception("background work failed")


@asynccontextmanager
async def running(plan: Plan, stores: Stores) -> AsyncIterator[Runtime]:
    """Run an application's background work for as long as the context lasts."""
    async with anyio.create_task_group() as tasks:
        settings = plan.settings
        runtime = Runtime(plan, stores, tasks)
        started = anyio.Event()
        tasks.start_soon(_keep_running, stores, started.set, plan.log)
        await started.wait()
        runtime.follow_store()
        tasks.start_soon(runtime.presence.run)
        tasks.start_soon(runtime.keep_ticking)
        tasks.start_soon(runtime.keep_up_store)
        tasks.start_soon(runtime.key_file.run)
        tasks.start_soon(runtime.audit.run)
        if runtime.issuer is not None:
            tasks.start_soon(runtime.issuer.run)
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
        yield runtime
        runtime.is_draining = True
        last_words = runtime.last_words()
        tasks.cancel_scope.cancel()
    if runtime.issuer is not None:
        await runtime.issuer.close()
    await stores.close()
    await runtime.audit.flush()
    if plan.tracing is not None:
        await plan.tracing.close()
    plan.log.info("stopped", version=VERSION, **last_words)


def _issuer(settings: Settings, monotonic: Callable[[], float], log: FilteringBoundLogger) -> IssuerKeys | None:
    if not settings.jwt_jwks_url:
        return None
    fetch, interval = Fetcher(settings.jwt_jwks_url), settings.jwt_jwks_cooldown_seconds
    return IssuerKeys(fetch, interval, monotonic, log, settings.jwt_algorithms)


async def _keep_running(stores: Stores, started: Callable[[], None], log: FilteringBoundLogger) -> None:
    """Do the stores' work; should it fail by a mistake of ours, begin it anew, for a node without it is of no use."""
    while True:
        try:
            await stores.run(started)
        except Exception:
            log.exception("work of the stores failed")
            await anyio.sleep(AGAIN_SECONDS)
        else:
            return


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
