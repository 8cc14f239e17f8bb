"""Metrics for Prometheus. The service counts in plain integers; they are read out when somebody asks."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.delivery.hub import Hub
from app.delivery.mail import Mail
from app.delivery.outbox import Flusher
from app.wire.dispatch import Dispatcher
from app.wire.gateway import Gateway
from handlers.ports import State


class ServiceCollector(Collector):
    """Reads the counts of one application."""

    def __init__(self, gateway: Gateway, dispatcher: Dispatcher, hub: Hub, mail: Mail, flusher: Flusher) -> None:
        self._gateway = gateway
        self._dispatcher = dispatcher
        self._hub = hub
        self._mail = mail
        self._flusher = flusher

    def collect(self) -> Iterable[Metric]:
        """Yield every metric with its present value."""
        yield from self._sockets()
        yield from self._events()
        yield CounterMetricFamily(
            "peersync_messages_delivered", "Events handed to sockets of others.", self._hub.delivered
        )
        yield CounterMetricFamily("peersync_messages_kept", "Events kept for users who are away.", self._hub.kept)
        resumes = CounterMetricFamily("peersync_resumes", "Attempts to resume, by outcome.", labels=["outcome"])
        for outcome, count in self._hub.resumes.items():
            resumes.add_metric([outcome], count)
        yield resumes
        refusals = CounterMetricFamily(
            "peersync_refusals", "Refusals, by the limit that was reached.", labels=["limit"]
        )
        for limit, count in self._gateway.refusals.counts.items():
            refusals.add_metric([limit], count)
        yield refusals
        yield GaugeMetricFamily(
            "peersync_mail_bytes", "Bytes kept for users who are away or may resume.", self._mail.held
        )
        yield GaugeMetricFamily("peersync_outbox_bytes", "Bytes that heavy outboxes hold.", self._flusher.held)

    def _sockets(self) -> Iterable[Metric]:
        sockets = GaugeMetricFamily("peersync_sockets", "Open sockets by state.", labels=["state"])
        by_state = self._gateway.by_state()
        for state in State:
            sockets.add_metric([state.name.lower()], by_state[state.name.lower()])
        yield sockets

    def _events(self) -> Iterable[Metric]:
        handled = CounterMetricFamily("peersync_events_handled", "Client events handled, by name.", labels=["event"])
        for event, count in self._dispatcher.handled.items():
            handled.add_metric([event], count)
        yield handled
        refused = CounterMetricFamily("peersync_events_refused", "Client events refused, by code.", labels=["code"])
        for code, count in self._dispatcher.refused.items():
            refused.add_metric([code], count)
        yield refused


def exposition(collector: Collector) -> bytes:
    """Return the metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
