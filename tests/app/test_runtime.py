"""What an application does by itself."""

import pytest

from app.auth.keys import public_keys
from app.ops.logs import make_logger
from app.runtime import Plan, running
from app.settings import Settings
from app.tables import load_routes
from handlers import departures
from stores.base import Session, User
from stores.memory import MemoryStores
from tests.support.client import until
from tests.support.tokens import Keys

ANN, BOB = User("ann"), User("bob")


async def test_strays(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in a session that it should be out of is taken out of it before long."""
    monkeypatch.setattr(departures, "STRAY_SECONDS", 0.05)
    settings = Settings(jwt_public_key_path=keys.public_path, log_level="critical")
    plan, stores = Plan(settings, public_keys(settings), load_routes(()), make_logger(settings)), MemoryStores()
    async with running(plan, stores):
        await stores.sessions.put(Session("ses_1", ANN, {ANN: "host", BOB: "guest"}))
        assert stores.directory.session("ses_1") is not None
        await until(lambda: stores.directory.session("ses_1") is None)
