"""Metrics for Prometheus. The service counts in plain integers, which are read at each scrape."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from anyio import to_thread
from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.admission.admission import Admission
from app.delivery.hub import Hub
from app.delivery.outbox import WriteScheduler
from app.delivery.presence import Presence
from app.delivery.resumption import Resumption
from app.gateway.dispatch import Dispatcher
from app.gateway.gateway import Gateway
from app.histogram import Histogram
from app.ops.audit import AuditLog, NoAudit
from app.ops.store_timings import StoreTimings
from handlers.ports import State
from stores.protocols import Stores


class Parts(Struct, frozen=True, kw_only=True):
    """The parts of one application that have counts; `table_sizes` returns the number of entries in each table."""

    gateway: Gateway
    admission: Admission
    dispatcher: Dispatcher
    hub: Hub
    resumption: Resumption
    engine: Stores
    write_scheduler: WriteScheduler
    presence: Presence
    stores: StoreTimings
    audit: AuditLog | NoAudit
    loop_lag: Histogram
    table_sizes: Callable[[], Mapping[str, int]]


class ServiceCollector(Collector):
    """Reads the counts of one application."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        """Yield every metric with its current value."""
        yield from self._sockets()
        yield from self._events()
        yield from self._delivery()
        yield from self._presence()
        yield from self._stores()
        yield from self._engine()
        yield _histogram("peersync_loop_lag_seconds", "Delay of the event loop's timer.", {"": self._parts.loop_lag})
        yield CounterMetricFamily(
            "peersync_audit_lines_lost", "Audit log lines that could not be written.", self._parts.audit.lost
        )
        entries = self._parts.table_sizes()
        yield _gauge(
            "peersync_registry_entries",
            "Entries in each table; peers include disconnected ones.",
            "registry",
            entries,
        )

    def _sockets(self) -> Iterable[Metric]:
        gateway = self._parts.gateway
        by_state = gateway.by_state()
        states = {state.name.lower(): by_state[state.name.lower()] for state in State}
        yield _gauge("peersync_sockets", "Open sockets, by state.", "state", states)
        yield _counter("peersync_sockets_closed", "Sockets closed, by close code.", "code", gateway.closed)
        yield _counter(
            "peersync_refusals",
            "Rejections, by the limit that was exceeded.",
            "limit",
            self._parts.admission.rejections.counts,
        )
        admission = self._parts.admission
        failures = admission.auth_throttle.count + admission.http_auth_throttle.count
        yield CounterMetricFamily("peersync_auth_failures", "Failed authentications.", failures)

    def _events(self) -> Iterable[Metric]:
        dispatcher = self._parts.dispatcher
        events = CounterMetricFamily("peersync_events", "Client events, by outcome.", labels=["event", "outcome"])
        for row in dispatcher.rows:
            for outcome, count in (("handled", row.handled), ("refused", row.refused), ("failed", row.failed)):
                events.add_metric([row.event, outcome], count)
        yield events
        yield _counter(
            "peersync_errors",
            "ERROR events, by code, including those suppressed for clients over the rate limit.",
            "code",
            dispatcher.refused,
        )
        seconds = {row.event: row.seconds for row in dispatcher.rows}
        yield _histogram(
            "peersync_handler_seconds", "Time spent in handlers, sampled for one event in 64.", seconds, "event"
        )

    def _delivery(self) -> Iterable[Metric]:
        hub, write_scheduler = self._parts.hub, self._parts.write_scheduler
        log_bytes = self._parts.engine.log.stats()["log_bytes"]
        yield CounterMetricFamily(
            "peersync_messages_delivered", "Events passed to other users' sockets.", hub.delivered
        )
        yield CounterMetricFamily("peersync_messages_queued", "Events stored for disconnected users.", hub.kept)
        dropped = {"nobody": hub.dropped, "outbox": write_scheduler.dropped}
        yield _counter("peersync_messages_dropped", "Events dropped, by where.", "where", dropped)
        attempts = self._parts.resumption.attempts
        yield _counter("peersync_resumes", "Attempts to resume, by outcome.", "outcome", attempts)
        yield GaugeMetricFamily(
            "peersync_log_bytes", "Bytes stored for users who are disconnected or may resume.", log_bytes
        )
        yield GaugeMetricFamily("peersync_outbox_bytes", "Bytes in large outboxes.", write_scheduler.held)

    def _presence(self) -> Iterable[Metric]:
        presence = self._parts.presence
        yield CounterMetricFamily("peersync_presence_changes", "Presence changes of peers.", presence.changes)
        yield CounterMetricFamily("peersync_presence_updates", "Presence updates sent to clients.", presence.updates)

    def _engine(self) -> Iterable[Metric]:
        """Yield the metrics of the store's engine; each engine has its own."""
        for name, value in self._parts.engine.stats().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(f"peersync_{name}", "Reported by the store; see docs/scaling.md.", value)

    def _stores(self) -> Iterable[Metric]:
        timings = self._parts.stores
        yield _histogram("peersync_store_seconds", "Duration of store operations.", timings.seconds, "operation")
        errors = {operation: timings.errors[operation] for operation in timings.seconds}
        yield _counter(
            "peersync_store_errors", "Operations that failed because the store was unreachable.", "operation", errors
        )


class _Collected(Collector):
    """Replays the metrics that another collector yielded."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._metrics


async def exposition(collector: Collector) -> bytes:
    """Return the metrics, including those of the process, in Prometheus's text format.

    Reads the counts on the event loop, so that they do not change meanwhile. A thread renders the text, which takes
    longer.
    """
    return await to_thread.run_sync(_text, _Collected(collector.collect()))


def _text(collected: Collector) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collected)
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _counter(name: str, what: str, label: str, counts: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, what, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _gauge(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, what: str, histograms: Mapping[str, Histogram], label: str = "") -> Metric:
    family = HistogramMetricFamily(name, what, labels=[label] if label else [])
    for value, histogram in histograms.items():
        family.add_metric([value] if label else [], histogram.buckets(), histogram.sum)
    return family
