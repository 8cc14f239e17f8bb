"""The plan: everything that is decided before anything runs."""

from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from app.auth.algorithms import Key
from app.clock import Sources
from app.ops.audit import Append
from app.ops.tracing import Tracing
from app.settings import Settings
from handlers.table import Route


class Plan(Struct, frozen=True):
    """The configuration of one application. An invalid one prevents the start."""

    settings: Settings
    keys: tuple[Key, ...]
    routes: dict[str, Route]
    log: FilteringBoundLogger
    audit: Append | None = None
    tracing: Tracing | None = None
    sources: Sources = field(default_factory=Sources)
