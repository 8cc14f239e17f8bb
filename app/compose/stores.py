"""The stores that `STORE_URL` names."""

from app.compose.plan import Plan
from app.settings import FILE, MEMORY, STORE_URLS, SettingsError, without_secrets
from stores.log import Bounds
from stores.memory.stores import MemoryStores
from stores.protocols import Stores


def check_store_url(url: str) -> None:
    """Raise `SettingsError` if `STORE_URL` is invalid; does not connect."""
    if url == MEMORY:
        return
    try:
        _check_url(url)
    except ValueError as error:
        raise SettingsError(f"STORE_URL is {without_secrets(url)!r} ({error}); it must be {STORE_URLS}") from None


def _check_url(url: str) -> None:
    if url.startswith(FILE):
        from stores.sqlite.schema import parsed  # noqa: PLC0415 - each engine is imported where it is used

        parsed(url)
    else:
        from stores.redis.client import check_url  # noqa: PLC0415 - so that memory:// starts a third faster

        check_url(url)


def make_stores(plan: Plan) -> Stores:
    """Return the stores that `STORE_URL` names; raises `SettingsError` if it names an unusable file."""
    settings = plan.settings
    bounds = Bounds(settings.replay_events, settings.replay_bytes, settings.replay_total_bytes)
    node = plan.sources.ids("node_")
    if settings.store_url == MEMORY:
        return MemoryStores(bounds, node=node)
    if settings.store_url.startswith(FILE):
        return _file_stores(plan, bounds, node)
    from stores.redis.stores import LIFETIME_SECONDS, RedisStores  # noqa: PLC0415 - as above

    lifetime = settings.resume_grace_seconds + LIFETIME_SECONDS
    return RedisStores(settings.store_url, node, bounds, lease=settings.node_lease_seconds, lifetime=lifetime)


def _file_stores(plan: Plan, bounds: Bounds, node: str) -> Stores:
    from stores.sqlite.schema import UnusableFileError, parsed  # noqa: PLC0415 - as above
    from stores.sqlite.stores import GracePeriods, SqliteStores  # noqa: PLC0415

    settings = plan.settings
    graces = GracePeriods(settings.resume_grace_seconds, settings.session_grace_seconds)
    try:
        return SqliteStores(parsed(settings.store_url), bounds, node, graces, plan.sources.clock.now)
    except UnusableFileError as error:
        raise SettingsError(str(error)) from None
