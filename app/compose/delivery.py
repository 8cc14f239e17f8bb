"""Wires delivery: everything between an event and its receivers' sockets and logs."""

import asyncio
from collections.abc import Callable, Mapping

from app.compose.plan import Plan
from app.delivery.endpoint import Endpoint
from app.delivery.hub import Hub
from app.delivery.outbox import WriteScheduler
from app.delivery.presence import Presence
from app.delivery.resumption import Resumption
from app.ops.memory import Trimmer, malloc_trim
from stores.model import User
from stores.protocols import Stores


class DeliveryParts:
    """The parts of delivery. Must be created in a running event loop, whose turns end with flushing outboxes."""

    def __init__(
        self, plan: Plan, stores: Stores, endpoints: Mapping[int, Endpoint], on_overflow: Callable[[User], None]
    ) -> None:
        settings, sources, loop = plan.settings, plan.sources, asyncio.get_running_loop()
        self.presence = Presence(
            stores.directory,
            settings.presence_everyone,
            sources.monotonic,
            resume_grace=settings.resume_grace_seconds,
        )
        self.resumption = Resumption(stores.log, self.presence, sources.ids)
        self.hub = Hub(
            endpoints,
            stores.log,
            self.presence,
            stores.directory,
            self.resumption,
            on_overflow=on_overflow,
            node=stores.node,
        )
        self.write_scheduler = WriteScheduler(loop.call_soon, loop.call_later, settings.outbox_total_bytes)
        self.trimmer = Trimmer(lambda: self.write_scheduler.held + int(stores.log.stats()["log_bytes"]), malloc_trim)
