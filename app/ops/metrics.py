"""Metrics for Prometheus. The service counts in plain integers; they are read out when somebody asks."""

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
    """Where the counts of one application are; `table_sizes` says how many entries each table of it has."""

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
        self._from = parts

    def collect(self) -> Iterable[Metric]:
        """Yield every metric with its present value."""
        yield from self._sockets()
        yield from self._events()
        yield from self._delivery()
        yield from self._presence()
        yield from self._stores()
        yield from self._engine()
        yield _histogram("peersync_loop_lag_seconds", "How late the tick came.", {"": self._from.loop_lag})
        yield CounterMetricFamily(
            "peersync_audit_lines_lost", "Lines of the audit log that could not be written.", self._from.audit.lost
        )
        entries = self._from.table_sizes()
        yield _gauge(
            "peersync_registry_entries", "Entries of each table; of peers also those away.", "registry", entries
        )

    def _sockets(self) -> Iterable[Metric]:
        gateway = self._from.gateway
        by_state = gateway.by_state()
        states = {state.name.lower(): by_state[state.name.lower()] for state in State}
        yield _gauge("peersync_sockets", "Open sockets by state.", "state", states)
        yield _counter("peersync_sockets_closed", "Sockets closed, by close code.", "code", gateway.closed)
        yield _counter(
            "peersync_refusals",
            "Rejections, by the limit that was reached.",
            "limit",
            self._from.admission.rejections.counts,
        )
        admission = self._from.admission
        failures = admission.auth_throttle.count + admission.http_auth_throttle.count
        yield CounterMetricFamily("peersync_auth_failures", "Failed authentications.", failures)

    def _events(self) -> Iterable[Metric]:
        dispatcher = self._from.dispatcher
        events = CounterMetricFamily("peersync_events", "Client events, by outcome.", labels=["event", "outcome"])
        for row in dispatcher.rows:
            for outcome, count in (("handled", row.handled), ("refused", row.refused), ("failed", row.failed)):
                events.add_metric([row.event, outcome], count)
        yield events
        yield _counter("peersync_errors", "ERROR events, and those withheld for the rate.", "code", dispatcher.refused)
        seconds = {row.event: row.seconds for row in dispatcher.rows}
        yield _histogram("peersync_handler_seconds", "Time in handlers, of one event in 64.", seconds, "event")

    def _delivery(self) -> Iterable[Metric]:
        hub, write_scheduler = self._from.hub, self._from.write_scheduler
        log_bytes = self._from.engine.log.stats()["log_bytes"]
        yield CounterMetricFamily("peersync_messages_delivered", "Events handed to sockets of others.", hub.delivered)
        yield CounterMetricFamily("peersync_messages_queued", "Events kept for users who are away.", hub.kept)
        dropped = {"nobody": hub.dropped, "outbox": write_scheduler.dropped}
        yield _counter("peersync_messages_dropped", "Events let go of, by where they were.", "where", dropped)
        attempts = self._from.resumption.attempts
        yield _counter("peersync_resumes", "Attempts to resume, by outcome.", "outcome", attempts)
        yield GaugeMetricFamily("peersync_log_bytes", "Bytes kept for users who are away or may resume.", log_bytes)
        yield GaugeMetricFamily("peersync_outbox_bytes", "Bytes that heavy outboxes hold.", write_scheduler.held)

    def _presence(self) -> Iterable[Metric]:
        presence = self._from.presence
        yield CounterMetricFamily("peersync_presence_changes", "Changes of peers' presence.", presence.changes)
        yield CounterMetricFamily("peersync_presence_updates", "Updates sent to tell of them.", presence.updates)

    def _engine(self) -> Iterable[Metric]:
        """Yield what the engine of the stores has to say, which is different for each."""
        for name, value in self._from.engine.stats().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(f"peersync_{name}", "Said by the store; docs/scaling.md explains it.", value)

    def _stores(self) -> Iterable[Metric]:
        watch = self._from.stores
        yield _histogram("peersync_store_seconds", "Time that stores took.", watch.seconds, "operation")
        errors = {operation: watch.errors[operation] for operation in watch.seconds}
        yield _counter("peersync_store_errors", "Times that a store could not be reached.", "operation", errors)


class _Collected(Collector):
    """What a collector has yielded."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """Yield it again."""
        return self._metrics


async def exposition(collector: Collector) -> bytes:
    """Return the metrics in Prometheus's text format, with those of the process.

    The counts are read on the event loop, where nothing changes them meanwhile; making the text takes longer, so a
    thread does that.
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
