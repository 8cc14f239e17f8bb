"""The connections to Redis."""

from typing import Any

import pytest

from stores.protocols import StoreUnreachableError
from stores.redis.client import Client, reaching


@pytest.mark.parametrize("error", [OSError("refused"), TimeoutError(), RuntimeError("the handler is closed")])
def test_lost(error: Exception) -> None:
    """Whatever a lost connection raises, uvloop's own error included, says that the store is away."""
    with pytest.raises(StoreUnreachableError), reaching():
        raise error


class Heard:
    """A `PubSub` that is told these, as type, channel and data, and then nothing more."""

    def __init__(self, *told: tuple[str, bytes, object]) -> None:
        self._told = [dict(zip(("type", "channel", "data"), each, strict=True)) for each in told]

    async def subscribe(self, *_: str) -> None:
        pass

    async def get_message(self, timeout: float | None) -> dict[str, Any]:  # noqa: ASYNC109 - as redis-py has it
        return self._told.pop(0)

    async def aclose(self) -> None:
        pass


async def test_between_confirmations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes over the first channel before the second is confirmed is heard, in its order."""
    client = Client("redis://127.0.0.1:1/0", "node", 2.0)
    first, second = ("message", b"a", b"first"), ("message", b"a", b"second")
    heard = Heard(("subscribe", b"a", 1), first, ("subscribe", b"b", 2), second)
    monkeypatch.setattr(client._listening, "pubsub", lambda: heard)
    async with client.subscribed("a", "b") as messages:
        assert [await anext(messages) for _ in range(2)] == [("a", b"first"), ("a", b"second")]
